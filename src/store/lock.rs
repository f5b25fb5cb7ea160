//! The lock of an entry: one process at a time probes or rewrites it.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::{Directory, LOCK, Store, create_beside, name_of};

/// The interval between two attempts to take a lock that another process holds: at first, and at most. Many
/// waiting processes must not take the processor time of the one that they wait for.
const INTERVALS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(40)];

/// The time for which a lock is opened again, without a timeout, if other processes replace it again and again.
const RETRIES: Duration = Duration::from_millis(100);

/// The file that is locked while a lock is taken over, so that no two waiting processes replace the same one.
const TAKE_OVER: &str = "take-over.lock";

/// The mode of lock files: every user who may open a file may lock it, even one who may only read it.
const PRIVATE: u32 = 0o600;

/// The lock of an entry, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that was forked meanwhile has it open too.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// The result of an attempt to take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    /// This process has it.
    Yes,
    /// Another open file has it.
    ByAnother,
}

/// Takes the lock of a file (`flock(2)`) without waiting. It lasts until it is unlocked, or the file is closed everywhere.
///
/// # Errors
/// Those of file systems without locks.
pub(super) fn try_lock(file: &File) -> io::Result<Locked> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Locked::Yes),
        Err(Errno::WOULDBLOCK) => Ok(Locked::ByAnother),
        Err(error) => Err(error.into()),
    }
}

impl Store {
    /// Takes the lock of an entry, waiting for another holder as long as `timeout` allows.
    ///
    /// The kernel gives the lock of a process that died to the next one. A holder that lives and does nothing,
    /// such as a stopped one, loses it after `timeout` to the first of the waiting processes, and the others
    /// wait for that one: all of them together lose one `timeout`, and none more than two.
    ///
    /// Returns `None` if another process holds it until the timeout is over, or if the directory cannot be
    /// written or its file system has no locks. The caller goes on without: two probes at once cost time and
    /// do no harm.
    pub(crate) fn lock(&self, path: &Path, timeout: Duration) -> Option<Lock> {
        let directory = self.make().ok()?;
        let path = path.with_extension(LOCK);
        let name = name_of(&path);
        let open = || self.open_private(&directory, name).ok();
        let mut file = open()?;
        // A caller without a timeout may have to open the lock again if another process replaced it.
        let end = Instant::now() + if timeout.is_zero() { RETRIES } else { 2 * timeout };
        let mut until = Instant::now() + timeout;
        let [mut interval, longest] = INTERVALS;
        loop {
            let taken = match try_lock(&file).ok()? {
                Locked::Yes => true,
                Locked::ByAnother if timeout.is_zero() => return None,
                Locked::ByAnother => false,
            };
            let now = Instant::now();
            let is_over = now >= end;
            if !is_named(&directory, &file, name) {
                if is_over {
                    // Other processes replace it again and again.
                    return None;
                }
                // Its holder lost it: the lock in effect is another file now.
                file = open()?;
                until = now + timeout;
            } else if taken {
                return Some(Lock(file));
            } else {
                let take_over = || self.take_over(&directory, &file, name);
                let lock = if now >= until { take_over() } else { None };
                if lock.is_some() || is_over {
                    return lock;
                }
                std::thread::sleep(interval);
                interval = longest.min(2 * interval);
            }
        }
    }

    /// Replaces a lock whose holder does nothing by one of this process; `None` if another process does so now.
    fn take_over(&self, directory: &Directory, held: &File, name: &OsStr) -> Option<Lock> {
        let one_at_a_time = self.open_private(directory, OsStr::new(TAKE_OVER)).ok()?;
        if !matches!(try_lock(&one_at_a_time), Ok(Locked::Yes)) {
            return None;
        }
        let _one_at_a_time = Lock(one_at_a_time);
        if !is_named(directory, held, name) {
            return None;
        }
        let (temporary, file) = create_beside(directory, Path::new(name), PRIVATE).ok()?;
        directory.rename(&temporary, name).ok()?;
        Some(Lock(file))
    }

    /// Opens a lock that no other user can open, even if it was created with another mode. One of a user who is
    /// not trusted is refused, and so is one with a second name, which may be any user's file.
    fn open_private(&self, directory: &Directory, name: &OsStr) -> io::Result<File> {
        let file = directory.file(name, OFlags::WRONLY | OFlags::CREATE, PRIVATE)?;
        let status = file.metadata()?;
        if !self.trust.is_trusted(status.uid()) || status.nlink() > 1 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if status.mode() & 0o777 != PRIVATE {
            // Only the owner can. A process that holds it keeps it until a waiting one takes it over.
            let _ = file.set_permissions(Permissions::from_mode(PRIVATE));
        }
        Ok(file)
    }
}

/// Locks a file that was just created. Returns false if another process locked it first, which may be about to
/// remove it.
pub(super) fn hold(directory: &Directory, file: &File, name: &OsStr) -> bool {
    // On a file system without locks, `gc` cannot lock it either and does not remove it.
    !matches!(try_lock(file), Ok(Locked::ByAnother)) && is_named(directory, file, name)
}

