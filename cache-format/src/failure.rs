//! A failed probe, recorded in a file without answers.

use crate::fields::{self, fields};
use crate::kind::{FailureCause, Groups};

/// A probe that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRecord {
    /// The second since boot at which it failed.
    pub at: i64,
    /// The groups that were probed for beside the core group.
    pub groups: Groups,
    /// The cause, as far as a caller acts on it.
    pub cause: FailureCause,
    /// The error with its causes, in one line.
    pub reason: String,
}

fields!(FailureRecord { at, groups, cause, reason });

impl fields::Field for Groups {
    fn write(&self, to: &mut Vec<u8>) {
        self.bits().write(to);
    }

    fn read(from: &mut &[u8]) -> Option<Groups> {
        u8::read(from).map(Groups::from_bits)
    }
}

impl fields::Field for FailureCause {
    fn write(&self, to: &mut Vec<u8>) {
        self.number().write(to);
    }

    fn read(from: &mut &[u8]) -> Option<FailureCause> {
        FailureCause::from_number(u8::read(from)?)
    }
}

impl FailureRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        fields::encode(self)
    }

    /// `None` for bytes that do not encode a failure.
    pub(crate) fn decode(bytes: &[u8]) -> Option<FailureRecord> {
        fields::decode(bytes)
    }
}
