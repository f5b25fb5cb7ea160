//! Removes entries: on request, and those that are stale, damaged or of emulators that no longer exist.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use capscache_format::Scope;

use super::Entries;
use crate::capabilities::Loaded;
use crate::error::{Error, chain};
use crate::lookup::Lookup;
use crate::status::{GarbageReport, Stale};
use crate::trust::is_inaccessible;

impl Entries {
    /// Removes the entry and the failure of an emulator. Returns whether there was an entry.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub(crate) fn invalidate(&self, emulator: &Path) -> Result<bool, Error> {
        let removed = self.store.remove(&self.store.entry_path(emulator))?;
        self.forget(emulator);
        self.forget_failure(emulator)?;
        Ok(removed)
    }

    /// Removes all entries and failures of this release. Returns the number of entries.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub(crate) fn invalidate_all(&self) -> Result<usize, Error> {
        let mut removed = 0;
        for file in self.store.entries()? {
            removed += usize::from(self.store.remove(&file)?);
        }
        for file in self.store.failures()? {
            self.store.remove(&file)?;
        }
        self.open.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.failures.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(removed)
    }

    /// Removes an entry that was found stale as a whole. Returns the reason why it is stale.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub(crate) fn drop_if_stale(
        &self,
        emulator: &Path,
        examined: Lookup,
    ) -> Result<Option<Stale>, Error> {
        let Lookup::Stale { reason, entry } = examined else { return Ok(None) };
        let path = self.store.entry_path(emulator);
        let is_removable =
            reason.scope == Scope::Binary && !is_inaccessible(&reason.path) && entry.0.is_in(&path);
        if is_removable {
            let lock = self.store.lock(&path, Duration::ZERO);
            if lock.is_some() && entry.0.is_current() {
                self.store.remove(&path)?;
                self.forget(emulator);
            }
        }
        Ok(Some(reason))
    }

    /// Removes what is not needed any more: see [`Cache::collect_garbage`](crate::Cache::collect_garbage).
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub(crate) fn collect_garbage(&self) -> Result<GarbageReport, Error> {
        let mut report = GarbageReport::default();
        for file in self.store.entries()? {
            self.collect_entry(&file, &mut report)?;
        }
        report.emulators.sort();
        for file in self.store.failures()? {
            self.collect_failure(&file, &mut report)?;
        }
        self.store.collect_leftovers(&mut report)?;
        Ok(report)
    }

    fn collect_entry(&self, file: &Path, report: &mut GarbageReport) -> Result<(), Error> {
        // A process that holds the lock is about to write a good entry.
        let Some(_lock) = self.store.lock(file, Duration::ZERO) else { return Ok(()) };
        let emulator = match self.store.read(file) {
            Ok(Some(stored)) => Some(Loaded::new(stored, &self.host()).emulator()),
            Ok(None) => return Ok(()),
            Err(error) if error.is_damage() => None,
            Err(error) => {
                skip(report, file, &error);
                return Ok(());
            }
        };
        match emulator {
            Some(emulator) if !is_gone(&emulator) => {}
            Some(emulator) => {
                self.store.remove(file)?;
                report.emulators.push(emulator);
            }
            None => report.damaged += usize::from(self.store.remove(file)?),
        }
        Ok(())
    }

    fn collect_failure(&self, file: &Path, report: &mut GarbageReport) -> Result<(), Error> {
        let Some(_lock) = self.store.lock(file, Duration::ZERO) else { return Ok(()) };
        let holds = match self.store.read(file) {
            Ok(Some(stored)) => self.failure_in(&Loaded::new(stored, &self.host())).is_some(),
            Ok(None) => return Ok(()),
            Err(error) if error.is_damage() => false,
            Err(error) => {
                skip(report, file, &error);
                return Ok(());
            }
        };
        if !holds {
            report.failures += usize::from(self.store.remove(file)?);
        }
        Ok(())
    }
}

/// Returns whether there is no file at a path; one that cannot be examined may exist.
fn is_gone(emulator: &Path) -> bool {
    let is_absent = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
    fs::metadata(emulator).is_err_and(|error| is_absent(error.kind()))
}

fn skip(report: &mut GarbageReport, file: &Path, error: &Error) {
    let why = match error {
        Error::Entry { source, .. } => chain(source),
        Error::Unsafe { why, .. } => why.clone(),
        error => chain(error),
    };
    report.skipped.push((file.to_owned(), why));
}
