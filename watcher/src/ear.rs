//! What was heard since somebody last asked: gathered as it happens, however much that is.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::ModifyKind;
use notify::{EventHandler, EventKind};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::interest::{Interests, Subject, Subjects};
use crate::prober::Done;

/// Hears the kernel's events on the thread that reads them, results of probes on those of the
/// probers, and is asked by one thread.
#[derive(Debug)]
pub(crate) struct Ear {
    /// How long nothing must happen to a subject before it is looked at.
    quiet: Duration,
    /// How long it may wait to be looked at.
    at_most: Duration,
    heard: Mutex<Heard>,
    /// Rung when there is something new; whatever else happens then is found when it is looked at.
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct Heard {
    interests: Interests,
    touched: HashMap<Subject, Touched>,
    lost: BTreeSet<PathBuf>,
    overflowed: bool,
    done: Vec<Done>,
    stop: bool,
}

/// When something happened.
#[derive(Clone, Copy, Debug)]
struct Touched {
    first: Instant,
    last: Instant,
}

/// What is to be looked at now.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) subjects: Subjects,
    /// Directories whose watches are gone; only with [`Subject::Everything`].
    pub(crate) lost: BTreeSet<PathBuf>,
    /// There was more than the kernel could keep; only with [`Subject::Everything`].
    pub(crate) overflowed: bool,
    pub(crate) done: Vec<Done>,
    /// When there is more, if nothing else happens.
    pub(crate) next: Option<Instant>,
}

impl Ear {
    pub(crate) fn new(quiet: Duration, at_most: Duration) -> io::Result<Ear> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Ear { quiet, at_most, heard: Mutex::default(), bell })
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // It fails only if it was rung 2⁶⁴ times.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// What to notice from now on.
    pub(crate) fn listen_for(&self, interests: Interests) {
        self.heard().interests = interests;
    }

    /// Something happened to a subject.
    pub(crate) fn touch(&self, subjects: Subjects) {
        let ring = self.heard().touch(subjects);
        if ring {
            self.ring();
        }
    }

    pub(crate) fn probed(&self, done: Done) {
        self.heard().done.push(done);
        self.ring();
    }

    pub(crate) fn stop(&self) {
        self.heard().stop = true;
        self.ring();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.heard().stop
    }

    /// Takes what is ready to be looked at: probes that are done, and subjects that came to rest or
    /// waited long enough.
    pub(crate) fn take(&self, now: Instant) -> News {
        let mut heard = self.heard();
        let due = |touched: &Touched| (touched.last + self.quiet).min(touched.first + self.at_most);
        let mut news = News { done: std::mem::take(&mut heard.done), ..News::default() };
        heard.touched.retain(|subject, touched| {
            let due = due(touched);
            if due <= now {
                news.subjects.insert(subject.clone());
            } else {
                news.next = Some(news.next.map_or(due, |next| next.min(due)));
            }
            due > now
        });
        if news.subjects.contains(&Subject::Everything) {
            news.lost = std::mem::take(&mut heard.lost);
            news.overflowed = std::mem::take(&mut heard.overflowed);
        }
        news
    }

    /// Waits until there is something new or `until` is over; also for a change of what is mounted,
    /// which is a touch of [`Subject::Mounts`].
    pub(crate) fn wait(&self, mounts: Option<&File>, until: Option<Instant>) {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        // proc(5): a change of mounts is an exceptional condition of this file.
        fds.extend(mounts.map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI)));
        // An interruption is as good as news: there is a next time.
        let _ = poll(&mut fds, timeout.as_ref());
        let mounts_changed = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        // Emptied before it is asked what happened: what happens after that rings again.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        if mounts_changed {
            self.touch([Subject::Mounts].into());
        }
    }
}

impl Heard {
    /// Whether somebody has to be woken: later touches are seen when the first one is due.
    fn touch(&mut self, subjects: Subjects) -> bool {
        let now = Instant::now();
        let mut is_new = false;
        for subject in subjects {
            let touched = self.touched.entry(subject).or_insert_with(|| {
                is_new = true;
                Touched { first: now, last: now }
            });
            touched.last = now;
        }
        is_new
    }

