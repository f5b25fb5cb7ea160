//! The lock of an entry: one process at a time probes or rewrites it.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{LOCK, Store, create_beside};

/// How often a lock that another process holds is tried.
const INTERVAL: Duration = Duration::from_millis(5);

impl Store {
    /// Takes the lock of an entry, waiting for another holder as long as `patience` allows.
    ///
    /// The kernel gives the lock of a process that died to the next one. A holder that lives and
    /// does nothing, such as a stopped one, loses it after `patience` to the first of those who
    /// wait, and the others wait for that one: it costs all of them together one `patience`.
    ///
    /// `None`: somebody holds it and there is no patience, or the directory cannot be written or its
    /// file system has no locks. The caller goes on without: two probes at once are a waste, and
    /// nothing worse.
    pub(crate) fn lock(&self, path: &Path, patience: Duration) -> Option<File> {
        self.make().ok()?;
        let path = path.with_extension(LOCK);
        let open = || File::options().write(true).create(true).truncate(false).open(&path).ok();
        let mut file = open()?;
        let mut until = Instant::now() + patience;
        loop {
            let taken = match file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) if patience.is_zero() => return None,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(_)) => return None,
            };
            if !is_named(&file, &path) {
                // Its holder lost it: the lock that counts is another file now.
                file = open()?;
                until = Instant::now() + patience;
            } else if taken {
                return Some(file);
            } else if Instant::now() < until {
                std::thread::sleep(INTERVAL);
            } else if let Some(lock) = self.take_over(&file, &path) {
                return Some(lock);
            } else {
                std::thread::sleep(INTERVAL);
            }
        }
    }

    /// Puts a lock of our own in place of one whose holder does nothing; `None` if somebody else
    /// does so now.
    fn take_over(&self, held: &File, path: &Path) -> Option<File> {
        // One at a time: so no two of those who wait replace the same lock.
        let directory = File::open(self.directory()).ok()?;
        directory.try_lock().ok()?;
        if !is_named(held, path) {
            return None;
        }
        let (temporary, file) = create_beside(path).ok()?;
        fs::rename(temporary, path).ok()?;
        Some(file)
    }
}

/// Whether an open file is still the one that has this name.
pub(super) fn is_named(file: &File, path: &Path) -> bool {
    let identity = |status: fs::Metadata| (status.dev(), status.ino());
    let named = fs::symlink_metadata(path).map(identity).ok();
    named.is_some() && file.metadata().map(identity).ok() == named
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::tests::store;

    #[test]
    fn a_lock_that_is_held_is_not_waited_for_without_patience() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/emulator"));
        let held = store.lock(&path, Duration::ZERO).unwrap();
        assert!(store.lock(&path, Duration::ZERO).is_none());
        drop(held);
        assert!(store.lock(&path, Duration::ZERO).is_some());
    }

    #[test]
    fn a_holder_that_does_nothing_loses_its_lock_once_and_to_one_at_a_time() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/emulator"));
        let stopped = store.lock(&path, Duration::ZERO).unwrap();
        let inode = |lock: &File| lock.metadata().unwrap().ino();
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let wait = || {
            let lock = store.lock(&path, Duration::from_millis(200)).unwrap();
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
        assert!(store.lock(&path, Duration::ZERO).is_some(), "nobody waits for it any more");
    }
}
