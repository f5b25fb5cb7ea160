//! The files of one root: entries and failures, read, replaced and removed.
//!
//! Entries are never changed in place. A writer makes a temporary file in the same directory,
//! syncs it, renames it over the entry and syncs the directory; readers take no lock and keep what
//! they mapped. A lock file is replaced only by one that is locked already, and never removed while its
//! directory is in use: a process that gets a lock checks that its file still has its name.

mod bytes;
mod directory;
mod gc;
mod lock;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use capscache_format::{Entry, InputKind};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

pub use self::bytes::Bytes;
use self::directory::Directory;

use crate::error::Error;
use crate::file::{FileStamp, signature};
use crate::trust::Trust;

/// The extensions of the files of a store.
const ENTRY: &str = "caps";
const FAILURE: &str = "failed";
const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";

/// The beginning of the names of the temporary directories of probes.
const SCRATCH: &[u8] = b"capscache-probe-";

/// One release's directory under a root.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    /// The name of the release's directory under the root.
    release: OsString,
    /// The path of the release's directory.
    directory: PathBuf,
    trust: Trust,
}

/// An entry and the file that it was read from.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) entry: Entry<Bytes>,
    /// Changes when the entry is replaced or removed; `None` for an entry that is in no file.
    pub(crate) file: Option<FileStamp>,
}

impl Store {
    /// Opens the directory of this release under `root`, which the first write creates.
    ///
    /// Another release of the format or the prober has another directory, so that two of them on
    /// one root leave each other's entries alone.
    ///
    /// # Errors
    /// [`Error::Root`] for a root that is not a directory, [`Error::Unsafe`] for one that a user who is not
    /// trusted could write.
    pub(crate) fn new(root: &Path, trust: Trust) -> Result<Store, Error> {
        let release =
            format!("v{}-{}", capscache_format::FORMAT_VERSION, env!("CARGO_PKG_VERSION"));
        let (root, directory) = (root.to_owned(), root.join(&release));
        let store = Store { root, release: release.into(), directory, trust };
        store.open()?;
        Ok(store)
    }

    /// Opens the root; `None` if it does not exist yet.
    ///
    /// # Errors
    /// See [`Store::new`].
    pub(crate) fn open_root(&self) -> Result<Option<Directory>, Error> {
        // Each time: the root may not have existed before.
        self.trust.check_way_to(&self.root)?;
        self.checked(Directory::at(&self.root), &self.root)
    }

