//! The directory of a guest while it runs.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::{Directories, Root, RootError, make_directory};
use crate::user::User;

/// The file of the master key, see [`Secrets`](crate::Secrets).
const MASTER_KEY: &str = "master-key.aes";

/// The socket of the monitor.
const MONITOR: &str = "monitor.sock";

/// The directory of a guest. Dropping it removes it, unless it is kept.
#[derive(Debug)]
pub(crate) struct GuestDir {
    path: PathBuf,
    directory: OwnedFd,
    is_kept: bool,
}

impl GuestDir {
    /// Creates the directory of a guest, whose name is locked, and removes what an earlier runner left there.
    pub(crate) fn create(
        root: &Root,
        directories: &Directories,
        name: &str,
    ) -> Result<GuestDir, RootError> {
        let path = root.path().join("run/guest").join(name);
        // No directory above it can be changed by other users.
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(RootError::io("remove", &path)(error));
            }
            _ => {}
        }
        let directory = make_directory(directories.guests.as_fd(), name, &path)?;
        let created = GuestDir { path, directory, is_kept: false };
        for name in ["channel", "ram"] {
            make_directory(created.directory.as_fd(), name, &created.path.join(name))?;
        }
        Ok(created)
    }

    /// Writes the master key.
    pub(crate) fn write_master_key(&self, key: &[u8]) -> Result<(), RootError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let write = || -> io::Result<()> {
            let file = rustix::fs::openat(&self.directory, MASTER_KEY, flags, mode)?;
            File::from(file).write_all(key)
        };
        write().map_err(RootError::io("write", &self.path.join(MASTER_KEY)))
    }

    /// Removes the master key, which the emulator has read.
    pub(crate) fn remove_master_key(&self) -> Result<(), RootError> {
        let removed = rustix::fs::unlinkat(&self.directory, MASTER_KEY, AtFlags::empty());
        removed.map_err(|errno| RootError::io("remove", &self.path.join(MASTER_KEY))(errno.into()))
    }

    /// Listens on the socket of the monitor.
    pub(crate) fn listen(&self) -> Result<(UnixListener, PathBuf), RootError> {
        let path = self.short(MONITOR);
        let listener = UnixListener::bind(&path);
        Ok((listener.map_err(RootError::io("bind", &self.path.join(MONITOR)))?, path))
    }

    /// Returns a path of a socket that fits into its address, of 108 bytes, however long the root is.
    fn short(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string()).join(name)
    }

    /// Gives the directory and all that is in it to a user.
    pub(crate) fn give_to(&self, user: &User) -> Result<(), RootError> {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        let give = || -> Result<(), rustix::io::Errno> {
            for name in ["channel", "ram", MASTER_KEY, MONITOR] {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(&self.directory, name, Some(uid), Some(gid), flags)?;
            }
            // Last: until then the user cannot replace a file.
            rustix::fs::fchown(&self.directory, Some(uid), Some(gid))
        };
        give().map_err(|errno| RootError::io("change the owner of", &self.path)(errno.into()))
    }

    /// Leaves the directory where it is, and returns the path of the socket of the monitor.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.is_kept = true;
        self.path.join(MONITOR)
    }
}

impl Drop for GuestDir {
    fn drop(&mut self) {
        if !self.is_kept {
            // The next start of the guest removes what is left.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
