//! The results of lookups.

use std::path::PathBuf;

use crate::capabilities::Capabilities;
use crate::error::Error;
use crate::status::{Failure, Stale, Status};

/// The result of a lookup, which never probes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// A valid entry.
    Hit(Capabilities),
    /// An entry that no longer answers for its emulator.
    #[non_exhaustive]
    Stale {
        /// The input that differs.
        reason: Stale,
        /// The old answers, for callers that go on with them while a probe runs.
        entry: Capabilities,
    },
    /// No valid entry, and the last probe failed: until the failure expires, `get` returns it at once.
    Failed(Failure),
    /// No entry.
    Missing,
}

impl From<Lookup> for Status {
    fn from(lookup: Lookup) -> Status {
        match lookup {
            Lookup::Hit(_) => Status::Valid,
            Lookup::Stale { reason, .. } => reason.into(),
            Lookup::Failed(failure) => failure.into(),
            Lookup::Missing => Status::Missing,
        }
    }
}

impl Status {
    /// Returns the state that a lookup found. A damaged entry is a state, not an error.
    ///
    /// # Errors
    /// Any other error of the lookup.
    pub fn of(lookup: Result<Lookup, Error>) -> Result<Status, Error> {
        match lookup {
            Ok(lookup) => Ok(lookup.into()),
            Err(error) if error.is_damage() => Ok(error.status()),
            Err(error) => Err(error),
        }
    }
}

/// The checks that a lookup makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validation {
    /// A few system calls; values are compared only where one of them shows a change.
    #[default]
    Fast,
    /// The values of all inputs: every module file, every shared object that the emulator had mapped, and
    /// microcode that was loaded since the cache was opened.
    Thorough,
    /// The checks of `Thorough`; in addition a wrapper is started until its emulator greets, and the file that
    /// runs then is compared: a decision that a wrapper makes when it runs shows in no file.
    #[cfg(feature = "probe")]
    Start,
}

/// One entry of the cache, valid or not.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListedEntry {
    /// The entry's file.
    pub file: PathBuf,
    /// Its answers.
    pub capabilities: Capabilities,
    /// The reason why it is stale; `None` if it is valid.
    pub stale: Option<Stale>,
}

impl ListedEntry {
    /// The state of the entry: valid or stale.
    pub fn status(&self) -> Status {
        self.stale.clone().map_or(Status::Valid, Status::from)
    }
}