    /// Opens the directory of this release; `None` if it does not exist yet, or if a link or a file is in
    /// its place: nothing is read from there, and [`Store::write`] returns the error.
    ///
    /// # Errors
    /// See [`Store::new`].
    pub(crate) fn open(&self) -> Result<Option<Directory>, Error> {
        let Some(root) = self.open_root()? else { return Ok(None) };
        match root.inside(&self.release) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            opened => self.checked(opened, &self.directory),
        }
    }

    /// Refuses an opened directory that a user who is not trusted could write.
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

    /// Opens the directory of this release and creates it if need be, whatever the umask.
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
        // From the first existing directory downwards by descriptor: no link can be put in the way meanwhile.
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
        let existing = directory.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        missing.iter().rev().try_fold(existing, |above, name| self.make_inside(&above, name))
    }

    /// Opens a directory in another one and creates it if need be.
    fn make_inside(&self, above: &Directory, name: &OsStr) -> Result<Directory, Error> {
        let path = above.path().join(name);
        let opened = above.make(name).and_then(|()| above.inside(name));
        let directory = opened.map_err(Error::entry("write", &path))?;
        let status = directory.status().map_err(Error::entry("write", &path))?;
        self.trust.check(&path, &status)?;
        Ok(directory)
    }

    /// The directory of the cache.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of this release.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of an emulator's entry: its name is derived from the path, whatever that links to.
    pub(crate) fn entry_path(&self, emulator: &Path) -> PathBuf {
        let digest = Sha256::digest(emulator.as_os_str().as_bytes());
        let name = capscache_format::hex(&digest);
        self.directory.join(name).with_extension(ENTRY)
    }

    /// The file of an emulator's failure.
    pub(crate) fn failure_path(&self, emulator: &Path) -> PathBuf {
        self.entry_path(emulator).with_extension(FAILURE)
    }

    /// Opens an entry; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Unsafe`] for one that a user who is not trusted could have written,
    /// [`Error::Entry`] for one that cannot be read, [`Error::Format`] for a damaged one,
    /// [`Error::OtherEmulator`] for one at the path of another.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Stored>, Error> {
        let Some(directory) = self.open()? else { return Ok(None) };
        let file = match directory.file(name_of(path), OFlags::RDONLY, 0) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(Error::entry("read", path)(error)),
        };
        let status = rustix::fs::fstat(&file).map_err(io::Error::from);
        let status = status.map_err(Error::entry("read", path))?;
        self.trust.check(path, &status)?;
        let signature = signature(&status);
        let bytes = Bytes::of(&file, signature.size).map_err(Error::entry("read", path))?;
        let entry =
            Entry::open(bytes).map_err(|source| Error::Format { path: path.to_owned(), source })?;
        let emulator = entry.input(InputKind::Emulator).map_or(&b""[..], |input| input.name);
        let emulator = Path::new(OsStr::from_bytes(emulator));
        if self.entry_path(emulator).file_stem() != path.file_stem() {
            return Err(Error::OtherEmulator { path: path.into(), emulator: emulator.into() });
        }
        Ok(Some(Stored { entry, file: FileStamp::new(path, Some(signature)) }))
    }

    /// Replaces an entry atomically, also for a reader after a power cut.
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
            // Without a rename it is of no use; if it cannot be removed either, gc does that.
            let _ = directory.remove(&temporary);
            failed(error)
        })
    }

    /// Removes an entry. Returns whether there was one.
    pub(crate) fn remove(&self, path: &Path) -> Result<bool, Error> {
        let Some(directory) = self.open()? else { return Ok(false) };
        match directory.remove(name_of(path)) {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(Error::entry("remove", path)(error)),
        }
    }

    /// Checks an entry as a whole: see [`Cache::verify`](crate::Cache::verify).
    ///
    /// # Errors
    /// See [`Store::read`].
    pub(crate) fn verify(&self, path: &Path) -> Result<bool, Error> {
        let Some(stored) = self.read(path)? else { return Ok(false) };
        let damaged = |source| Error::Format { path: path.to_owned(), source };
        stored.entry.verify().map_err(damaged)?;
        Ok(true)
    }

    /// Checks all entries as a whole: see [`Cache::verify_all`](crate::Cache::verify_all).
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub(crate) fn verify_all(&self) -> Result<(usize, Vec<Error>), Error> {
        let (mut good, mut bad) = (0, Vec::new());
        for file in self.entries()? {
            match self.verify(&file) {
                Ok(exists) => good += usize::from(exists),
                Err(error) => bad.push(error),
            }
        }
        Ok((good, bad))
    }

    /// The files of all entries, sorted.
    pub(crate) fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        self.files(ENTRY)
    }

    /// The files of all failures, sorted.
    pub(crate) fn failures(&self) -> Result<Vec<PathBuf>, Error> {
        self.files(FAILURE)
    }

    /// The temporary files of writers, alive or not, sorted.
    fn temporaries(&self) -> Result<Vec<PathBuf>, Error> {
        self.files(TEMPORARY)
    }

    /// The temporary directories of probes, sorted.
    fn scratch_directories(&self) -> Result<Vec<PathBuf>, Error> {
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

/// The number of names that are tried for a new file.
const MAX_ATTEMPTS: usize = 1000;

/// Creates a file beside an entry and locks it, so that `gc` does not consider its writer dead.
/// Another process may have the same pid, in another pid namespace, or may have had it before it died:
/// its file is left alone. So is one that `gc` locked first: `gc` is about to remove it.
fn create_beside(directory: &Directory, path: &Path, mode: u32) -> io::Result<(OsString, File)> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    for _ in 0..MAX_ATTEMPTS {
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
    fn a_file_that_is_not_an_entry_is_an_error_and_a_missing_one_is_not() {
        let (_root, store) = store();
        let path = store.entry_path(Path::new("/usr/bin/qemu-system-x86_64"));
        assert!(store.read(&path).unwrap().is_none());
        store.write(&path, b"not an entry").unwrap();
        assert!(store.read(&path).unwrap_err().is_damage());
        assert_eq!(store.entries().unwrap(), std::slice::from_ref(&path));
        assert!(store.remove(&path).unwrap());
        assert!(!store.remove(&path).unwrap());
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_what_to_do() {
        use std::os::unix::fs::PermissionsExt;
        let (root, store) = store();
        for mode in [0o700, 0o755, 0o775, 0o757, 0o1777] {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
            let opened = store.open_root();
            if mode & 0o022 == 0 {
                assert!(opened.unwrap().is_some());
            } else {
                let message = opened.unwrap_err().to_string();
                assert!(message.contains(&format!("its mode {mode:o} lets")), "{message}");
                assert!(message.contains("chmod go-w"), "{message}");
            }
        }
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
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
