//! The order of probes: a bounded number runs at a time, and users take turns.
//!
//! Probes begin by user in turn, not in the order of the calls: however many of one user wait, the next one of
//! another user waits for one of them. A queue runs nothing itself: its callers begin a probe when they get a
//! [`Slot`], and another one may begin when they drop it.
//!
//! ```
//! use capscache::queue::{ProbeQueue, Caller};
//!
//! let queue = ProbeQueue::new(2);
//! let (sender, slots) = std::sync::mpsc::channel();
//! let turn = queue.wait(Caller::own(), move |slot| drop(sender.send(slot)))?;
//! let slot = slots.recv()?;
//! // … one of at most two probes at a time …
//! drop((slot, turn));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The number of waiting probes of one unprivileged user.
const MAX_WAITING: usize = 64;

/// The user that a probe runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user ID.
    pub uid: u32,
    /// True for root and for the user of this process, who may have any number of waiting probes and occupy
    /// all slots.
    pub is_privileged: bool,
}

impl Caller {
    /// Returns the user with an ID.
    pub fn new(uid: u32) -> Caller {
        let own = rustix::process::geteuid().as_raw();
        Caller { uid, is_privileged: uid == 0 || uid == own }
    }

    /// Returns the user of this process.
    pub fn own() -> Caller {
        Caller::new(rustix::process::geteuid().as_raw())
    }
}

/// Running and waiting probes. Cheap to clone; all clones share the slots.
#[derive(Clone, Debug)]
pub struct ProbeQueue {
    /// Slots of all users, without those that are reserved.
    slots: usize,
    reserved: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Occupied slots: all, and those of unprivileged users.
    running: usize,
    unprivileged: usize,
    users: HashMap<u32, User>,
    /// Users with waiting probes, the next one first.
    turns: VecDeque<u32>,
    /// Cancelled probes, to drop without the lock: what they own may use the queue.
    cancelled: Vec<Waiting>,
}

#[derive(Debug, Default)]
struct User {
    is_privileged: bool,
    running: usize,
    waiting: VecDeque<Waiting>,
}

/// Begins a probe with its slot.
type Begin = Box<dyn FnOnce(Slot) + Send>;

/// A probe that waits until its [`Turn`] is dropped or it may begin.
struct Waiting {
    turn: Weak<()>,
    begin: Begin,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl Waiting {
    fn is_cancelled(&self) -> bool {
        self.turn.strong_count() == 0
    }
}

impl User {
    fn remove_cancelled(&mut self, cancelled: &mut Vec<Waiting>) {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (dead, live) = waiting.partition::<VecDeque<_>, _>(Waiting::is_cancelled);
        self.waiting = live;
        cancelled.extend(dead);
    }
}

/// A place in the queue. Dropping it cancels a probe that has not begun.
#[derive(Debug)]
#[must_use = "dropping it cancels the probe"]
pub struct Turn(#[expect(dead_code, reason = "counts while it exists")] Arc<()>);

/// The slot of a running probe, which is free again when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it frees the slot"]
pub struct Slot {
    queue: ProbeQueue,
    caller: Caller,
    is_overdue: bool,
}

/// Too many probes of an unprivileged user wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot queue the probe: too many probes of this user wait already; retry when some are done"
)]
pub struct TooMany;

impl ProbeQueue {
    /// Returns a queue with a number of slots, at least one.
    pub fn new(slots: usize) -> ProbeQueue {
        ProbeQueue { slots: slots.max(1), reserved: 0, state: Arc::default() }
    }

    /// Adds slots that only root and the user of this process may occupy.
    pub fn reserve(mut self, slots: usize) -> ProbeQueue {
        self.reserved = slots;
        self
    }

    /// Waits for the turn of one more probe. `begin` gets its slot, at once if one is free, else on the thread
    /// that frees one: it may not block.
    ///
    /// # Errors
    /// [`TooMany`] for an unprivileged user with 64 waiting probes.
    pub fn wait(
        &self,
        caller: Caller,
        begin: impl FnOnce(Slot) + Send + 'static,
    ) -> Result<Turn, TooMany> {
        let turn = Arc::new(());
        {
            let state = &mut *self.state();
            let user = state.users.entry(caller.uid).or_default();
            user.is_privileged = caller.is_privileged;
            user.remove_cancelled(&mut state.cancelled);
            if !caller.is_privileged && user.waiting.len() >= MAX_WAITING {
                return Err(TooMany);
            }
            let begin = Box::new(begin);
            user.waiting.push_back(Waiting { turn: Arc::downgrade(&turn), begin });
            if !state.turns.contains(&caller.uid) {
                state.turns.push_back(caller.uid);
            }
        }
        self.fill_slots();
        Ok(Turn(turn))
    }

