//! The directory in which an emulator may put temporary files.

#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::user::{Identity, User};

/// How the name of every such directory begins.
const PREFIX: &str = "capscache-probe-";

/// How often another name is tried.
const TRIES: usize = 8;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory of one probe, which goes with it.
///
/// A probe holds a lock on its directory, which nobody holds after it was killed: the next probe in the same place
/// removes what that one left.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    /// `None` if the directory could not be made.
    made: Option<Made>,
}

/// What was made, reached by descriptors: nobody can exchange what lies on the path to it.
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
    /// Where none can be made (a full disk, a read-only system) the path is of one that is not there: then the emulator
    /// can have no temporary files, and needs none.
    pub(crate) fn new(within: &Path, owner: Option<&User>) -> Self {
        let mut path = within.join(PREFIX);
        if let Ok(opened) = rustix::fs::open(within, DIRECTORY, Mode::empty()) {
            sweep(&opened, owner);
            for _ in 0..TRIES {
                // A number that nobody can guess.
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

    /// The directory itself, whatever has its path by now.
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

/// Makes a directory and locks it. EXIST, NOENT and WOULDBLOCK if somebody else was faster.
fn make(within: &OwnedFd, name: &str, owner: Option<&User>) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(within, name, Mode::RWXU)?;
    let directory = take(within, name, owner);
    if directory.is_err() {
        let _ = rustix::fs::unlinkat(within, name, AtFlags::REMOVEDIR);
    }
    directory
}

/// Locks a directory that was just made, and hands it over to its owner.
fn take(within: &OwnedFd, name: &str, owner: Option<&User>) -> Result<OwnedFd, Errno> {
    let directory = rustix::fs::openat(within, name, DIRECTORY, Mode::empty())?;
    let status = rustix::fs::fstat(&directory)?;
    if status.st_uid != rustix::process::geteuid().as_raw() {
        // Whoever may write there put another one in its place.
        return Err(Errno::PERM);
    }
    let locked = rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive);
    // A file system without locks can do without: nobody there can tell that an owner is gone.
    if locked == Err(Errno::WOULDBLOCK) {
        return Err(Errno::WOULDBLOCK);
    }
    // Somebody who swept may have locked and removed it meanwhile.
    if rustix::fs::fstat(&directory)?.st_nlink == 0 {
        return Err(Errno::NOENT);
    }
    if let Some(Ok(Identity { uid, gid, .. })) = owner.map(Identity::try_from) {
        // Fails for whoever may not take that user on either, and hears of it then.
        let _ = rustix::fs::fchown(&directory, Some(uid), Some(gid));
    }
    Ok(directory)
}

/// Removes the directories of probes that were killed.
fn sweep(parent: &OwnedFd, owner: Option<&User>) {
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

/// Removes everything from a directory, however deep it nests: what is in a directory is moved up before the directory
/// is removed, so that there is never more than one to be looked into. What cannot be removed stays.
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

/// Moves what is in a subdirectory to the directory itself, under fresh names; whether anything was moved.
fn move_up(
    directory: &OwnedFd,
    subdirectory: &CStr,
    fresh: &mut impl Iterator<Item = String>,
) -> bool {
    let Ok(inner) = rustix::fs::openat(directory, subdirectory, DIRECTORY, Mode::empty()) else {
        return false;
    };
    // A name that is not fresh, since the emulator had the same idea, costs one more round.
    let moved = names(&inner).zip(fresh).filter(|(name, above)| {
        rustix::fs::renameat(&inner, &**name, directory, above.as_str()).is_ok()
    });
    moved.count() > 0
}

/// What is in a directory, one after the other.
fn names(directory: impl AsFd) -> impl Iterator<Item = CString> {
    let entries = Dir::read_from(directory).ok();
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name().to_owned());
    names.filter(|name| !matches!(name.as_bytes(), b"." | b".."))
}
