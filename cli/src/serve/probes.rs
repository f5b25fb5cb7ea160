//! Who has an emulator probed next.
//!
//! Probes are given out by user in turn, not in the order in which they are asked for: however many one
//! user waits for, the next one of somebody else waits for one of them. One place is kept for root and the
//! service's own user.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

use super::permission::Caller;

/// Probes that one unprivileged user may wait for. Those who wait for the same one count once.
const MOST_WAITING: usize = 64;

/// Places beyond those of everybody, for root and the service's own user.
const RESERVED: usize = 1;

/// The probes that run, and those that wait.
#[derive(Debug)]
pub(super) struct Probes {
    /// Those that may run at a time, without what is reserved.
    most: usize,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that are counted: all, and those of the unprivileged.
    running: usize,
    unprivileged: usize,
    users: HashMap<u32, User>,
    /// Users who wait for something, the next one first.
    turns: VecDeque<u32>,
}

#[derive(Debug, Default)]
struct User {
    is_privileged: bool,
    running: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// The place of a probe that runs, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    probes: Rc<Probes>,
    caller: Caller,
    is_overdue: bool,
}

/// More waits for one user than may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Probes {
    /// So many may run at a time, and one of root's more.
    pub(super) fn new(most: usize) -> Rc<Probes> {
        Rc::new(Probes { most: most.max(1), state: RefCell::default() })
    }

    /// Queues one more probe of a caller: what this returns is sent the place for it. Dropping it gives
    /// up waiting.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(super) fn queue(
        self: &Rc<Self>,
        caller: Caller,
    ) -> Result<oneshot::Receiver<Slot>, TooMany> {
        let (begin, begins) = oneshot::channel();
        {
            let state = &mut *self.state.borrow_mut();
            let user = state.users.entry(caller.uid).or_default();
            user.is_privileged = caller.is_privileged;
            user.waiting.retain(|waiting| !waiting.is_closed());
            if !caller.is_privileged && user.waiting.len() >= MOST_WAITING {
                return Err(TooMany);
            }
            user.waiting.push_back(begin);
            if !state.turns.contains(&caller.uid) {
                state.turns.push_back(caller.uid);
            }
        }
        self.give();
        Ok(begins)
    }

    /// Gives places that are free to those whose turn it is.
    fn give(self: &Rc<Self>) {
        loop {
            let next = self.state.borrow_mut().next(self.most);
            let Some((caller, begin)) = next else { return };
            // Where nobody receives it any more, its drop frees it.
            drop(begin.send(Slot { probes: Rc::clone(self), caller, is_overdue: false }));
        }
    }
}

impl State {
    /// The next one that may run, which is counted.
    fn next(&mut self, most: usize) -> Option<(Caller, oneshot::Sender<Slot>)> {
        for _ in 0..self.turns.len() {
            let uid = self.turns.pop_front()?;
            let Some(user) = self.users.get_mut(&uid) else { continue };
            user.waiting.retain(|waiting| !waiting.is_closed());
            let is_free = match user.is_privileged {
                true => self.running < most + RESERVED,
                // One user leaves half of the places to others.
                false => self.unprivileged < most && user.running < most.div_ceil(2),
            };
            let begin = if is_free { user.waiting.pop_front() } else { None };
            if !user.waiting.is_empty() {
                self.turns.push_back(uid);
            }
            let Some(begin) = begin else {
                self.forget_idle(uid);
                continue;
            };
            user.running += 1;
            self.running += 1;
            self.unprivileged += usize::from(!user.is_privileged);
            return Some((Caller { uid, is_privileged: user.is_privileged }, begin));
        }
        None
    }

    fn end(&mut self, caller: Caller, is_overdue: bool) {
        if !is_overdue {
            self.stop_counting(caller);
        }
        if let Some(user) = self.users.get_mut(&caller.uid) {
            user.running -= 1;
        }
        self.forget_idle(caller.uid);
    }

    /// Counts a probe against its user only.
    fn stop_counting(&mut self, caller: Caller) {
        self.running -= 1;
        self.unprivileged -= usize::from(!caller.is_privileged);
    }

