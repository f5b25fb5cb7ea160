//! The files of one root: where an entry lies, how it is read, replaced and removed.
//!
//! Entries are never changed in place. A writer makes a temporary file in the same directory,
//! syncs it, renames it over the entry and syncs the directory; readers take no lock and keep what
//! they mapped. A lock is replaced only by one that is held already, and never deleted while its
//! directory is in use: whoever gets one looks whether it is still the one of that name.

mod lock;
mod trust;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use capscache_format::{Entry, InputKind};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

pub(crate) use self::trust::Trust;

use crate::error::Error;
use crate::input::{Trigger, signature};
use crate::map::Bytes;

/// What the files of a store are, by their extension.
pub(crate) const ENTRY: &str = "caps";
pub(crate) const FAILURE: &str = "failed";
const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";

/// How the names of the temporary directories of probes begin.
const SCRATCH: &[u8] = b"capscache-probe-";

/// One release's directory under a root.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    trust: Trust,
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
    ///
    /// # Errors
    /// [`Error::Root`] for a root that is no directory, [`Error::Unsafe`] for one that somebody
    /// could write who is not trusted.
    pub(crate) fn new(root: &Path, trust: Trust) -> Result<Store, Error> {
        let release =
            format!("v{}-{}", capscache_format::layout::FORMAT_VERSION, env!("CARGO_PKG_VERSION"));
        let store = Store { directory: root.join(release), trust };
        for directory in [root, &store.directory] {
            trust.check_directory(directory)?;
        }
        Ok(store)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of an emulator's entry: the path asked for decides, whatever it links to.
    pub(crate) fn entry_path(&self, emulator: &Path) -> PathBuf {
        let digest = Sha256::digest(emulator.as_os_str().as_bytes());
        let name = capscache_format::hex(&digest);
        self.directory.join(name).with_extension(ENTRY)
    }

    /// The file in which a failed probe of an emulator is remembered.
    pub(crate) fn failure_path(&self, emulator: &Path) -> PathBuf {
        self.entry_path(emulator).with_extension(FAILURE)
    }

    /// Opens an entry; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Unsafe`] for one that somebody could have written who is not trusted,
    /// [`Error::Entry`] for one that cannot be read, [`Error::Format`] for a damaged one,
    /// [`Error::OtherEmulator`] for one that lies in the place of another.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Stored>, Error> {
        // A pipe would keep its opener waiting, and a link could lead anywhere.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(Error::entry("read", path)(error)),
        };
        let status = rustix::fs::fstat(&file).map_err(io::Error::from);
        let status = status.map_err(Error::entry("read", path))?;
        self.trust.check_entry(path, &status)?;
        let signature = signature(&status);
        let bytes = Bytes::of(&file, signature.size).map_err(Error::entry("read", path))?;
        let entry =
            Entry::open(bytes).map_err(|source| Error::Format { path: path.to_owned(), source })?;
        let emulator = entry.input(InputKind::Emulator).map_or(&b""[..], |input| input.name);
        let emulator = Path::new(OsStr::from_bytes(emulator));
        if self.entry_path(emulator).file_stem() != path.file_stem() {
            return Err(Error::OtherEmulator { path: path.into(), emulator: emulator.into() });
        }
        Ok(Some(Stored { entry, file: Trigger::stat(path, Some(signature)) }))
    }

    /// Replaces an entry, so that a reader sees the old one or the new one, and so does a reader
    /// after a power cut.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let failed = |error| Error::entry("write", path)(error);
        self.make().map_err(failed)?;
        let (temporary, file) = create_beside(path, 0o644).map_err(failed)?;
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

    /// Makes the directory, whatever the umask lets others do.
    fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(&self.directory)
    }

    /// The files of all entries, sorted.
    pub(crate) fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        self.files(ENTRY)
    }

    /// The files of all failures that are remembered, sorted.
    pub(crate) fn failures(&self) -> Result<Vec<PathBuf>, Error> {
        self.files(FAILURE)
    }

    /// What writers work on, or left, sorted.
    pub(crate) fn temporaries(&self) -> Result<Vec<PathBuf>, Error> {
        self.files(TEMPORARY)
    }

    /// The directories that probes put their temporary files in, sorted.
    pub(crate) fn scratch_directories(&self) -> Result<Vec<PathBuf>, Error> {
        self.paths(|path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(SCRATCH)))
    }

    /// The files with an extension, sorted.
    fn files(&self, extension: &str) -> Result<Vec<PathBuf>, Error> {
        self.paths(|path| path.extension() == Some(OsStr::new(extension)))
    }

    fn paths(&self, is_wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Error> {
        let directory = match fs::read_dir(&self.directory) {
            Ok(directory) => directory,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Error::entry("read", &self.directory)(error)),
        };
        let mut paths = Vec::new();
        for entry in directory {
            let path = entry.map_err(Error::entry("read", &self.directory))?.path();
            if is_wanted(&path) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A new file beside an entry, locked, so that it is not taken for what a writer left that died.
/// Another process may have our number, in another pid namespace, or may have had it before it died:
/// its file is left alone. So is one that `gc` was faster to lock: it is about to remove it.
fn create_beside(path: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}.{TEMPORARY}", std::process::id());
        let temporary = path.with_extension(name);
        match File::options().write(true).create_new(true).mode(mode).open(&temporary) {
            Ok(file) if lock::hold(&file, &temporary) => return Ok((temporary, file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path(), Trust::new(None)).unwrap();
        (root, store)
    }

    #[test]
    fn a_file_that_is_no_entry_is_an_error_and_a_missing_one_is_not() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/usr/bin/qemu-system-x86_64"));
        assert!(store.read(&path).unwrap().is_none());
        store.write(&path, b"no entry at all").unwrap();
        assert!(store.read(&path).unwrap_err().is_damage());
        assert_eq!(store.entries().unwrap(), std::slice::from_ref(&path));
        assert!(store.remove(&path).unwrap());
        assert!(!store.remove(&path).unwrap());
    }

    #[test]
    fn a_write_leaves_nothing_beside_the_entry() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/emulator"));
        store.write(&path, b"one").unwrap();
        store.write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 1);
    }
}
