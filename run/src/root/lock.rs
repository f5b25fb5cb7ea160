//! The lock of a guest's name. The runner holds one file and its emulator another: while the runner lives, a second
//! start is refused at once; when it was killed, the next start kills its emulator, unless that is detached, and waits
//! until it has ended. Each file lists the processes that it is about, by number and time of start.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Directories, Root, RootError, holders};

/// The time that the emulator of a runner that was killed has to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that the processes which serve a detached guest have to end after it.
const DETACHED_TIMEOUT: Duration = Duration::from_millis(100);

/// The interval of trying to lock.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The content of the runner's file while its guest is detached.
const DETACHED: &[u8] = b"detached\n";

/// The lock of a guest's name, held until this and the emulator are gone.
#[derive(Debug)]
pub(crate) struct NameLock {
    runner: File,
    emulator: File,
}

impl NameLock {
    /// Locks a name.
    ///
    /// # Errors
    /// [`RootError::Running`] if a guest of this name runs, else [`RootError::Io`].
    pub(crate) async fn take(
        root: &Root,
        directories: &Directories,
        name: &str,
    ) -> Result<NameLock, RootError> {
        let path = root.path().join("run/lock").join(name);
        let failed = |errno: Errno| RootError::io("lock", &path)(errno.into());
        let running = || RootError::Running { name: name.to_owned(), root: root.path().to_owned() };
        let open = |suffix| open(directories.locks.as_fd(), &format!("{name}.{suffix}"));
        let runner = open("runner").map_err(failed)?;
        let runner = File::from(runner);
        let started = Instant::now();
        while !lock(&runner).map_err(failed)? {
            // A process that a runner forked holds its lock too, until it executes the emulator or ends.
            let is_held = holders::has_any(&runner).map_err(RootError::io("read", &path))?;
            if is_held || started.elapsed() >= END_TIMEOUT {
                return Err(running());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let is_detached = is_detached(&runner).map_err(RootError::io("read", &path))?;
        let list_own = || holders::start_with_own(&runner).map_err(RootError::io("write", &path));
        if !is_detached {
            // Before the wait, so that others are refused at once.
            list_own()?;
        }
        let emulator = File::from(open("emulator").map_err(failed)?);
        let patience = if is_detached { DETACHED_TIMEOUT } else { END_TIMEOUT };
        let started = Instant::now();
        while !lock(&emulator).map_err(failed)? {
            if started.elapsed() >= patience {
                return Err(running());
            }
            if !is_detached {
                // Again and again: one that was forked a moment ago has not recorded its number yet.
                holders::kill(&emulator).map_err(RootError::io("read", &path))?;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        // Processes that serve devices may hold no lock.
        holders::kill(&emulator).map_err(RootError::io("read", &path))?;
        if is_detached {
            // Not before: the mark is what keeps the emulator from being killed.
            list_own()?;
        }
        holders::start(&emulator).map_err(RootError::io("write", &path))?;
        Ok(NameLock { runner, emulator })
    }

    /// Returns a descriptor with which the emulator holds the lock.
    pub(crate) fn for_emulator(&self) -> io::Result<OwnedFd> {
        self.emulator.as_fd().try_clone_to_owned()
    }

    /// Records that the emulator outlives its runner.
    pub(crate) fn set_detached(&self, root: &Path) -> Result<(), RootError> {
        // Files that are open for appending are appended to at any offset (pwrite(2)).
        let write = || self.runner.set_len(0).and_then(|()| (&self.runner).write_all(DETACHED));
        write().map_err(RootError::io("write a lock in", root))
    }
}

impl Drop for NameLock {
    /// Unlocks the file of the runner. Closing it is not enough: a process that another thread forks has a copy of the
    /// descriptor until it executes its program. The next start waits for the file of the emulator.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.runner, FlockOperation::Unlock);
    }
}

fn is_detached(runner: &File) -> io::Result<bool> {
    let mut content = [0; DETACHED.len()];
    let count = runner.read_at(&mut content, 0)?;
    Ok(content.get(..count) == Some(DETACHED))
}

fn open(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    // Several processes append their numbers.
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Locks a file; returns false if another process has locked it.
fn lock(file: &impl AsFd) -> Result<bool, Errno> {
    let locked = rustix::io::retry_on_intr(|| {
        rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)
    });
    match locked {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}
