//! The log of a guest: stdout and stderr of its emulator.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags};

/// The size above which a log is set aside when the guest starts.
const MAX_BYTES: u64 = 1 << 20;

/// Bound on the part of the log that an error shows.
const TAIL_BYTES: u64 = 4096;

/// The log of a guest that starts.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// The size before this start.
    start: u64,
}

impl Log {
    /// Opens the log of a guest in a directory; a large one is renamed to `NAME.log.old` before.
    pub(crate) fn open(directory: BorrowedFd<'_>, name: &str) -> io::Result<Log> {
        let name = format!("{name}.log");
        let log = Log::append(directory, &name)?;
        if log.start <= MAX_BYTES {
            return Ok(log);
        }
        rustix::fs::renameat(directory, &name, directory, format!("{name}.old"))?;
        Log::append(directory, &name)
    }

    fn append(directory: BorrowedFd<'_>, name: &str) -> io::Result<Log> {
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Log { start: metadata.len(), file })
    }

    /// Returns a descriptor for the process.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Returns the last lines that were written since the start, without their time stamps.
    pub(crate) fn tail(&self) -> String {
        let end = self.file.metadata().map_or(0, |metadata| metadata.len());
        let start = self.start.max(end.saturating_sub(TAIL_BYTES));
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
        if self.file.read_exact_at(&mut bytes, start).is_err() {
            return String::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(without_time).collect::<Vec<_>>().join("\n")
    }
}

/// Removes the time stamp of `-msg timestamp=on`, as in `2024-01-01T00:00:00.000000Z qemu-system-x86_64: …`.
fn without_time(line: &str) -> &str {
    match line.split_once(' ') {
        Some((time, rest))
            if time.ends_with('Z')
                && time.contains('T')
                && time.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            rest
        }
        _ => line,
    }
}