/// Returns whether an open file is still the one with this name.
fn is_named(directory: &Directory, file: &File, name: &OsStr) -> bool {
    let named = directory.status_of(name).map(|status| (status.st_dev, status.st_ino)).ok();
    let own = file.metadata().map(|status| (status.dev(), status.ino())).ok();
    named.is_some() && own == named
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::tests::store;

    #[test]
    fn a_caller_without_a_timeout_does_not_wait_for_a_lock() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/emulator"));
        let held = store.lock(&path, Duration::ZERO).unwrap();
        assert!(store.lock(&path, Duration::ZERO).is_none());
        drop(held);
        assert!(store.lock(&path, Duration::ZERO).is_some());
    }

    #[test]
    fn a_lock_that_is_dropped_is_free_though_another_process_has_its_file_open() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/emulator"));
        let held = store.lock(&path, Duration::ZERO).unwrap();
        // As after a fork: both share one open file.
        let inherited = held.0.try_clone().unwrap();
        drop(held);
        assert!(store.lock(&path, Duration::ZERO).is_some());
        drop(inherited);
    }

    #[test]
    fn a_holder_that_does_nothing_loses_its_lock_once_and_to_one_at_a_time() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/emulator"));
        let stopped = store.lock(&path, Duration::ZERO).unwrap();
        let inode = |lock: &Lock| lock.0.metadata().unwrap().ino();
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let wait = || {
            let lock = store.lock(&path, Duration::from_secs(3)).unwrap();
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            inside.fetch_sub(1, Ordering::SeqCst);
            inode(&lock)
        };
        let mut locks: Vec<u64> = std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..16).map(|_| scope.spawn(wait)).collect();
            waiting.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(most.into_inner(), 1);
        locks.dedup();
        assert_eq!(locks.len(), 1, "more than one of them took the lock over");
        assert_ne!(locks, [inode(&stopped)]);
        assert!(store.lock(&path, Duration::ZERO).is_some(), "no thread waits for it any more");
    }

    /// Takes a lock on another thread: the test goes on if it is never taken.
    fn lock_within_a_minute(store: Store, path: &Path, timeout: Duration) -> Option<Lock> {
        let (path, (sender, receiver)) = (path.to_owned(), std::sync::mpsc::channel());
        std::thread::spawn(move || sender.send(store.lock(&path, timeout)));
        receiver.recv_timeout(Duration::from_secs(60)).expect("the wait has an end")
    }

    #[test]
    fn a_user_who_may_only_read_the_cache_cannot_open_its_locks() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/emulator"));
        let lock = path.with_extension(LOCK);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let held = store.lock(&path, Duration::ZERO).unwrap();
        assert_eq!(mode(&lock), 0o600);
        let inode = |lock: &Lock| lock.0.metadata().unwrap().ino();
        let taken_over = store.lock(&path, Duration::from_millis(10)).unwrap();
        assert_ne!(inode(&taken_over), inode(&held));
        assert_eq!(mode(&lock), 0o600);
        assert_eq!(mode(&store.directory().join(TAKE_OVER)), 0o600);
        // A lock from a time when every user could open it.
        drop(taken_over);
        fs::set_permissions(&lock, Permissions::from_mode(0o644)).unwrap();
        assert!(store.lock(&path, Duration::ZERO).is_some());
        assert_eq!(mode(&lock), 0o600);
    }

    #[test]
    fn a_process_that_locks_the_directory_does_not_delay_others() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/emulator"));
        let _stopped = store.lock(&path, Duration::ZERO).unwrap();
        let directory = File::open(store.directory()).unwrap();
        assert_eq!(try_lock(&directory).unwrap(), Locked::Yes);
        assert!(lock_within_a_minute(store, &path, Duration::from_millis(10)).is_some());
    }

    #[test]
    fn a_lock_that_cannot_be_taken_over_is_waited_for_twice_as_long_and_no_longer() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/emulator"));
        let _stopped = store.lock(&path, Duration::ZERO).unwrap();
        let directory = store.open().unwrap().unwrap();
        let taking_over = store.open_private(&directory, OsStr::new(TAKE_OVER)).unwrap();
        assert_eq!(try_lock(&taking_over).unwrap(), Locked::Yes);
        assert!(lock_within_a_minute(store, &path, Duration::from_millis(10)).is_none());
    }

    #[test]
    fn a_new_file_that_another_process_locked_or_removed_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1-0.tmp");
        let make = || File::create(&path).unwrap();
        let opened = Directory::at(directory.path()).unwrap();
        let hold = |file: &File| hold(&opened, file, name_of(&path));
        let file = make();
        assert!(hold(&file));
        fs::remove_file(&path).unwrap();
        // `gc` considers it abandoned: it locks first, and removes then.
        let file = make();
        let collector = File::open(&path).unwrap();
        assert_eq!(try_lock(&collector).unwrap(), Locked::Yes);
        assert!(!hold(&file));
        fs::remove_file(&path).unwrap();
        drop(collector);
        assert!(!hold(&file));
    }
}
