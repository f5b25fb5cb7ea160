//! The files of one root: where an entry lies, how it is read, replaced and removed.
//!
//! Entries are never changed in place. A writer makes a temporary file in the same directory,
//! syncs it, renames it over the entry and syncs the directory; readers take no lock and keep what
//! they mapped. Lock files are never deleted, so that two writers never lock two files of one name.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use capscache_format::Entry;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::input::{Trigger, signature};
use crate::map::Bytes;

const ENTRY: &str = "caps";
const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";

/// How often a lock that another process holds is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// One release's directory under a root.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

/// An entry as it was found, and the file that it was found in.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) entry: Entry<Bytes>,
    /// Moves when the entry is replaced or removed; `None` for one that is in no file.
    pub(crate) file: Option<Trigger>,
}

impl Store {
    /// The directory of this release under `root`; it is made when something is written.
    ///
    /// Another release of the format or the prober has another directory, so that two of them on
    /// one root leave each other's entries alone.
    pub(crate) fn new(root: &Path) -> Store {
        let release =
            format!("v{}-{}", capscache_format::layout::FORMAT_VERSION, env!("CARGO_PKG_VERSION"));
        Store { directory: root.join(release) }
    }

    #[cfg(test)]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of an emulator's entry: the path asked for decides, whatever it links to.
    pub(crate) fn entry_path(&self, emulator: &Path) -> PathBuf {
        let digest = Sha256::digest(emulator.as_os_str().as_bytes());
        let name = capscache_format::hex(&digest);
        self.directory.join(name).with_extension(ENTRY)
    }

    /// Opens an entry; `None` if there is none.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Stored>, Error> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(Error::entry("read", path)(error)),
        };
        let status = rustix::fs::fstat(&file).map_err(io::Error::from);
        let status = status.map_err(Error::entry("read", path))?;
        let signature = signature(&status);
        let bytes = Bytes::of(&file, signature.size).map_err(Error::entry("read", path))?;
        let entry =
            Entry::open(bytes).map_err(|source| Error::Format { path: path.to_owned(), source })?;
        Ok(Some(Stored { entry, file: Trigger::stat(path, Some(signature)) }))
    }

    /// Replaces an entry, so that a reader sees the old one or the new one, and so does a reader
    /// after a power cut.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        fs::create_dir_all(&self.directory).map_err(Error::entry("write", path))?;
        let failed = |error| Error::entry("write", path)(error);
        let (temporary, file) = create_beside(path).map_err(failed)?;
        self.replace(path, &temporary, file, bytes).map_err(|error| {
            // Without a rename it is litter; if it cannot be removed either, so be it.
            let _ = fs::remove_file(&temporary);
            failed(error)
        })
    }

    fn replace(
        &self,
        path: &Path,
        temporary: &Path,
        mut file: File,
        bytes: &[u8],
    ) -> io::Result<()> {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// Removes an entry; whether there was one.
    pub(crate) fn remove(&self, path: &Path) -> Result<bool, Error> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(Error::entry("remove", path)(error)),
        }
    }

    /// The files of all entries, sorted.
    pub(crate) fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        let directory = match fs::read_dir(&self.directory) {
            Ok(directory) => directory,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Error::entry("read", &self.directory)(error)),
        };
        let mut paths = Vec::new();
        for entry in directory {
            let path = entry.map_err(Error::entry("read", &self.directory))?.path();
            if path.extension() == Some(OsStr::new(ENTRY)) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Takes the lock of an entry, so that one process at a time probes or rewrites it.
    ///
    /// Waits for another holder until `patience` is over; then, or where the directory cannot be
    /// written or its file system has no locks, goes on without: two probes at once are a waste,
    /// and nothing worse.
    pub(crate) fn lock(&self, path: &Path, patience: Duration) -> Option<File> {
        let until = Instant::now() + patience;
        fs::create_dir_all(&self.directory).ok()?;
        let path = path.with_extension(LOCK);
        let file = File::options().write(true).create(true).truncate(false).open(path).ok()?;
        loop {
            match file.try_lock() {
                Ok(()) => return Some(file),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(LOCK_INTERVAL);
                }
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
            }
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A new file beside an entry. Another process may have our number, in another pid namespace, or may
/// have had it before it died: its file is left alone.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}.{TEMPORARY}", std::process::id());
        let temporary = path.with_extension(name);
        match File::options().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_entry_is_an_error_and_a_missing_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        let path = store.entry_path(Path::new("/usr/bin/qemu-system-x86_64"));
        assert!(store.read(&path).unwrap().is_none());
        store.write(&path, b"no entry at all").unwrap();
        assert!(store.read(&path).unwrap_err().is_damage());
        assert_eq!(store.entries().unwrap(), std::slice::from_ref(&path));
        assert!(store.remove(&path).unwrap());
        assert!(!store.remove(&path).unwrap());
    }

    #[test]
    fn a_lock_that_is_held_is_waited_for_no_longer_than_told() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        let path = store.entry_path(Path::new("/emulator"));
        let held = store.lock(&path, Duration::ZERO).unwrap();
        assert!(store.lock(&path, Duration::ZERO).is_none());
        drop(held);
        assert!(store.lock(&path, Duration::ZERO).is_some());
    }

    #[test]
    fn a_write_leaves_nothing_beside_the_entry() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        let path = store.entry_path(Path::new("/emulator"));
        store.write(&path, b"one").unwrap();
        store.write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 1);
    }
}
