//! Removes the files that writers and probes left when they died, and the directories of older releases.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::lock::{Locked, try_lock};
use super::{Directory, ENTRY, FAILURE, Store};
use crate::error::Error;
use crate::status::GarbageReport;

impl Store {
    /// Removes temporary files, temporary directories and older releases that no process uses.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub(crate) fn collect_leftovers(&self, report: &mut GarbageReport) -> Result<(), Error> {
        for file in self.temporaries()? {
            report.temporaries += usize::from(self.remove_abandoned(&file)?);
        }
        for directory in self.scratch_directories()? {
            report.scratch_directories += usize::from(self.remove_abandoned(&directory)?);
        }
        report.releases = self.remove_older_releases()?;
        Ok(())
    }

    /// Removes a file or directory of a writer that died. Returns whether it did: a writer that lives holds
    /// a lock on it.
    fn remove_abandoned(&self, temporary: &Path) -> Result<bool, Error> {
        let Some(directory) = self.open()? else { return Ok(false) };
        let name = temporary.file_name().unwrap_or_default();
        let Ok(file) = directory.lockable(name) else { return Ok(false) };
        if !matches!(try_lock(&file), Ok(Locked::Yes)) {
            return Ok(false);
        }
        if file.metadata().is_ok_and(|status| status.is_dir()) {
            let removed = directory.remove_all(name);
            return removed.map(|()| true).map_err(Error::entry("remove", temporary));
        }
        self.remove(temporary)
    }

    /// Removes the directories of older releases in which no process works. Those of newer releases stay.
    fn remove_older_releases(&self) -> Result<Vec<PathBuf>, Error> {
        let ours = self.directory().file_name().and_then(release);
        let Some(opened) = self.open_root()? else { return Ok(Vec::new()) };
        let mut removed = Vec::new();
        for name in opened.names().map_err(Error::entry("read", self.root()))? {
            let release = release(&name);
            if release.is_none() || release >= ours {
                continue;
            }
            // A link is not a release.
            let Ok(directory) = opened.inside(&name) else { continue };
            // Held until the directory is removed: no process starts to work there meanwhile.
            let Some(_locks) = lock_all(&directory)? else { continue };
            let path = self.root().join(&name);
            opened.remove_all(&name).map_err(Error::entry("remove", &path))?;
            removed.push(path);
        }
        removed.sort();
        Ok(removed)
    }
}

/// Takes all locks that processes hold while they work in a release's directory; `None` if one is held.
fn lock_all(directory: &Directory) -> Result<Option<Vec<File>>, Error> {
    let mut locks = Vec::new();
    for name in directory.names().map_err(Error::entry("read", directory.path()))? {
        // Entries and failures are readable, so any user can lock them, and no writer does. Links and
        // pipes are not locks.
        let kind = Path::new(&name).extension();
        if kind.is_some_and(|kind| kind == ENTRY || kind == FAILURE) {
            continue;
        }
        let Ok(file) = directory.lockable(&name) else { continue };
        match try_lock(&file) {
            Ok(Locked::Yes) => locks.push(file),
            Ok(Locked::ByAnother) => return Ok(None),
            Err(_) => {}
        }
    }
    Ok(Some(locks))
}

/// Parses the name of a release's directory, `v2-0.1.0`: format version and release; `None` for any other name.
fn release(name: &OsStr) -> Option<(u32, [u32; 3])> {
    let (format, release) = name.to_str()?.strip_prefix('v')?.split_once('-')?;
    let mut numbers = release.split('.').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    let release = [next()?, next()?, next()?];
    numbers.next().is_none().then_some((format.parse().ok()?, release))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number_and_other_names_are_not_releases() {
        let of = |name: &str| release(OsStr::new(name));
        assert!(of("v1-0.9.0") < of("v1-0.10.0"));
        assert!(of("v1-9.0.0") < of("v2-0.1.0"));
        for other in ["", "v1", "v1-", "v1-0.1", "v1-0.1.0.1", "v1-0.1.x", "1-0.1.0", "v-0.1.0"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