    fn forget_idle(&mut self, uid: u32) {
        if self.users.get(&uid).is_some_and(|user| user.running == 0 && user.waiting.is_empty()) {
            self.users.remove(&uid);
        }
    }
}

impl Slot {
    /// Takes notice that the probe runs longer than any does: it hangs, and holds up nobody but its user.
    pub(super) fn is_overdue(&mut self) {
        if !std::mem::replace(&mut self.is_overdue, true) {
            self.probes.state.borrow_mut().stop_counting(self.caller);
            self.probes.give();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.probes.state.borrow_mut().end(self.caller, self.is_overdue);
        self.probes.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32) -> Caller {
        Caller { uid, is_privileged: uid == 0 }
    }

    fn slot(waiting: &mut oneshot::Receiver<Slot>) -> Option<Slot> {
        waiting.try_recv().ok()
    }

    #[test]
    fn users_take_turns_however_many_probes_each_waits_for() {
        let probes = Probes::new(1);
        let mut many: Vec<_> = (0..50).map(|_| probes.queue(user(1000)).unwrap()).collect();
        let mut running = slot(&mut many[0]);
        assert!(running.is_some());
        let mut few: Vec<_> = (0..3).map(|_| probes.queue(user(1001)).unwrap()).collect();
        let mut order = Vec::new();
        for _ in 0..8 {
            drop(running.take());
            running = few.iter_mut().chain(&mut many).find_map(slot);
            order.push(running.as_ref().unwrap().caller.uid);
        }
        assert_eq!(order, [1000, 1001, 1000, 1001, 1000, 1001, 1000, 1000]);
    }

    #[test]
    fn a_place_is_kept_for_root_and_half_of_the_others_from_each_user() {
        let probes = Probes::new(4);
        let mut one: Vec<_> = (0..9).map(|_| probes.queue(user(1000)).unwrap()).collect();
        let of_one: Vec<_> = one.iter_mut().filter_map(slot).collect();
        assert_eq!(of_one.len(), 2);
        let mut other: Vec<_> = (0..9).map(|_| probes.queue(user(1001)).unwrap()).collect();
        let of_other: Vec<_> = other.iter_mut().filter_map(slot).collect();
        assert_eq!(of_other.len(), 2);
        assert!(slot(&mut probes.queue(user(1002)).unwrap()).is_none(), "all are taken");
        let mut root: Vec<_> = (0..9).map(|_| probes.queue(user(0)).unwrap()).collect();
        let of_root: Vec<_> = root.iter_mut().filter_map(slot).collect();
        assert_eq!(of_root.len(), 1);
        drop((one, other, root));
        drop((of_one, of_other, of_root));
        let state = probes.state.borrow();
        assert_eq!((state.running, state.unprivileged, state.users.len()), (0, 0, 0));
    }

    #[test]
    fn a_probe_that_hangs_holds_up_its_user_only() {
        let probes = Probes::new(1);
        let mut hangs = slot(&mut probes.queue(user(1000)).unwrap()).unwrap();
        let (mut next, mut other) =
            (probes.queue(user(1000)).unwrap(), probes.queue(user(1001)).unwrap());
        hangs.is_overdue();
        assert!(slot(&mut next).is_none());
        let others = slot(&mut other).unwrap();
        drop(hangs);
        assert!(slot(&mut next).is_none(), "the other one's runs");
        drop(others);
        assert!(slot(&mut next).is_some());
    }

    #[test]
    fn who_waits_for_too_many_is_refused_and_who_gives_up_does_not_count() {
        let probes = Probes::new(1);
        let waiting: Vec<_> =
            (0..=MOST_WAITING).map(|_| probes.queue(user(1000)).unwrap()).collect();
        assert_eq!(probes.queue(user(1000)).unwrap_err(), TooMany);
        assert!(probes.queue(user(1001)).is_ok());
        drop(waiting);
        assert!(slot(&mut probes.queue(user(1000)).unwrap()).is_some());
    }
}
