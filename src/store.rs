//! The files of one root: where an entry lies, how it is read, replaced and removed.
//!
//! Entries are never changed in place. A writer makes a temporary file in the same directory,
//! syncs it, renames it over the entry and syncs the directory; readers take no lock and keep what
//! they mapped. A lock is replaced only by one that is held already, and never deleted while its
//! directory is in use: whoever gets one looks whether it is still the one of that name.

mod directory;
mod lock;
mod trust;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use capscache_format::{Entry, InputKind};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

pub(crate) use self::directory::Directory;
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
    root: PathBuf,
    /// The name of the release's directory under the root.
    release: OsString,
    /// Both together.
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
        let (root, directory) = (root.to_owned(), root.join(&release));
        let store = Store { root, release: release.into(), directory, trust };
        store.open()?;
        Ok(store)
    }

    /// Opens the root; `None` if it is not there yet.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub(crate) fn open_root(&self) -> Result<Option<Directory>, Error> {
        // Each time: before, it may not have been there.
        self.trust.check_parents(&self.root)?;
        self.checked(Directory::at(&self.root), &self.root)
    }

    /// Opens the directory of this release; `None` if it is not there yet, or if a link or a file is in
    /// its place: nothing is read from there, and [`Store::write`] says why nothing can be kept.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub(crate) fn open(&self) -> Result<Option<Directory>, Error> {
        let Some(root) = self.open_root()? else { return Ok(None) };
        match root.inside(&self.release) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            opened => self.checked(opened, &self.directory),
        }
    }

    /// Refuses a directory that somebody could write who is not trusted, by what was opened.
    fn checked(
        &self,
        opened: io::Result<Directory>,
        path: &Path,
    ) -> Result<Option<Directory>, Error> {
        let refused = |source| Error::Root { path: path.into(), source: Arc::new(source) };
        match opened {
            Ok(directory) => {
                self.trust.check(path, &directory.status().map_err(refused)?)?;
                Ok(Some(directory))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    /// Opens the directory of this release, made if need be, whatever the umask lets others do.
    fn make(&self) -> Result<Directory, Error> {
        let failed = |source| Error::entry("write", &self.directory)(source);
        let mut missing = vec![&*self.release];
        let mut directory = self.open_root().map_err(|error| match error {
            Error::Root { source, .. } => {
                Error::Entry { action: "write", path: self.directory.clone(), source }
            }
            error => error,
        })?;
        let mut path = &*self.root;
        // From what is there downwards by descriptor: nobody can put a link in the way meanwhile.
        while directory.is_none() {
            let split = path.parent().zip(path.file_name());
            let (parent, name) = split.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
            missing.push(name);
            path = parent;
            directory = match Directory::at(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                opened => Some(opened.map_err(failed)?),
            };
        }
        let there = directory.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        missing.iter().rev().try_fold(there, |above, name| self.make_inside(&above, name))
    }

    /// Makes a directory in another one, if need be, and opens it.
    fn make_inside(&self, above: &Directory, name: &OsStr) -> Result<Directory, Error> {
        let path = above.path().join(name);
        let opened = above.make(name).and_then(|()| above.inside(name));
        let directory = opened.map_err(Error::entry("write", &path))?;
        let status = directory.status().map_err(Error::entry("write", &path))?;
        self.trust.check(&path, &status)?;
        Ok(directory)
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
        let Some(directory) = self.open()? else { return Ok(None) };
        let file = match directory.file(name_of(path), OFlags::RDONLY, 0) {
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
        let directory = self.make()?;
        let (temporary, mut file) = create_beside(&directory, path, 0o644).map_err(failed)?;
        let mut replace = || {
            file.write_all(bytes)?;
            file.sync_all()?;
            directory.rename(&temporary, name_of(path))?;
            directory.sync()
        };
        replace().map_err(|error| {
            // Without a rename it is litter; if it cannot be removed either, so be it.
            let _ = directory.remove(&temporary);
            failed(error)
        })
    }

    /// Removes an entry; whether there was one.
    pub(crate) fn remove(&self, path: &Path) -> Result<bool, Error> {
        let Some(directory) = self.open()? else { return Ok(false) };
        match directory.remove(name_of(path)) {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(Error::entry("remove", path)(error)),
        }
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
        let Some(directory) = self.open()? else { return Ok(Vec::new()) };
        let names = directory.names().map_err(Error::entry("read", &self.directory))?;
        let paths = names.into_iter().map(|name| self.directory.join(name));
        let mut paths: Vec<PathBuf> = paths.filter(|path| is_wanted(path)).collect();
        paths.sort();
        Ok(paths)
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The name of a file of a store.
fn name_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// How often another name is tried for a new file: nobody takes so many by accident.
const TRIES: usize = 1000;

/// A new file beside an entry, locked, so that it is not taken for what a writer left that died.
/// Another process may have our number, in another pid namespace, or may have had it before it died:
/// its file is left alone. So is one that `gc` was faster to lock: it is about to remove it.
fn create_beside(directory: &Directory, path: &Path, mode: u32) -> io::Result<(OsString, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    for _ in 0..TRIES {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}.{TEMPORARY}", std::process::id());
        let temporary = name_of(&path.with_extension(name)).to_owned();
        match directory.file(&temporary, flags, mode) {
            Ok(file) if lock::hold(directory, &file, &temporary) => return Ok((temporary, file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
