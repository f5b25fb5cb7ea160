//! Files as they are compared: signatures, digests, and whether a signature can be relied on.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capscache_format::Signature;
use rustix::fs::{Mode, OFlags, Stat};
use sha2::{Digest, Sha256};

/// The time after a change of a file within which another change may leave its time stamps the same.
const RACY: Duration = Duration::from_secs(2);

/// A limit that no program reaches. A sparse file may have any size without using any space, and hashing it
/// must not take hours.
const MAX_PROGRAM_BYTES: u64 = 1 << 30;

/// One `stat` that a hit compares; `None`: the file was absent.
#[derive(Clone, Debug)]
pub(crate) struct FileStamp {
    path: CString,
    recorded: Option<Signature>,
}

impl FileStamp {
    /// `None` for a path that no file can have.
    pub(crate) fn new(path: &Path, recorded: Option<Signature>) -> Option<FileStamp> {
        // Made once: a hit must not copy paths.
        let path = CString::new(path.as_os_str().as_bytes()).ok()?;
        Some(FileStamp { path, recorded })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path.as_bytes()))
    }

    /// Returns whether the signature of the file differs from the recorded one: one system call.
    pub(crate) fn has_changed(&self) -> bool {
        rustix::fs::stat(&*self.path).ok().map(|status| signature(&status)) != self.recorded
    }

    /// Opens the file for reading; `None` if it is another one by now.
    pub(crate) fn open_unchanged(&self) -> Option<File> {
        let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(&*self.path, flags, Mode::empty()).ok()?);
        let found = rustix::fs::fstat(&file).ok().map(|status| signature(&status));
        (found == self.recorded).then_some(file)
    }
}

/// The signature of the file at a path, links followed.
pub(crate) fn stat(path: &Path) -> io::Result<Signature> {
    Ok(signature(&rustix::fs::stat(path)?))
}

/// The part of what `stat` returns that identifies the content of a file.
pub(crate) fn signature(status: &Stat) -> Signature {
    // The types of these fields differ between architectures (stat(2)).
    fn unsigned<T: TryInto<u64>>(value: T) -> u64 {
        value.try_into().unwrap_or(0)
    }
    let nanoseconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Signature {
        device: unsigned(status.st_dev),
        inode: unsigned(status.st_ino),
        size: unsigned(status.st_size),
        mtime: (status.st_mtime, nanoseconds(unsigned(status.st_mtime_nsec))),
        ctime: (status.st_ctime, nanoseconds(unsigned(status.st_ctime_nsec))),
    }
}

/// Returns whether a signature taken at `since` may stay the same over a further change, as in git's
/// index: the file may change again within one tick of its file system's clock. A time stamp in the future
/// cannot be relied on either.
pub(crate) fn is_racy(signature: Signature, since: SystemTime) -> bool {
    let Some(changed) = changed_at(signature) else { return false };
    since.duration_since(changed).map_or(true, |age| age < RACY)
}

/// The time of a file's last change; `None` for one before 1970.
pub(crate) fn changed_at(signature: Signature) -> Option<SystemTime> {
    let (seconds, nanoseconds) = signature.ctime;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanoseconds))
}

/// The time stamp of a file that changes now: that of the kernel's last tick.
pub(crate) fn time_of_change() -> SystemTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    UNIX_EPOCH + Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanoseconds)
}

/// Opens a regular file for reading. A pipe, a terminal or a device could block forever, also if it was
/// put at the path just now, and opening some devices has effects.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let refused = || Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    if !fs::metadata(path)?.is_file() {
        return refused();
    }
    let file = open_nonblocking(path, File::options().read(true))?;
    if file.metadata()?.is_file() { Ok(file) } else { refused() }
}

/// Opens a file of any type without blocking: a pipe must not delay the caller.
pub(crate) fn open_nonblocking(path: &Path, options: &mut fs::OpenOptions) -> io::Result<File> {
    // The bits fit any integer of 32 bits.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    options.custom_flags(flags).open(path)
}

/// The SHA-256 of a file's content: of a program, a library or a script.
pub(crate) fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    let file = open_regular(path)?;
    if file.metadata()?.len() > MAX_PROGRAM_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("larger than {MAX_PROGRAM_BYTES} bytes"),
        ));
    }
    let mut file = file.take(MAX_PROGRAM_BYTES);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&buffer[..read]);
    }
}

/// A digest of the paths and of what `stat` returns for each of these files.
pub(crate) fn stat_digest(paths: &[PathBuf]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for path in paths {
        hasher.update(path.as_os_str().as_bytes());
        hasher.update(format!("\n{:?}\n", stat(path).ok()));
    }
    hasher.finalize().into()
}

/// The files in a directory, sorted.
pub(crate) fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// Returns whether a file was changed at a time or later.
pub(crate) fn is_since(path: &Path, time: SystemTime) -> bool {
    stat(path).ok().and_then(changed_at).is_some_and(|at| at >= time)
}

/// Returns whether a path leads to a regular file with an execute permission.
pub(crate) fn is_program(path: &Path) -> bool {
    let status = fs::metadata(path);
    status.is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Signature {
        Signature { device: 1, inode: 2, size: 3, mtime: (0, 0), ctime: (seconds, 500_000_000) }
    }

    #[test]
    fn a_file_larger_than_any_program_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_PROGRAM_BYTES + 1).unwrap();
        let error = sha256_of(file.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("larger than {MAX_PROGRAM_BYTES} bytes"));
    }

    #[test]
    fn a_signature_is_racy_until_the_file_is_two_seconds_old() {
        let now = UNIX_EPOCH + Duration::new(100, 0);
        assert!(is_racy(at(99), now));
        assert!(is_racy(at(98), now));
        assert!(!is_racy(at(97), now));
    }

    #[test]
    fn a_file_from_the_future_is_racy() {
        assert!(is_racy(at(101), UNIX_EPOCH + Duration::new(100, 0)));
    }
}