    /// Gives free slots to the next users.
    fn fill_slots(&self) {
        loop {
            let (next, cancelled) = {
                let state = &mut *self.state();
                (state.next(self.slots, self.reserved), std::mem::take(&mut state.cancelled))
            };
            drop(cancelled);
            let Some((caller, begin)) = next else { return };
            begin(Slot { queue: self.clone(), caller, is_overdue: false });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the next probe that may run, and counts it.
    fn next(&mut self, slots: usize, reserved: usize) -> Option<(Caller, Begin)> {
        for _ in 0..self.turns.len() {
            let uid = self.turns.pop_front()?;
            let Some(user) = self.users.get_mut(&uid) else { continue };
            user.remove_cancelled(&mut self.cancelled);
            let is_free = match user.is_privileged {
                true => self.running < slots + reserved,
                // One user leaves half of the slots to others.
                false => {
                    self.running < slots + reserved
                        && self.unprivileged < slots
                        && user.running < slots.div_ceil(2)
                }
            };
            let next = if is_free { user.waiting.pop_front() } else { None };
            if !user.waiting.is_empty() {
                self.turns.push_back(uid);
            }
            let Some(Waiting { begin, .. }) = next else {
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
    pub fn set_overdue(&mut self) {
        if !std::mem::replace(&mut self.is_overdue, true) {
            self.queue.state().stop_counting(self.caller);
            self.queue.fill_slots();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.queue.state().end(self.caller, self.is_overdue);
        self.queue.fill_slots();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn user(uid: u32) -> Caller {
        Caller { uid, is_privileged: uid == 0 }
    }

    type Queued = (Turn, Receiver<Slot>);

    fn wait(queue: &ProbeQueue, uid: u32) -> Result<Queued, TooMany> {
        let (sender, slots) = channel();
        Ok((queue.wait(user(uid), move |slot| drop(sender.send(slot)))?, slots))
    }

    fn slot((_, slots): &mut Queued) -> Option<Slot> {
        slots.try_recv().ok()
    }

    #[test]
    fn users_take_turns_however_many_probes_each_waits_for() {
        let queue = ProbeQueue::new(1);
        let mut many: Vec<_> = (0..50).map(|_| wait(&queue, 1000).unwrap()).collect();
        let mut running = slot(&mut many[0]);
        assert!(running.is_some());
        let mut few: Vec<_> = (0..3).map(|_| wait(&queue, 1001).unwrap()).collect();
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
        let queue = ProbeQueue::new(4).reserve(1);
        let mut one: Vec<_> = (0..9).map(|_| wait(&queue, 1000).unwrap()).collect();
        let of_one: Vec<_> = one.iter_mut().filter_map(slot).collect();
        assert_eq!(of_one.len(), 2);
        let mut other: Vec<_> = (0..9).map(|_| wait(&queue, 1001).unwrap()).collect();
        let of_other: Vec<_> = other.iter_mut().filter_map(slot).collect();
        assert_eq!(of_other.len(), 2);
        assert!(slot(&mut wait(&queue, 1002).unwrap()).is_none(), "all slots are occupied");
        let mut root: Vec<_> = (0..9).map(|_| wait(&queue, 0).unwrap()).collect();
        let of_root: Vec<_> = root.iter_mut().filter_map(slot).collect();
        assert_eq!(of_root.len(), 1);
        drop((one, other, root));
        drop((of_one, of_other, of_root));
        let state = queue.state();
        assert_eq!((state.running, state.unprivileged, state.users.len()), (0, 0, 0));
    }

    #[test]
    fn probes_of_root_count_against_the_slots_of_all() {
        let queue = ProbeQueue::new(4).reserve(1);
        let mut root: Vec<_> = (0..9).map(|_| wait(&queue, 0).unwrap()).collect();
        let of_root: Vec<_> = root.iter_mut().filter_map(slot).collect();
        assert_eq!(of_root.len(), 5);
        let mut user = wait(&queue, 1000).unwrap();
        assert!(slot(&mut user).is_none(), "all slots are occupied");
        drop(root);
        drop(of_root);
        assert!(slot(&mut user).is_some());
    }

    #[test]
    fn a_probe_that_hangs_delays_its_user_only() {
        let queue = ProbeQueue::new(1);
        let mut hangs = slot(&mut wait(&queue, 1000).unwrap()).unwrap();
        let (mut next, mut other) = (wait(&queue, 1000).unwrap(), wait(&queue, 1001).unwrap());
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
        let waiting: Vec<_> = (0..=MAX_WAITING).map(|_| wait(&queue, 1000).unwrap()).collect();
        assert_eq!(wait(&queue, 1000).unwrap_err(), TooMany);
        assert!(wait(&queue, 1001).is_ok());
        drop(waiting);
        assert!(slot(&mut wait(&queue, 1000).unwrap()).is_some());
    }

    #[test]
    fn only_root_and_the_own_user_are_privileged() {
        let own = rustix::process::geteuid().as_raw();
        assert!(Caller::new(0).is_privileged && Caller::own().is_privileged);
        assert!(!Caller::new(own + 1).is_privileged);
    }

    #[test]
    fn one_privileged_user_occupies_no_more_than_all_slots() {
        let queue = ProbeQueue::new(2);
        let mut own: Vec<_> = (0..5).map(|_| wait(&queue, 0).unwrap()).collect();
        let running: Vec<_> = own.iter_mut().filter_map(slot).collect();
        assert_eq!(running.len(), 2);
        drop(running);
        let next: Vec<_> = own.iter_mut().filter_map(slot).collect();
        assert_eq!(next.len(), 2);
    }
}
