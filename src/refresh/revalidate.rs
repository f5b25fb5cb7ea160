//! The check before an emulator is probed whatever its entry answers.

use std::path::Path;

use capscache_format::Groups;

use super::Refresher;
use crate::capabilities::Capabilities;
use crate::error::Error;
use crate::lookup::Lookup;
use crate::status::Stale;

/// The result of [`Cache::revalidate`](crate::Cache::revalidate).
#[derive(Debug)]
#[non_exhaustive]
pub enum Revalidated {
    /// The entry is valid and has all groups.
    Valid(Capabilities),
    /// The entry is stale.
    Stale(Stale),
    /// The entry cannot be used.
    Unusable(Error),
    /// There is no entry, or it lacks a group.
    Missing,
}

impl Refresher {
    /// See [`Cache::revalidate`](crate::Cache::revalidate).
    pub(crate) fn revalidate(&self, emulator: &Path, groups: Groups) -> Result<Revalidated, Error> {
        let examined = match self.examine_by_starting(emulator) {
            Ok(examined) => self.entries.with_failure(emulator, examined),
            Err(error) => return Ok(Revalidated::Unusable(error)),
        };
        match examined {
            // This process may have what another prober was short of.
            Lookup::Hit(hit) if hit.incomplete().is_some() => {
                self.entries.invalidate(emulator)?;
            }
            Lookup::Hit(hit) if hit.has(groups) => return Ok(Revalidated::Valid(hit)),
            Lookup::Stale { reason, .. } => {
                if matches!(self.entries.examine(emulator, false), Ok(Lookup::Hit(_))) {
                    self.entries.invalidate(emulator)?;
                }
                return Ok(Revalidated::Stale(reason));
            }
            Lookup::Failed(_) => {
                self.entries.forget_failure(emulator)?;
            }
            Lookup::Hit(_) | Lookup::Missing => {}
        }
        Ok(Revalidated::Missing)
    }
}
