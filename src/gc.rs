//! What nobody needs any more, removed: entries of emulators that are gone, what older releases and
//! writers that died left behind.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{Cache, Shared};
use crate::capabilities::Loaded;
use crate::error::Error;
use crate::store::{Directory, ENTRY, FAILURE, Store};

/// What [`Cache::collect_garbage`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Emulators that are gone, whose entries were dropped, sorted.
    pub emulators: Vec<PathBuf>,
    /// Entries that were damaged.
    pub damaged: usize,
    /// Failures that are not believed any more.
    pub failures: usize,
    /// Files that writers left which died.
    pub temporaries: usize,
    /// Directories that probes left which were killed.
    pub scratch_directories: usize,
    /// Directories of older releases.
    pub releases: Vec<PathBuf>,
    /// What was left alone, since it cannot be read: links, files of other users. With the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

impl Collected {
    /// Whether there was nothing to remove, and nothing that could not be read.
    pub fn is_empty(&self) -> bool {
        *self == Collected::default()
    }

    fn skip(&mut self, file: &Path, error: &Error) {
        let why = match error {
            Error::Entry { source, .. } => source.to_string(),
            Error::Unsafe { why, .. } => why.clone(),
            error => error.to_string(),
        };
        self.skipped.push((file.to_owned(), why));
    }
}

impl Cache {
    /// Removes the entries of emulators that are gone and what is left of writers that died, of
    /// failures and of older releases. Never touches what somebody works on; fallbacks are left
    /// alone.
    ///
    /// # Errors
    /// [`Error::Entry`] for a directory that cannot be read, and for what cannot be removed.
    pub fn collect_garbage(&self) -> Result<Collected, Error> {
        let shared = &self.0;
        let mut collected = Collected::default();
        for file in shared.store.entries()? {
            shared.collect_entry(&file, &mut collected)?;
        }
        collected.emulators.sort();
        for file in shared.store.failures()? {
            shared.collect_failure(&file, &mut collected)?;
        }
        for file in shared.store.temporaries()? {
            collected.temporaries += usize::from(shared.store.remove_abandoned(&file)?);
        }
        for directory in shared.store.scratch_directories()? {
            collected.scratch_directories +=
                usize::from(shared.store.remove_abandoned(&directory)?);
        }
        collected.releases = remove_older_releases(&shared.root, &shared.store)?;
        Ok(collected)
    }
}

impl Shared {
    fn collect_entry(&self, file: &Path, collected: &mut Collected) -> Result<(), Error> {
        // Somebody who holds it is about to make a good entry of it.
        let Some(_lock) = self.store.lock(file, Duration::ZERO) else { return Ok(()) };
        let emulator = match self.store.read(file) {
            Ok(Some(stored)) => Some(Loaded::new(stored, &self.host()).emulator()),
            Ok(None) => return Ok(()),
            Err(error) if error.is_damage() => None,
            Err(error) => {
                collected.skip(file, &error);
                return Ok(());
            }
        };
        match emulator {
            Some(emulator) if !is_gone(&emulator) => {}
            Some(emulator) => {
                self.store.remove(file)?;
                collected.emulators.push(emulator);
            }
            None => collected.damaged += usize::from(self.store.remove(file)?),
        }
        Ok(())
    }

    fn collect_failure(&self, file: &Path, collected: &mut Collected) -> Result<(), Error> {
        let Some(_lock) = self.store.lock(file, Duration::ZERO) else { return Ok(()) };
        let believed = match self.store.read(file) {
            Ok(Some(stored)) => self.failure_in(&Loaded::new(stored, &self.host())).is_some(),
            Ok(None) => return Ok(()),
            Err(error) if error.is_damage() => false,
            Err(error) => {
                collected.skip(file, &error);
                return Ok(());
            }
        };
        if !believed {
            collected.failures += usize::from(self.store.remove(file)?);
        }
        Ok(())
    }
}

/// Whether nothing has this path; what cannot be looked at may be there.
fn is_gone(emulator: &Path) -> bool {
    let looked = fs::metadata(emulator);
    looked
        .is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

/// Removes the directories of releases before this one in which nobody works. A newer one's are none
/// of our business.
fn remove_older_releases(root: &Path, store: &Store) -> Result<Vec<PathBuf>, Error> {
    let ours = store.directory().file_name().and_then(release);
    let Some(opened) = store.open_root()? else { return Ok(Vec::new()) };
    let mut removed = Vec::new();
    for name in opened.names().map_err(Error::entry("read", root))? {
        let release = release(&name);
        if release.is_none() || release >= ours {
            continue;
        }
        // A link is no release.
        let Ok(directory) = opened.inside(&name) else { continue };
        // Held until the directory is gone: nobody begins meanwhile.
        let Some(_locks) = lock_all(&directory)? else { continue };
        let path = root.join(&name);
        opened.remove_all(&name).map_err(Error::entry("remove", &path))?;
        removed.push(path);
    }
    removed.sort();
    Ok(removed)
}

/// Locks whatever in a release's directory those lock who work there; `None` if somebody does.
fn lock_all(directory: &Directory) -> Result<Option<Vec<File>>, Error> {
    let mut locks = Vec::new();
    for name in directory.names().map_err(Error::entry("read", directory.path()))? {
        // Everybody can lock what everybody can read, and no writer does. A link or a pipe is
        // nobody's lock.
        let kind = Path::new(&name).extension();
        let is_answer = kind.is_some_and(|kind| kind == ENTRY || kind == FAILURE);
        if !is_answer && let Ok(file) = directory.lockable(&name) {
            match file.try_lock() {
                Ok(()) => locks.push(file),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(_)) => {}
            }
        }
    }
    Ok(Some(locks))
}

/// The format and the release that a directory is of: `v1-0.1.0`; `None` for any other name.
fn release(name: &OsStr) -> Option<(u32, [u32; 3])> {
    let (format, release) = name.to_str()?.strip_prefix('v')?.split_once('-')?;
    let mut numbers = release.split('.').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    let release = [next()?, next()?, next()?];
    numbers.next().is_none().then_some((format.parse().ok()?, release))
}

impl Store {
    /// Removes a file or directory that a writer left which died; whether it did. A writer that lives
    /// holds it locked.
    fn remove_abandoned(&self, temporary: &Path) -> Result<bool, Error> {
        let Some(directory) = self.open()? else { return Ok(false) };
        let name = temporary.file_name().unwrap_or_default();
        let Ok(file) = directory.lockable(name) else { return Ok(false) };
        if file.try_lock().is_err() {
            return Ok(false);
        }
        if file.metadata().is_ok_and(|status| status.is_dir()) {
            let removed = directory.remove_all(name);
            return removed.map(|()| true).map_err(Error::entry("remove", temporary));
        }
        self.remove(temporary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number_and_other_names_are_none() {
        let of = |name: &str| release(OsStr::new(name));
        assert!(of("v1-0.9.0") < of("v1-0.10.0"));
        assert!(of("v1-9.0.0") < of("v2-0.1.0"));
        for other in ["", "v1", "v1-", "v1-0.1", "v1-0.1.0.1", "v1-0.1.x", "1-0.1.0", "v-0.1.0"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
