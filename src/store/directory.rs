//! An open directory of a store. Files in it are reached through its descriptor, by one name and never through
//! a link: another user who may write above or in it cannot lead this process elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Flags with which links are refused, and a pipe, a terminal or a device does not block this process.
const OPEN_FLAGS: OFlags =
    OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory by its path, following links.
    pub(super) fn at(path: &Path) -> io::Result<Directory> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Directory { fd, path: path.to_owned() })
    }

    /// Opens a directory in this one; a link is refused as [`io::ErrorKind::NotADirectory`].
    pub(crate) fn inside(&self, name: &OsStr) -> io::Result<Directory> {
        match rustix::fs::openat(&self.fd, name, OPEN_FLAGS | OFlags::DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Directory { fd, path: self.path.join(name) }),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a link or not a directory"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a directory in this one that only its owner may write to, whatever the umask; an existing one is
    /// kept.
    pub(super) fn make(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Err(error) if error != Errno::EXIST => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn status(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.fd)?)
    }

    /// Returns the status of the file with a name, not following a link.
    pub(super) fn status_of(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Opens a regular file; files of other types are errors.
    pub(super) fn file(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        let mode = Mode::from_raw_mode(mode);
        let file = File::from(rustix::fs::openat(&self.fd, name, flags | OPEN_FLAGS, mode)?);
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind == FileType::RegularFile {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
        }
    }

    /// Opens a regular file or a directory for reading, to lock it.
    pub(crate) fn lockable(&self, name: &OsStr) -> io::Result<File> {
        self.file(name, OFlags::RDONLY, 0).or_else(|_| Ok(File::from(self.inside(name)?.fd)))
    }

    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Removes the file or link with a name, not a directory.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Removes a directory in this one with its content, following no link.
    pub(crate) fn remove_all(&self, name: &OsStr) -> io::Result<()> {
        // std walks by descriptors, once it is in a directory that no other user can replace. A process that
        // changed to the user of the root cannot resolve /proc/self, but has no more rights than that user.
        let own = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        let within = if own.is_dir() { &own } else { &self.path };
        std::fs::remove_dir_all(within.join(name))
    }

    /// Makes renames and removals outlast a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// The names in it, in no particular order.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }
}