    fn hear(&mut self, event: notify::Result<notify::Event>) -> bool {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // What could not be read is as lost as what there was no room for.
            _ => {
                self.overflowed = true;
                return self.touch([Subject::Everything].into());
            }
        };
        let moves = matches!(
            event.kind,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        let mut ring = false;
        for path in event.paths {
            let mut subjects = self.interests.concerned(&path);
            if moves && self.interests.is_directory(&path) {
                // Its watch follows it to where it goes, or into nothing.
                subjects.insert(Subject::Everything);
                self.lost.insert(path);
            }
            ring |= self.touch(subjects);
        }
        ring
    }
}

/// The ear as the crate notify knows it.
pub(crate) struct Handler(pub(crate) std::sync::Arc<Ear>);

impl EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        let ring = self.0.heard().hear(event);
        if ring {
            self.0.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use notify::Event;
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind};

    use super::*;

    const QUIET: Duration = Duration::from_millis(200);
    const AT_MOST: Duration = Duration::from_secs(2);

    fn event(kind: EventKind, path: &str) -> notify::Result<Event> {
        Ok(Event::new(kind).add_path(path.into()))
    }

    fn ear() -> Ear {
        let ear = Ear::new(QUIET, AT_MOST).unwrap();
        let mut interests = Interests::default();
        interests.add_file("/etc/passwd".as_ref(), &[Subject::Search].into());
        ear.listen_for(interests);
        ear
    }

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));

    #[test]
    fn what_concerns_nobody_wakes_nobody() {
        let ear = ear();
        assert!(!ear.heard().hear(event(WRITTEN, "/etc/group")));
        assert!(ear.heard().touched.is_empty());
        assert!(ear.heard().hear(event(WRITTEN, "/etc/passwd")));
        assert!(!ear.heard().hear(event(WRITTEN, "/etc/passwd")), "somebody is awake already");
    }

    #[test]
    fn a_subject_is_looked_at_when_it_came_to_rest_or_waited_long_enough() {
        let ear = ear();
        let first = Instant::now();
        ear.touch([Subject::Search].into());
        let news = ear.take(first + QUIET / 2);
        assert!(news.subjects.is_empty());
        assert!(news.next.is_some_and(|next| next >= first + QUIET));
        assert_eq!(ear.take(Instant::now() + QUIET).subjects, [Subject::Search].into());
        assert!(ear.take(first + AT_MOST).subjects.is_empty(), "it was taken");

        ear.touch([Subject::Search].into());
        let first = ear.heard().touched[&Subject::Search].first;
        for tenth in 1..=19 {
            let now = first + AT_MOST * tenth / 20;
            ear.heard().touched.get_mut(&Subject::Search).unwrap().last = now;
            assert!(ear.take(now).subjects.is_empty(), "{tenth}");
        }
        assert_eq!(ear.take(first + AT_MOST).subjects, [Subject::Search].into());
    }

    #[test]
    fn one_subject_does_not_wait_for_another() {
        let ear = ear();
        ear.touch([Subject::Search].into());
        let later = Instant::now() + QUIET;
        ear.heard().touched.insert(Subject::Entries, Touched { first: later, last: later });
        assert_eq!(ear.take(later).subjects, [Subject::Search].into());
    }

    #[test]
    fn a_lost_event_or_watch_concerns_everything() {
        let ear = ear();
        assert!(ear.heard().hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
        let news = ear.take(Instant::now() + QUIET);
        assert!(news.overflowed && news.subjects == [Subject::Everything].into());

        assert!(ear.heard().hear(event(EventKind::Remove(RemoveKind::Folder), "/etc")));
        let news = ear.take(Instant::now() + QUIET);
        assert_eq!(news.lost, ["/etc".into()].into());
        assert_eq!(news.subjects, [Subject::Everything, Subject::Search].into());
        assert!(!news.overflowed);

        assert!(!ear.heard().hear(event(EventKind::Create(CreateKind::File), "/etc/new")));
    }
}
