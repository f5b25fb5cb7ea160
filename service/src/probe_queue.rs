//! Order of probes.
//!
//! Probes are started by user in turn, not in the order of the calls: however many of one user wait, the next
//! one of another user waits for one of them. One slot is reserved for root and the service's own user.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

use crate::permission::Caller;

/// Waiting probes of one unprivileged user; calls that wait for the same probe count once.
const MAX_WAITING: usize = 64;

/// Slots beyond those of all users, for root and the service's own user.
const RESERVED: usize = 1;

/// Running and waiting probes.
#[derive(Debug)]
pub(crate) struct ProbeQueue {
    /// Slots, without the reserved one.
    slots: usize,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Occupied slots: all, and those of unprivileged users.
    running: usize,
    unprivileged: usize,
    users: HashMap<u32, User>,
    /// Users with waiting probes, the next one first.
    turns: VecDeque<u32>,
}

#[derive(Debug, Default)]
struct User {
    is_privileged: bool,
    running: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// The slot of a running probe, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    queue: Rc<ProbeQueue>,
    caller: Caller,
    is_overdue: bool,
}

/// Too many probes of the user wait already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl ProbeQueue {
    /// Makes a queue with this many slots, at least one, and the reserved one.
    pub(crate) fn new(slots: usize) -> Rc<ProbeQueue> {
        Rc::new(ProbeQueue { slots: slots.max(1), state: RefCell::default() })
    }

    /// Queues one more probe of a caller. The returned receiver gets its slot; dropping it cancels the
    /// probe.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(crate) fn queue(
        self: &Rc<Self>,
        caller: Caller,
    ) -> Result<oneshot::Receiver<Slot>, TooMany> {
        let (begin, begins) = oneshot::channel();
        {
            let state = &mut *self.state.borrow_mut();
            let user = state.users.entry(caller.uid).or_default();
            user.is_privileged = caller.is_privileged;
            user.waiting.retain(|waiting| !waiting.is_closed());
            if !caller.is_privileged && user.waiting.len() >= MAX_WAITING {
                return Err(TooMany);
            }
            user.waiting.push_back(begin);
            if !state.turns.contains(&caller.uid) {
                state.turns.push_back(caller.uid);
            }
        }
        self.fill_slots();
        Ok(begins)
    }

    /// Gives free slots to the next users.
    fn fill_slots(self: &Rc<Self>) {
        loop {
            let next = self.state.borrow_mut().next(self.slots);
            let Some((caller, begin)) = next else { return };
            // A slot that is not received any more is freed by its drop.
            drop(begin.send(Slot { queue: Rc::clone(self), caller, is_overdue: false }));
        }
    }
}

impl State {
    /// Returns the next probe that may run, and counts it.
    fn next(&mut self, slots: usize) -> Option<(Caller, oneshot::Sender<Slot>)> {
        for _ in 0..self.turns.len() {
            let uid = self.turns.pop_front()?;
            let Some(user) = self.users.get_mut(&uid) else { continue };
            user.waiting.retain(|waiting| !waiting.is_closed());
            let is_free = match user.is_privileged {
                true => self.running < slots + RESERVED,
                // One user leaves half of the slots to others.
                false => self.unprivileged < slots && user.running < slots.div_ceil(2),
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
    /// Frees the slot of a probe that hangs, which from now on counts against its user only.
    pub(crate) fn set_overdue(&mut self) {
        if !std::mem::replace(&mut self.is_overdue, true) {
            self.queue.state.borrow_mut().stop_counting(self.caller);
            self.queue.fill_slots();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.queue.state.borrow_mut().end(self.caller, self.is_overdue);
        self.queue.fill_slots();
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
        let queue = ProbeQueue::new(1);
        let mut many: Vec<_> = (0..50).map(|_| queue.queue(user(1000)).unwrap()).collect();
        let mut running = slot(&mut many[0]);
        assert!(running.is_some());
        let mut few: Vec<_> = (0..3).map(|_| queue.queue(user(1001)).unwrap()).collect();
        let mut order = Vec::new();
        for _ in 0..8 {
            drop(running.take());
            running = few.iter_mut().chain(&mut many).find_map(slot);
            order.push(running.as_ref().unwrap().caller.uid);
        }
        assert_eq!(order, [1000, 1001, 1000, 1001, 1000, 1001, 1000, 1000]);
    }

    #[test]
    fn a_slot_is_reserved_for_root_and_each_user_leaves_half_of_the_others() {
        let queue = ProbeQueue::new(4);
        let mut one: Vec<_> = (0..9).map(|_| queue.queue(user(1000)).unwrap()).collect();
        let of_one: Vec<_> = one.iter_mut().filter_map(slot).collect();
        assert_eq!(of_one.len(), 2);
        let mut other: Vec<_> = (0..9).map(|_| queue.queue(user(1001)).unwrap()).collect();
        let of_other: Vec<_> = other.iter_mut().filter_map(slot).collect();
        assert_eq!(of_other.len(), 2);
        assert!(slot(&mut queue.queue(user(1002)).unwrap()).is_none(), "all slots are occupied");
        let mut root: Vec<_> = (0..9).map(|_| queue.queue(user(0)).unwrap()).collect();
        let of_root: Vec<_> = root.iter_mut().filter_map(slot).collect();
        assert_eq!(of_root.len(), 1);
        drop((one, other, root));
        drop((of_one, of_other, of_root));
        let state = queue.state.borrow();
        assert_eq!((state.running, state.unprivileged, state.users.len()), (0, 0, 0));
    }

    #[test]
    fn a_probe_that_hangs_delays_its_user_only() {
        let queue = ProbeQueue::new(1);
        let mut hangs = slot(&mut queue.queue(user(1000)).unwrap()).unwrap();
        let (mut next, mut other) =
            (queue.queue(user(1000)).unwrap(), queue.queue(user(1001)).unwrap());
        hangs.set_overdue();
        assert!(slot(&mut next).is_none());
        let others = slot(&mut other).unwrap();
        drop(hangs);
        assert!(slot(&mut next).is_none(), "the probe of the other user runs");
        drop(others);
        assert!(slot(&mut next).is_some());
    }

    #[test]
    fn too_many_waiting_probes_are_refused_and_cancelled_ones_do_not_count() {
        let queue = ProbeQueue::new(1);
        let waiting: Vec<_> = (0..=MAX_WAITING).map(|_| queue.queue(user(1000)).unwrap()).collect();
        assert_eq!(queue.queue(user(1000)).unwrap_err(), TooMany);
        assert!(queue.queue(user(1001)).is_ok());
        drop(waiting);
        assert!(slot(&mut queue.queue(user(1000)).unwrap()).is_some());
    }
}
