//! The directory for temporary files of an emulator.

#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use capscache_process::Identity;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::user::User;

/// The prefix of the name of every such directory.
const PREFIX: &str = "capscache-probe-";

/// Bound on attempts with another name.
const MAX_ATTEMPTS: usize = 8;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory of one probe, which is removed when this is dropped.
///
/// A probe holds a lock on its directory, which the kernel releases when it is killed: the next probe in the same place
/// removes directories without a lock.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    /// `None` if the directory could not be made.
    made: Option<Made>,
}

/// Descriptors of the directory and its parent: replacing a directory on the path does not affect them.
#[derive(Debug)]
struct Made {
    within: OwnedFd,
    name: String,
    /// Locked.
    directory: OwnedFd,
}

impl Scratch {
    /// Makes a directory in `within`, for `owner` if that is not the caller.
    ///
    /// If none can be made (a full disk, a read-only system) the path is that of a directory that does not exist: then
    /// the emulator can have no temporary files, and needs none.
    pub(crate) fn new(within: &Path, owner: Option<&User>) -> Self {
        let mut path = within.join(PREFIX);
        if let Ok(opened) = rustix::fs::open(within, DIRECTORY, Mode::empty()) {
            remove_abandoned(&opened, owner);
            for _ in 0..MAX_ATTEMPTS {
                // A number that other users cannot guess.
                let name = format!("{PREFIX}{:016x}", RandomState::new().hash_one(0));
                path.set_file_name(&name);
                match make(&opened, &name, owner) {
                    Ok(directory) => {
                        let made = Made { within: opened, name, directory };
                        return Self { path, made: Some(made) };
                    }
                    Err(Errno::EXIST | Errno::NOENT | Errno::WOULDBLOCK) => {}
                    Err(_) => break,
                }
            }
        }
        Self { path, made: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory itself; its path may be that of another one by now.
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.made.as_ref().map(|made| made.directory.as_fd())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(made) = &self.made {
            made.remove();
        }
    }
}

impl Made {
    fn remove(&self) {
        let remove = || rustix::fs::unlinkat(&self.within, &*self.name, AtFlags::REMOVEDIR);
        // Nearly always it is empty.
        if remove().is_err() {
            empty(&self.directory);
            let _ = remove();
        }
    }
}

/// Makes a directory and locks it. EXIST, NOENT and WOULDBLOCK if another process was faster.
fn make(within: &OwnedFd, name: &str, owner: Option<&User>) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(within, name, Mode::RWXU)?;
    let directory = lock(within, name, owner);
    if directory.is_err() {
        let _ = rustix::fs::unlinkat(within, name, AtFlags::REMOVEDIR);
    }
    directory
}

/// Locks a directory that was just made, and changes its owner.
fn lock(within: &OwnedFd, name: &str, owner: Option<&User>) -> Result<OwnedFd, Errno> {
    let directory = rustix::fs::openat(within, name, DIRECTORY, Mode::empty())?;
    let status = rustix::fs::fstat(&directory)?;
    if status.st_uid != rustix::process::geteuid().as_raw() {
        // Another user who may write there put another one in its place.
        return Err(Errno::PERM);
    }
    let locked = rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive);
    // On a file system without locks the directory is used without: no probe can lock it to remove it.
    if locked == Err(Errno::WOULDBLOCK) {
        return Err(Errno::WOULDBLOCK);
    }
    // Another probe may have locked and removed it meanwhile, as an abandoned one.
    if rustix::fs::fstat(&directory)?.st_nlink == 0 {
        return Err(Errno::NOENT);
    }
    if let Some(Ok(Identity { uid, gid, .. })) = owner.map(User::identity) {
        // If it fails, this process may not become that user either, and reports that when it starts the emulator.
        let _ = rustix::fs::fchown(&directory, Some(uid), Some(gid));
    }
    Ok(directory)
}

/// Removes the directories of probes that were killed.
fn remove_abandoned(parent: &OwnedFd, owner: Option<&User>) {
    let me = rustix::process::geteuid().as_raw();
    for name in names(parent) {
        if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let Ok(directory) = rustix::fs::openat(parent, &*name, DIRECTORY, Mode::empty()) else {
            continue;
        };
        let owned = rustix::fs::fstat(&directory).is_ok_and(|status| {
            status.st_uid == me || owner.is_some_and(|owner| status.st_uid == owner.uid)
        });
        let lock = || rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive);
        if owned && lock().is_ok() {
            empty(&directory);
            let _ = rustix::fs::unlinkat(parent, &*name, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes everything from a directory, however deep it nests: the content of a subdirectory is moved up before the
/// subdirectory is removed, so that only one level is ever read. Files that cannot be removed stay.
fn empty(directory: &OwnedFd) {
    let mut fresh = (0_u64..).map(|number| format!("{PREFIX}{number}"));
    loop {
        let mut is_done = true;
        for name in names(directory) {
            if rustix::fs::unlinkat(directory, &*name, AtFlags::empty()) == Err(Errno::ISDIR) {
                is_done &= !move_up(directory, &name, &mut fresh);
                let _ = rustix::fs::unlinkat(directory, &*name, AtFlags::REMOVEDIR);
            }
        }
        if is_done {
            return;
        }
    }
}

/// Moves the content of a subdirectory to the directory itself, under fresh names; returns whether anything was moved.
fn move_up(
    directory: &OwnedFd,
    subdirectory: &CStr,
    fresh: &mut impl Iterator<Item = String>,
) -> bool {
    let Ok(inner) = rustix::fs::openat(directory, subdirectory, DIRECTORY, Mode::empty()) else {
        return false;
    };
    // A name that the emulator has used too costs one more round.
    let moved = names(&inner).zip(fresh).filter(|(name, above)| {
        rustix::fs::renameat(&inner, &**name, directory, above.as_str()).is_ok()
    });
    moved.count() > 0
}

/// Returns the names in a directory.
fn names(directory: impl AsFd) -> impl Iterator<Item = CString> {
    let entries = Dir::read_from(directory).ok();
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name().to_owned());
    names.filter(|name| !matches!(name.as_bytes(), b"." | b".."))
}
