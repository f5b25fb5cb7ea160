//! The report on the probes: the only section that is decoded, and that no getter needs.
//!
//! This is the only module that uses bincode (`docs/adr/0002-bincode-for-the-report.md`).

use bincode::{Decode, Encode};

use crate::kind::{Accelerator, Group};

/// The largest report; bounds the memory that a damaged length can make the decoder reserve.
const LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// The report on the probes of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// One per group that a run of an emulator added to the entry, oldest first.
    pub passes: Vec<PassReport>,
    /// Commands that QEMU answered with an error, in the order of the queries.
    pub refused: Vec<Refusal>,
    /// Queries after which no reply came.
    pub quarantined: Vec<Quarantine>,
}

/// The queries of one pass, and their duration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PassReport {
    /// The part of the entry that it filled.
    pub source: Source,
    /// Time from the start of the emulator to its last reply, in microseconds, without the time of other
    /// groups that the same pass filled.
    pub micros: u64,
    /// Number of times that the emulator was restarted.
    pub restarts: u32,
    /// The reason why there are no facts, if there are none.
    pub failure: Option<String>,
    /// The end of the emulator's standard output and error: of each process that was lost, with the
    /// reason, and of the last one.
    pub output_tail: String,
    /// One row per command name, in the order of first use.
    pub commands: Vec<CommandReport>,
}

/// The time of QEMU's replies to one command, summed over a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct CommandReport {
    /// The command's name.
    pub execute: String,
    /// Number of queries.
    pub count: u32,
    /// Time from the previous reply to this one, summed, in microseconds.
    pub micros: u64,
}

/// A command that QEMU answered with an error.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// The part of the entry that lacks the reply.
    pub source: Source,
    /// The command's name.
    pub command: String,
    /// The arguments as JSON text, if there were any.
    pub arguments: Option<String>,
    /// QMP's error class, such as `GenericError`.
    pub class: String,
    /// QMP's description.
    pub desc: String,
}

/// A query that crashed or hung QEMU twice.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Quarantine {
    /// The part of the entry that lacks the reply.
    pub source: Source,
    /// The command's name.
    pub command: String,
    /// The arguments as JSON text, if there were any.
    pub arguments: Option<String>,
    /// The event that ended or stopped the emulator.
    pub reason: String,
}

/// The part of an entry that a report belongs to: the report is dropped when that part is probed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Source {
    group: u8,
    accelerator: u8,
}

impl Source {
    /// Returns the part for `group` under `accelerator`.
    pub fn new(group: Group, accelerator: Accelerator) -> Source {
        Source { group: group.number(), accelerator: accelerator.number() }
    }

    /// The group; `None` in a damaged report.
    pub fn group(self) -> Option<Group> {
        Group::from_number(self.group)
    }

    /// The accelerator; `None` in a damaged report.
    pub fn accelerator(self) -> Option<Accelerator> {
        Accelerator::from_number(self.accelerator)
    }
}

impl Report {
    /// Keeps the reports of the sources for which `keep` returns true.
    pub fn retain(&mut self, keep: impl Fn(Source) -> bool) {
        self.passes.retain(|pass| keep(pass.source));
        self.refused.retain(|refusal| keep(refusal.source));
        self.quarantined.retain(|quarantine| keep(quarantine.source));
    }

    /// Adds the report on another probe.
    pub fn append(&mut self, other: Report) {
        self.passes.extend(other.passes);
        self.refused.extend(other.refused);
        self.quarantined.extend(other.quarantined);
    }

    /// Encodes the report as bytes that can be decoded again. If it exceeds the limit, which takes an
    /// emulator that refuses thousands of commands, the later refusals are left out, and if that is
    /// not enough, quarantined queries and passes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let bytes = bincode::encode_to_vec(self, config())
            .expect("encoding strings and integers into memory cannot fail");
        if Report::from_bytes(&bytes).is_some() {
            return bytes;
        }
        let mut shorter = self.clone();
        if !self.refused.is_empty() {
            shorter.refused.truncate(self.refused.len() / 2);
        } else if !self.quarantined.is_empty() {
            shorter.quarantined.truncate(self.quarantined.len() / 2);
        } else {
            // An empty report is within the limit, so the recursion ends.
            shorter.passes.truncate(self.passes.len() / 2);
        }
        shorter.to_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Report> {
        bincode::decode_from_slice(bytes, config()).ok().map(|(report, _)| report)
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<LIMIT_BYTES>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_decoded_as_it_was_encoded() {
        let source = Source::new(Group::Devices, Accelerator::Tcg);
        let report = Report {
            passes: vec![PassReport { source, micros: 7, restarts: 1, ..PassReport::default() }],
            refused: vec![],
            quarantined: vec![Quarantine {
                source,
                command: "qom-list-properties".into(),
                arguments: Some(r#"{"typename":"colo-compare"}"#.into()),
                reason: "killed by signal 6".into(),
            }],
        };
        assert_eq!(Report::from_bytes(&report.to_bytes()), Some(report));
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes Miri more than six minutes")]
    fn a_report_beyond_the_limit_loses_refusals_and_can_still_be_decoded() {
        let refusal = Refusal {
            source: Source::default(),
            command: "device-list-properties".into(),
            arguments: None,
            class: "GenericError".into(),
            desc: "no ".repeat(1000),
        };
        let report = Report { refused: vec![refusal; 3000], ..Report::default() };
        let read = Report::from_bytes(&report.to_bytes()).expect("within the limit");
        assert_eq!(read.refused.len(), 750);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_without_reserving_it() {
        // A sequence length of u64::MAX: marker 253, then eight bytes.
        let hostile = [253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Report::from_bytes(&hostile), None);
    }
}
