//! Yes, no, unknown.

use std::fmt;

use crate::kind::{Accelerator, Group};

/// An answer that may not be known: what an emulator was never able to tell is never *no*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tri {
    /// It can.
    Yes,
    /// It cannot.
    No,
    /// It did not say.
    Unknown,
}

impl Tri {
    /// Whether the answer is known to be yes.
    pub fn is_yes(self) -> bool {
        self == Tri::Yes
    }

    /// Whether the answer is known to be no.
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
    fn from(answer: &Result<T, Unanswered>) -> Tri {
        match answer {
            Ok(_) => Tri::Yes,
            Err(Unanswered::Absent { .. }) => Tri::No,
            Err(_) => Tri::Unknown,
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

/// Why a getter has nothing to return.
///
/// Only [`Absent`](Unanswered::Absent) is a *no*; all others are *unknown*.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// The emulator has no such thing.
    #[error("the emulator has no {what} {name:?}")]
    Absent {
        /// Kind of thing: `machine`, `device`, …
        what: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// The emulator may have such a thing in a module that could not be opened when it was probed.
    #[error("whether the emulator has {what} {name:?} is unknown: {reason}")]
    Incomplete {
        /// Kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// What the prober was short of.
        reason: String,
    },
    /// The group that would tell was not filled: ask for the entry with that group.
    #[error("{what} {name:?} was not probed: get the entry with the group {group}")]
    NotProbed {
        /// Kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// The group that has the answer.
        group: Group,
    },
    /// The emulator was never asked.
    #[error("the emulator was never asked about {what} {name:?}")]
    NeverAsked {
        /// Kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// QEMU answered the question with an error, which stands in the report.
    #[error("QEMU refused to tell about {what} {name:?}: see `refused` in the export")]
    Refused {
        /// Kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// The emulator should have run under the accelerator, and did not; why stands in the report.
    #[error("the emulator did not run under {accelerator}: its report says why")]
    DidNotRun {
        /// The accelerator.
        accelerator: Accelerator,
    },
    /// The question kills the emulator; how stands in the report.
    #[error("asking about {what} {name:?} ends the emulator: see `quarantined` in the export")]
    Quarantined {
        /// Kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
    },
}
