//! The directory of libvirt's files, which no other user may rearrange.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::error::{SeedError, io_error};
use crate::root::Root;
use crate::xml::MAX_XML_BYTES;

/// The number of links that the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// The permission of a directory in which users may not remove the files of other users.
const STICKY: u32 = 0o1000;

/// Flags with which links are refused, and a pipe or a device does not block this process.
const FLAGS: OFlags =
    OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// The open directory of libvirt's files. They are reached through its descriptor and never through a link.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

/// A file of the directory.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) content: Vec<u8>,
    /// The reason why another user could have written it.
    pub(super) untrusted: Option<String>,
}

/// Treatment of a directory that is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    Make,
    Keep,
}

impl Directory {
    /// Opens a directory of a system; `None` if it is absent and is not to be made.
    ///
    /// Each directory on the way must belong to root, to this user or, as distributions install it, to the user
    /// `qemu_uid`, and others may not write to it unless it is sticky. The directory itself must belong to root or
    /// to this user. A link is followed if one of them made it.
    pub(super) fn open(
        root: &Root,
        path: &Path,
        qemu_uid: u32,
        absent: Absent,
    ) -> Result<Option<Directory>, SeedError> {
        let top = || root.open_file(Path::new("/"), OFlags::RDONLY | OFlags::DIRECTORY);
        let mut here = top().map_err(io_error("open", root.outside(Path::new("/"))))?;
        let mut walked = PathBuf::from("/");
        let mut left: VecDeque<OsString> = names(path).collect();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            let next = root.outside(&walked.join(&name));
            let failed = |action| io_error(action, next.clone());
            let status = match rustix::fs::statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) => status,
                Err(Errno::NOENT) if absent == Absent::Keep => return Ok(None),
                Err(Errno::NOENT) => {
                    make(&here, &name).map_err(failed("create"))?;
                    let made = rustix::fs::statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW);
                    made.map_err(io::Error::from).map_err(failed("open"))?
                }
                Err(error) => return Err(failed("open")(error.into())),
            };
            if FileType::from_raw_mode(status.st_mode) == FileType::Symlink {
                links += 1;
                if links > MOST_LINKS {
                    return Err(failed("open")(Errno::LOOP.into()));
                }
                check_owner(&next, &status, None)?;
                let target = rustix::fs::readlinkat(&here, &name, Vec::new());
                let target = target.map_err(io::Error::from).map_err(failed("open"))?;
                let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
                if target.is_absolute() {
                    here = top().map_err(failed("open"))?;
                    walked = PathBuf::from("/");
                }
                left = names(&target).chain(left).collect();
                continue;
            }
            if name == ".." {
                // The kernel would leave an image here: nothing is above its root.
                walked.pop();
                let opened = root.open_file(&walked, OFlags::RDONLY | OFlags::DIRECTORY);
                here = opened.map_err(failed("open"))?;
            } else {
                let flags = FLAGS | OFlags::DIRECTORY;
                let opened = rustix::fs::openat(&here, &name, flags, Mode::empty());
                here = opened.map_err(io::Error::from).map_err(failed("open"))?;
                walked.push(&name);
            }
            let status =
                rustix::fs::fstat(&here).map_err(io::Error::from).map_err(failed("open"))?;
            let is_last = left.is_empty();
            check_owner(&next, &status, (!is_last).then_some(qemu_uid))?;
            check_mode(&next, &status, is_last)?;
        }
        Ok(Some(Directory { fd: here, path: root.outside(&walked) }))
    }

    /// Returns the path of a file, for messages.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns a file; `None` if there is none. One byte more than [`MAX_XML_BYTES`] is read at most.
    ///
    /// # Errors
    /// [`SeedError::NotAFile`], [`SeedError::Io`].
    pub(super) fn read(&self, name: &str) -> Result<Option<Found>, SeedError> {
        let path = self.path_of(name);
        let not_a_file = |found| SeedError::NotAFile { path: path.clone(), found };
        let file = match rustix::fs::openat(&self.fd, name, FLAGS, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(not_a_file("a symbolic link")),
            Err(Errno::NXIO) => return Err(not_a_file("a socket")),
            Err(error) => return Err(io_error("read", path)(error.into())),
        };
        let status =
            rustix::fs::fstat(&file).map_err(io::Error::from).map_err(io_error("read", &path))?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(not_a_file("a directory")),
            _ => return Err(not_a_file("a device or a pipe")),
        }
        let mut content = Vec::new();
        let read = file.take(MAX_XML_BYTES as u64 + 1).read_to_end(&mut content);
        read.map_err(io_error("read", path))?;
        let untrusted = foreign_owner(&status, None).or_else(|| open_mode(&status));
        Ok(Some(Found { content, untrusted }))
    }

    /// Replaces a file as a whole, with the mode that libvirt gives it. If that fails, the old one is kept.
    ///
    /// # Errors
    /// [`SeedError::Io`].
    pub(super) fn write(&self, name: &str, content: &str) -> Result<(), SeedError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{name}.{}-{number}.tmp", std::process::id());
        self.remove_left(name);
        let written = self.write_new(&temporary, content).and_then(|()| {
            rustix::fs::renameat(&self.fd, &temporary, &self.fd, name)?;
            Ok(rustix::fs::fsync(&self.fd)?)
        });
        written.map_err(|error| {
            // Absent if it was renamed, or could not be made.
            let _ = rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
            io_error("write", self.path_of(name))(error)
        })
    }

    /// Removes temporary files of a file that processes left when they were killed.
    fn remove_left(&self, name: &str) {
        let Ok(entries) = Dir::read_from(&self.fd) else { return };
        for entry in entries.flatten() {
            let process = entry.file_name().to_str().ok().and_then(|other| {
                let middle = other.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp")?;
                Pid::from_raw(middle.split_once('-')?.0.parse().ok()?)
            });
            // A process of another PID namespace may still run: its rename fails, and it reports that.
            if process.is_some_and(|process| test_kill_process(process) == Err(Errno::SRCH)) {
                let _ = rustix::fs::unlinkat(&self.fd, entry.file_name(), AtFlags::empty());
            }
        }
    }

    fn write_new(&self, name: &str, content: &str) -> io::Result<()> {
        let flags = FLAGS | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::RUSR | Mode::WUSR;
        let open = || rustix::fs::openat(&self.fd, name, flags, mode);
        let fd = match open() {
            // Left by a process of the same number that was killed.
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?;
                open()
            }
            opened => opened,
        };
        let mut file = File::from(fd?);
        file.write_all(content.as_bytes())?;
        file.sync_all()
    }
}

