//! The embedded root: the directory that holds all files of guests.
//!
//! | place | holds |
//! |---|---|
//! | `run/guest/NAME/` | sockets, master key and memory of a guest while it runs |
//! | `run/lock/` | locks by the names of guests |
//! | `lib/nvram/` | variables of firmware, which outlive the guest |
//! | `lib/tpm/NAME/VERSION/` | state of emulated TPMs, which outlives the guest |
//! | `log/NAME.log` | stdout and stderr of emulators |
//! | `log/NAME-HELPER.log` | stdout and stderr of the processes that serve their devices |
//! | `secrets/UUID` | secrets, if the user put some there |
//! | `etc/`, `cache/` | nothing of this package |

mod firmware;
mod guest_dir;
mod holders;
mod host;
mod lock;
mod ports;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capscache_format::Escaped;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub(crate) use self::guest_dir::GuestDir;
pub(crate) use self::lock::NameLock;
pub(crate) use self::ports::Ports;
use crate::user::User;

/// The longest name of a guest in bytes: with a suffix it is the name of a file.
const MAX_NAME_BYTES: usize = 200;

/// An embedded root: the directory that holds all files of its guests. Nothing outside it is written, but for what a
/// guest itself names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

/// Error of a file or directory of a root.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// The name of the guest cannot be the name of a file.
    #[error(
        "{:?} cannot be the name of a guest here; use 1 to {MAX_NAME_BYTES} bytes without slashes and line ends, and neither . nor ..",
        Escaped::new(name).to_string()
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A file or directory cannot be used.
    #[error("cannot {verb} {}", Escaped::new(path))]
    Io {
        /// The operation.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// Another user could change a directory.
    #[error(
        "cannot use {}: another user owns it or may write to it; give a directory of your own with --root",
        Escaped::new(path)
    )]
    Unsafe {
        /// The directory.
        path: PathBuf,
    },
    /// No port is free for a graphical console that leaves it open.
    #[error(
        "cannot find a port for a graphical console: none from {first} is free; name one, or end what uses them"
    )]
    NoPort {
        /// The first port that is tried.
        first: u16,
    },
    /// A guest of the name runs.
    #[error("cannot start {:?}: a guest of this name runs already in {}", Escaped::new(name).to_string(), Escaped::new(root))]
    Running {
        /// The name.
        name: String,
        /// The root.
        root: PathBuf,
    },
}

impl RootError {
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RootError {
        let path = path.to_owned();
        move |source| RootError::Io { verb, path, source: Arc::new(source) }
    }
}

impl Root {
    /// Names a root, which the first start creates.
    ///
    /// # Errors
    /// [`RootError::Io`] if the path is relative and there is no working directory.
    pub fn new(path: impl AsRef<Path>) -> Result<Root, RootError> {
        let path = path.as_ref();
        let absolute = std::path::absolute(path).map_err(RootError::io("find", path))?;
        Ok(Root(absolute.components().collect()))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Creates the directories that are missing, and returns those that guests use. With another user, they can be
    /// searched by all users, but the files of a guest belong to its user alone.
    pub(crate) fn create(&self, user: Option<&User>) -> Result<Directories, RootError> {
        let searchable = user.is_some();
        let root = self.open()?;
        let below = |parent: &OwnedFd, name: &str, is_passed: bool| {
            let path = self.0.join(name);
            let directory =
                make_directory(parent.as_fd(), name.rsplit('/').next().unwrap_or(name), &path)?;
            if searchable && is_passed {
                let mode = Mode::from_raw_mode(0o711);
                let changed = rustix::fs::fchmod(&directory, mode).map_err(io::Error::from);
                changed.map_err(RootError::io("change the mode of", &path))?;
            }
            Ok(directory)
        };
        if searchable {
            let mode = rustix::fs::fstat(&root).map(|status| Mode::from_raw_mode(status.st_mode));
            let changed =
                mode.and_then(|mode| rustix::fs::fchmod(&root, mode | Mode::XGRP | Mode::XOTH));
            changed.map_err(|errno| RootError::io("change the mode of", &self.0)(errno.into()))?;
        }
        for name in ["etc", "cache"] {
            below(&root, name, false)?;
        }
        let run = below(&root, "run", true)?;
        let lib = below(&root, "lib", true)?;
        below(&lib, "lib/nvram", true)?;
        Ok(Directories {
            guests: below(&run, "run/guest", true)?,
            locks: below(&run, "run/lock", false)?,
            log: below(&root, "log", false)?,
        })
    }

    fn open(&self) -> Result<OwnedFd, RootError> {
        let path = &self.0;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path).map_err(RootError::io("create", path))?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty());
        let root = root.map_err(|errno| RootError::io("open", path)(errno.into()))?;
        check(&root, path)?;
        Ok(root)
    }
}

/// The directories of a root that guests use.
#[derive(Debug)]
pub(crate) struct Directories {
    pub(crate) guests: OwnedFd,
    pub(crate) locks: OwnedFd,
    pub(crate) log: OwnedFd,
}

/// Opens a directory, and creates it if it is missing.
fn make_directory(parent: BorrowedFd<'_>, name: &str, path: &Path) -> Result<OwnedFd, RootError> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(RootError::io("create", path)(errno.into())),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty());
    let directory = directory.map_err(|errno| RootError::io("open", path)(errno.into()))?;
    check(&directory, path)?;
    Ok(directory)
}

/// Checks that no other user can change a directory.
fn check(directory: &OwnedFd, path: &Path) -> Result<(), RootError> {
    let status = rustix::fs::fstat(directory);
    let status = status.map_err(|errno| RootError::io("stat", path)(errno.into()))?;
    let is_own = [0, rustix::process::geteuid().as_raw()].contains(&status.st_uid);
    let others = Mode::WGRP | Mode::WOTH;
    if !is_own || Mode::from_raw_mode(status.st_mode).intersects(others) {
        return Err(RootError::Unsafe { path: path.to_owned() });
    }
    Ok(())
}
