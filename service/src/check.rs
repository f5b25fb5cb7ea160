//! The check before an emulator is warmed.

use std::path::Path;

use capscache::{Cache, Capabilities, Error, Groups, Lookup, Stale, Validation};

/// Result of a thorough check before a probe.
#[derive(Debug)]
pub enum Checked {
    /// The entry is valid and has all groups.
    Cached(Capabilities),
    /// The entry is stale.
    Stale(Stale),
    /// The entry cannot be used.
    Unusable(Error),
    /// There is no entry, or it lacks a group.
    Lacking,
}

/// Checks an entry thoroughly, and drops what [`Cache::get_with`] would still trust: an entry that only this
/// check finds stale, incomplete answers, a remembered failure.
///
/// # Errors
/// Those of [`Cache::invalidate`] and [`Cache::forget_failure`].
pub fn check(cache: &Cache, emulator: &Path, groups: Groups) -> Result<Checked, Error> {
    match cache.lookup_with(emulator, Validation::Start) {
        // This process may have what another prober was short of.
        Ok(Lookup::Hit(hit)) if hit.incomplete().is_some() => drop(cache.invalidate(emulator)?),
        Ok(Lookup::Hit(hit)) if hit.has(groups) => return Ok(Checked::Cached(hit)),
        Ok(Lookup::Stale { reason: why, .. }) => {
            if matches!(cache.lookup(emulator), Ok(Lookup::Hit(_))) {
                cache.invalidate(emulator)?;
            }
            return Ok(Checked::Stale(why));
        }
        Ok(Lookup::Failed(_)) => drop(cache.forget_failure(emulator)?),
        Ok(_) => {}
        Err(error) => return Ok(Checked::Unusable(error)),
    }
    Ok(Checked::Lacking)
}