/// Makes a directory that only its owner may write to; an existing one is kept.
fn make(within: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::mkdirat(within, name, Mode::from_raw_mode(0o755)) {
        Err(error) if error != Errno::EXIST => Err(error.into()),
        _ => Ok(()),
    }
}

/// Checks that a directory or link belongs to root, to this user, or to `further`.
fn check_owner(path: &Path, status: &Stat, further: Option<u32>) -> Result<(), SeedError> {
    match foreign_owner(status, further) {
        None => Ok(()),
        Some(why) => Err(SeedError::Untrusted { path: path.to_owned(), why }),
    }
}

/// Returns a reason if a file belongs neither to root, nor to this user, nor to `further`.
fn foreign_owner(status: &Stat, further: Option<u32>) -> Option<String> {
    let owner = status.st_uid;
    let own = rustix::process::geteuid().as_raw();
    let is_trusted = owner == 0 || owner == own || further == Some(owner);
    (!is_trusted).then(|| format!("belongs to the user {owner}"))
}

/// Returns a reason if users other than the owner may write to a file.
fn open_mode(status: &Stat) -> Option<String> {
    let mode = status.st_mode & 0o7777;
    (mode & 0o022 != 0).then(|| format!("can be written by others (its mode is {mode:o})"))
}

/// Checks that other users may not write to a directory; if it is not the last one, it may be sticky.
fn check_mode(path: &Path, status: &Stat, is_last: bool) -> Result<(), SeedError> {
    match open_mode(status).filter(|_| is_last || status.st_mode & STICKY == 0) {
        None => Ok(()),
        Some(why) => Err(SeedError::Untrusted { path: path.to_owned(), why }),
    }
}

/// Returns the names in a path.
fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}
