//! Events since the last check: file-system events are merged by subject as they arrive, so that the
//! queue stays small however many there are.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use capscache::Capabilities;
use notify::event::ModifyKind;
use notify::{EventHandler, EventKind};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::interest::{Interests, Subject, Subjects};

/// Receives file-system events on the thread that reads inotify, and results of probes on the threads
/// of the prober. One thread takes them out.
#[derive(Debug)]
pub(crate) struct EventQueue {
    /// The time without further events after which a subject is due.
    debounce: Duration,
    /// The time after its first event after which a subject is due in any case.
    max_delay: Duration,
    state: Mutex<State>,
    /// An eventfd, written when a subject gets its first event; later events are found when it is due.
    wakeup: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    interests: Interests,
    pending: HashMap<Subject, Pending>,
    lost: BTreeSet<PathBuf>,
    overflowed: bool,
    probed: Vec<ProbeDone>,
    stop: bool,
}

/// The times of the first and the last event of a subject.
#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    last: Instant,
}

/// The result of one probe in the background.
#[derive(Debug)]
pub(crate) struct ProbeDone {
    pub(crate) emulator: Arc<Path>,
    /// The answers, or the reason why there are none, in one line.
    pub(crate) result: Result<Capabilities, String>,
    /// True if nothing was run, because another user could have written it.
    pub(crate) is_refused: bool,
    /// True if this probe made the answers: another process may have been faster.
    pub(crate) probed: bool,
    pub(crate) took: Duration,
}

/// Events that are due.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) subjects: Subjects,
    /// Directories whose watches are gone; only with [`Subject::Everything`].
    pub(crate) lost: BTreeSet<PathBuf>,
    /// The kernel dropped events; only with [`Subject::Everything`].
    pub(crate) overflowed: bool,
    pub(crate) probed: Vec<ProbeDone>,
    /// The time at which the next subject is due, if no other event arrives.
    pub(crate) next: Option<Instant>,
}

impl EventQueue {
    pub(crate) fn new(debounce: Duration, max_delay: Duration) -> io::Result<EventQueue> {
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(EventQueue { debounce, max_delay, state: Mutex::default(), wakeup })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only after 2⁶⁴ writes without a read.
        let _ = rustix::io::write(&self.wakeup, &1_u64.to_ne_bytes());
    }

    /// Sets which file-system events are queued from now on.
    pub(crate) fn set_interests(&self, interests: Interests) {
        self.state().interests = interests;
    }

    /// Queues an event for each of these subjects.
    pub(crate) fn push(&self, subjects: Subjects) {
        let is_new = self.state().push(subjects);
        if is_new {
            self.wake();
        }
    }

    pub(crate) fn push_probed(&self, done: ProbeDone) {
        self.state().probed.push(done);
        self.wake();
    }

    pub(crate) fn stop(&self) {
        self.state().stop = true;
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state().stop
    }

    /// Takes out what is due: results of probes, and subjects without events for a while or whose
    /// first event is old enough.
    pub(crate) fn take(&self, now: Instant) -> Batch {
        let mut state = self.state();
        let due =
            |pending: &Pending| (pending.last + self.debounce).min(pending.first + self.max_delay);
        let mut batch = Batch { probed: std::mem::take(&mut state.probed), ..Batch::default() };
        state.pending.retain(|subject, pending| {
            let due = due(pending);
            if due <= now {
                batch.subjects.insert(subject.clone());
            } else {
                batch.next = Some(batch.next.map_or(due, |next| next.min(due)));
            }
            due > now
        });
        if batch.subjects.contains(&Subject::Everything) {
            batch.lost = std::mem::take(&mut state.lost);
            batch.overflowed = std::mem::take(&mut state.overflowed);
        }
        batch
    }

    /// Waits for an event, or until `until`. A change of `mounts` is queued as an event of
    /// [`Subject::Mounts`].
    pub(crate) fn wait(&self, mounts: Option<&File>, until: Option<Instant>) {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::new(&self.wakeup, PollFlags::IN)];
        // proc(5): a change of mounts is an exceptional condition of this file.
        fds.extend(mounts.map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI)));
        // An interruption counts as an event: the caller waits again.
        let _ = poll(&mut fds, timeout.as_ref());
        let mounts_changed = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        // Reset before the caller takes events out: a later event sets it again.
        let _ = rustix::io::read(&self.wakeup, &mut [0; 8]);
        if mounts_changed {
            self.push([Subject::Mounts].into());
        }
    }
}

