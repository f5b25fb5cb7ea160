//! Failed probes that are remembered: a `get` returns them at once instead of waiting for the next failure.
//!
//! A failure is in a file of its own beside the entry, which may still be good for fewer groups than were
//! requested. The file has the inputs that the failure depends on, and a [`FailureRecord`].

use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use capscache_format::FailureRecord;

use super::Entries;
use crate::capabilities::Loaded;
use crate::error::Error;
use crate::inputs::{self, host::boot_seconds};
use crate::lookup::Lookup;
use crate::status::Failure;

impl Entries {
    /// The failure of the last probe of an emulator, if it still holds.
    pub(crate) fn failure(&self, emulator: &Path) -> Option<Failure> {
        let stored = self.store.read(&self.store.failure_path(emulator)).ok().flatten();
        let stored = stored.map(|stored| Loaded::new(stored, &self.host()));
        // A failure that could not be written is in this process only, whatever older one is on disk.
        stored.and_then(|stored| self.failure_in(&stored)).or_else(|| {
            let failures = self.failures.read().unwrap_or_else(PoisonError::into_inner);
            let kept = failures.get(emulator.as_os_str()).cloned();
            drop(failures);
            self.failure_in(&*kept?)
        })
    }

    /// The failure in a file, if it still holds.
    pub(super) fn failure_in(&self, loaded: &Loaded) -> Option<Failure> {
        let FailureRecord { at, groups, cause, reason } = loaded.entry().failure()?;
        let holds = |input| inputs::holds_for_failure(input, &self.host());
        if !loaded.inputs().iter().all(holds) || !self.has_environment_of(loaded.inputs()) {
            return None;
        }
        // After a reboot the clock is behind the record, which no longer holds.
        let age = Duration::from_secs(boot_seconds().checked_sub(at)?.try_into().ok()?);
        let left = self.settings.failure_ttl.checked_sub(age).filter(|left| !left.is_zero())?;
        let retry_in = up_to_whole_seconds(left);
        let depends_on = inputs::watched_paths(loaded.inputs());
        Some(Failure { reason, cause, groups, age, retry_in, depends_on })
    }

    /// The result of a lookup: without a valid entry, a failure that holds comes first.
    pub(crate) fn with_failure(&self, emulator: &Path, lookup: Lookup) -> Lookup {
        match lookup {
            Lookup::Hit(_) => lookup,
            other => self.failure(emulator).map_or(other, Lookup::Failed),
        }
    }

    /// Removes the failure of an emulator. Returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub(crate) fn forget_failure(&self, emulator: &Path) -> Result<bool, Error> {
        let mut kept = self.failures.write().unwrap_or_else(PoisonError::into_inner);
        let was_kept = kept.remove(emulator.as_os_str()).is_some();
        drop(kept);
        Ok(self.store.remove(&self.store.failure_path(emulator))? || was_kept)
    }

    /// Keeps a failure that could not be written in this process.
    pub(crate) fn keep_failure(&self, emulator: &Path, failure: Loaded) {
        let mut kept = self.failures.write().unwrap_or_else(PoisonError::into_inner);
        kept.insert(emulator.as_os_str().to_owned(), failure.into());
    }
}

/// Rounds a time up, so that no caller of whole seconds comes too early.
fn up_to_whole_seconds(time: Duration) -> Duration {
    let part = u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(time.as_secs().saturating_add(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_to_whole_seconds() {
        for (time, rounded) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_secs(59), 59),
            (Duration::from_millis(59_001), 60),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(up_to_whole_seconds(time), Duration::from_secs(rounded));
        }
    }
}
