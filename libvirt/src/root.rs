//! The files of this system, or of an image below a directory, by the paths that they have there.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

/// The largest configuration file or list of users that is read.
const MAX_BYTES: u64 = 4 << 20;

/// The times of files that libvirt will find where a system is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Times {
    /// Those of the files: the file system is used, or copied with its inodes.
    #[default]
    Kept,
    /// The change times become the modification times, as in a squashfs or erofs, which have only these.
    OfModification,
}

/// The root directory of a system.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
    times: Times,
}

impl Root {
    /// Opens the root directory of a system.
    pub(crate) fn open(path: &Path, times: Times) -> io::Result<Root> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Root { fd, path: path.to_owned(), times })
    }

    /// Returns the path of a file of this system for a process outside it, for messages.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Opens a file; links are resolved within the system.
    pub(crate) fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        // openat2(2) refuses other flags beside O_PATH, which opens no device anyway.
        let further = match flags.contains(OFlags::PATH) {
            true => OFlags::CLOEXEC,
            false => OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let flags = flags | further;
        if self.path == Path::new("/") {
            return Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
        }
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), within)?)
    }

    /// Returns the status of the file at the end of all links.
    pub(crate) fn status(&self, path: &Path) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(self.open_file(path, OFlags::PATH)?)?)
    }

    /// Returns the change time that libvirt will find of the file at the end of all links, in seconds.
    pub(crate) fn changed(&self, path: &Path) -> io::Result<i64> {
        Ok(self.change_time(&self.status(path)?))
    }

    /// Returns the change time that libvirt will find of a file, in seconds.
    pub(crate) fn change_time(&self, status: &Stat) -> i64 {
        #[allow(clippy::useless_conversion, reason = "the type depends on the architecture")]
        match self.times {
            Times::Kept => status.st_ctime.into(),
            Times::OfModification => modified(status),
        }
    }

    /// Returns what a link contains.
    pub(crate) fn link(&self, path: &Path) -> io::Result<PathBuf> {
        let link = self.open_file(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let target = rustix::fs::readlinkat(link, "", Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Returns whether the file at the end of all links can be executed.
    pub(crate) fn is_program(&self, path: &Path) -> bool {
        self.status(path).is_ok_and(|status| {
            let is_file = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
            is_file && status.st_mode & 0o111 != 0
        })
    }

    /// Returns the text of a file; bytes that are not UTF-8 are replaced by U+FFFD.
    pub(crate) fn read(&self, path: &Path) -> io::Result<String> {
        let file = File::from(self.open_file(path, OFlags::RDONLY)?);
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Returns the names in a directory, sorted; those that are not UTF-8 are left out.
    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let directory = self.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            names.extend(entry?.file_name().to_str().map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }
}

/// Returns the modification time of a file, in seconds.
pub(crate) fn modified(status: &Stat) -> i64 {
    #[allow(clippy::useless_conversion, reason = "the type depends on the architecture")]
    status.st_mtime.into()
}
