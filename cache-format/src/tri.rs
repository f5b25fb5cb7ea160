//! Three-valued results, and the reasons for missing ones.

use std::fmt;

use crate::kind::{Accelerator, Group};

/// A three-valued result: what an emulator did not report is *unknown*, never *no*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tri {
    /// Reported by the emulator as present or supported.
    Yes,
    /// Reported by the emulator as absent or not supported.
    No,
    /// Not reported.
    Unknown,
}

impl Tri {
    /// Returns true for *yes*.
    pub fn is_yes(self) -> bool {
        self == Tri::Yes
    }

    /// Returns true for *no*.
    pub fn is_no(self) -> bool {
        self == Tri::No
    }
}

impl From<bool> for Tri {
    fn from(value: bool) -> Tri {
        if value { Tri::Yes } else { Tri::No }
    }
}

impl<T> From<&Result<T, Unanswered>> for Tri {
    fn from(result: &Result<T, Unanswered>) -> Tri {
        match result {
            Ok(_) => Tri::Yes,
            Err(reason) => reason.tri(),
        }
    }
}

impl fmt::Display for Tri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Tri::Yes => "yes",
            Tri::No => "no",
            Tri::Unknown => "unknown",
        })
    }
}

/// The reason why a getter has no value.
///
/// Only [`Absent`](Unanswered::Absent) means *no*; all others mean *unknown*.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// The emulator does not have it.
    #[error("the emulator has no {what} {name:?}")]
    Absent {
        /// The kind of object: `machine`, `device`, …
        what: &'static str,
        /// The requested name.
        name: String,
    },
    /// The emulator may have it in a module that could not be opened when it was probed.
    #[error("whether the emulator has {what} {name:?} is unknown: {reason}")]
    Incomplete {
        /// The kind of object.
        what: &'static str,
        /// The requested name.
        name: String,
        /// The resource or permission that the prober lacked.
        reason: String,
    },
    /// The group that holds it was not probed; get the entry with that group.
    #[error("{what} {name:?} was not probed; get the entry with the group {group}")]
    NotProbed {
        /// The kind of object.
        what: &'static str,
        /// The requested name.
        name: String,
        /// The group that holds it.
        group: Group,
    },
    /// The emulator was not queried for it.
    #[error("the emulator was not queried for {what} {name:?}")]
    NotQueried {
        /// The kind of object.
        what: &'static str,
        /// The requested name.
        name: String,
    },
    /// QEMU answered the query with an error, which is in the report.
    #[error("QEMU refused the query for {what} {name:?}; see `refused` in the export")]
    Refused {
        /// The kind of object.
        what: &'static str,
        /// The requested name.
        name: String,
    },
    /// The emulator should have run under the accelerator and did not; the reason is in the report.
    #[error("the emulator did not run under {accelerator}; see its report")]
    DidNotRun {
        /// The accelerator.
        accelerator: Accelerator,
    },
    /// The query crashes or hangs the emulator; the report has the details.
    #[error("the query for {what} {name:?} ends the emulator; see `quarantined` in the export")]
    Quarantined {
        /// The kind of object.
        what: &'static str,
        /// The requested name.
        name: String,
    },
}

impl Unanswered {
    pub(crate) fn absent(what: &'static str, name: &str) -> Unanswered {
        Unanswered::Absent { what, name: name.to_owned() }
    }

    pub(crate) fn not_queried(what: &'static str, name: &str) -> Unanswered {
        Unanswered::NotQueried { what, name: name.to_owned() }
    }

    pub(crate) fn refused(what: &'static str, name: &str) -> Unanswered {
        Unanswered::Refused { what, name: name.to_owned() }
    }

    pub(crate) fn quarantined(what: &'static str, name: &str) -> Unanswered {
        Unanswered::Quarantined { what, name: name.to_owned() }
    }

    /// Returns *no* if it is known to be absent.
    pub(crate) fn tri(&self) -> Tri {
        if matches!(self, Unanswered::Absent { .. }) { Tri::No } else { Tri::Unknown }
    }
}