impl State {
    /// Returns whether the waiting thread has to be woken: events of a subject that is pending already
    /// are found when it is due.
    fn push(&mut self, subjects: Subjects) -> bool {
        let now = Instant::now();
        let mut is_new = false;
        for subject in subjects {
            let pending = self.pending.entry(subject).or_insert_with(|| {
                is_new = true;
                Pending { first: now, last: now }
            });
            pending.last = now;
        }
        is_new
    }

    /// Queues a file-system event; returns the same as [`State::push`].
    fn push_notify(&mut self, event: notify::Result<notify::Event>) -> bool {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // An event that could not be read is as lost as one that the kernel dropped.
            _ => {
                self.overflowed = true;
                return self.push([Subject::Everything].into());
            }
        };
        let moves = matches!(
            event.kind,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        let mut is_new = false;
        for path in event.paths {
            let mut subjects = self.interests.subjects_of(&path);
            if moves && self.interests.is_directory(&path) {
                // The watch belongs to the inode, which has another path now, or none.
                subjects.insert(Subject::Everything);
                self.lost.insert(path);
            }
            is_new |= self.push(subjects);
        }
        is_new
    }
}

/// The queue as an event handler of the crate notify.
pub(crate) struct Handler(pub(crate) Arc<EventQueue>);

impl EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        let is_new = self.0.state().push_notify(event);
        if is_new {
            self.0.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use notify::Event;
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind};

    use super::*;

    const DEBOUNCE: Duration = Duration::from_millis(200);
    const MAX_DELAY: Duration = Duration::from_secs(2);

    fn event(kind: EventKind, path: &str) -> notify::Result<Event> {
        Ok(Event::new(kind).add_path(path.into()))
    }

    fn queue() -> EventQueue {
        let queue = EventQueue::new(DEBOUNCE, MAX_DELAY).unwrap();
        let mut interests = Interests::default();
        interests.add_file("/etc/passwd".as_ref(), &[Subject::Search].into());
        queue.set_interests(interests);
        queue
    }

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));

    #[test]
    fn an_event_without_a_subject_does_not_wake_the_waiting_thread() {
        let queue = queue();
        assert!(!queue.state().push_notify(event(WRITTEN, "/etc/group")));
        assert!(queue.state().pending.is_empty());
        assert!(queue.state().push_notify(event(WRITTEN, "/etc/passwd")));
        assert!(!queue.state().push_notify(event(WRITTEN, "/etc/passwd")), "it is awake already");
    }

    #[test]
    fn a_subject_is_due_after_a_quiet_time_or_the_longest_delay() {
        let queue = queue();
        let first = Instant::now();
        queue.push([Subject::Search].into());
        let batch = queue.take(first + DEBOUNCE / 2);
        assert!(batch.subjects.is_empty());
        assert!(batch.next.is_some_and(|next| next >= first + DEBOUNCE));
        assert_eq!(queue.take(Instant::now() + DEBOUNCE).subjects, [Subject::Search].into());
        assert!(queue.take(first + MAX_DELAY).subjects.is_empty(), "it was taken");

        queue.push([Subject::Search].into());
        let first = queue.state().pending[&Subject::Search].first;
        for tenth in 1..=19 {
            let now = first + MAX_DELAY * tenth / 20;
            queue.state().pending.get_mut(&Subject::Search).unwrap().last = now;
            assert!(queue.take(now).subjects.is_empty(), "{tenth}");
        }
        assert_eq!(queue.take(first + MAX_DELAY).subjects, [Subject::Search].into());
    }

    #[test]
    fn one_subject_does_not_wait_for_another() {
        let queue = queue();
        queue.push([Subject::Search].into());
        let later = Instant::now() + DEBOUNCE;
        queue.state().pending.insert(Subject::Entries, Pending { first: later, last: later });
        assert_eq!(queue.take(later).subjects, [Subject::Search].into());
    }

    #[test]
    fn a_lost_event_or_watch_concerns_everything() {
        let queue = queue();
        assert!(queue.state().push_notify(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
        let batch = queue.take(Instant::now() + DEBOUNCE);
        assert!(batch.overflowed && batch.subjects == [Subject::Everything].into());

        assert!(queue.state().push_notify(event(EventKind::Remove(RemoveKind::Folder), "/etc")));
        let batch = queue.take(Instant::now() + DEBOUNCE);
        assert_eq!(batch.lost, ["/etc".into()].into());
        assert_eq!(batch.subjects, [Subject::Everything, Subject::Search].into());
        assert!(!batch.overflowed);

        assert!(!queue.state().push_notify(event(EventKind::Create(CreateKind::File), "/etc/new")));
    }
}
