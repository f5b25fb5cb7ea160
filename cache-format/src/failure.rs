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
        Groups::from_bits(u8::read(from)?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_decodes_as_it_was_encoded_and_one_of_unknown_groups_or_causes_does_not() {
        let (groups, cause) = (Groups::DEVICES | Groups::CPU_MODELS, FailureCause::Crashed);
        let failure = FailureRecord { at: -7, groups, cause, reason: "it was killed".to_owned() };
        let bytes = failure.encode();
        assert_eq!(FailureRecord::decode(&bytes), Some(failure));
        // The groups and the cause are the bytes behind the second.
        for (at, unknown) in [(8, 0b1000), (8, 0xff), (9, 0), (9, 99)] {
            let mut other = bytes.clone();
            other[at] = unknown;
            assert_eq!(FailureRecord::decode(&other), None, "{at}: {unknown}");
        }
    }
}
