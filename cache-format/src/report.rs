//! How a probe went: the one section that has to be decoded, and that no answer needs.
//!
//! This is the only module that knows bincode (`docs/adr/0002-bincode-for-the-report.md`).

use bincode::{Decode, Encode};

use crate::{Accelerator, Group};

/// More than any report takes; what a damaged length can make the decoder reserve.
const LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// How the probes went that an entry was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// One per group that a run of an emulator added to the entry, oldest first.
    pub passes: Vec<PassReport>,
    /// Commands that QEMU answered with an error, in the order in which they were asked.
    pub refused: Vec<Refusal>,
    /// Queries after which no answer came.
    pub quarantined: Vec<Quarantine>,
}

/// What one pass asked, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PassReport {
    /// Which answers it was for.
    pub source: Source,
    /// From the start of the emulator to its last answer, in microseconds, without what other groups
    /// took that the same pass filled.
    pub micros: u64,
    /// How often the emulator had to be started again.
    pub restarts: u32,
    /// Why there are no answers, if there are none.
    pub failure: Option<String>,
    /// The end of what the emulator wrote to its standard output and error: of each process that was
    /// lost on the way, and how it was, and of the last one.
    pub output_tail: String,
    /// One row per command name, in the order of first use.
    pub commands: Vec<CommandReport>,
}

/// How long QEMU took to answer one command, all its uses in a pass together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct CommandReport {
    /// The command's name.
    pub execute: String,
    /// How often it was asked.
    pub count: u32,
    /// Time between the answer before and the answer, summed, in microseconds.
    pub micros: u64,
}

/// A command that QEMU answered with an error.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// Which answers it is missing from.
    pub source: Source,
    /// The command's name.
    pub command: String,
    /// Its arguments as JSON text, if it had any.
    pub arguments: Option<String>,
    /// QMP's error class, such as `GenericError`.
    pub class: String,
    /// QMP's description.
    pub desc: String,
}

/// A query that killed QEMU, or made it deaf, twice.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Quarantine {
    /// Which answers it is missing from.
    pub source: Source,
    /// The command's name.
    pub command: String,
    /// Its arguments as JSON text, if it had any.
    pub arguments: Option<String>,
    /// What happened.
    pub reason: String,
}

/// Which part of an entry something belongs to: it is dropped when that part is asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Source {
    group: u8,
    accelerator: u8,
}

impl Source {
    /// The answers of `group` under `accelerator`.
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
    /// Keeps what belongs to the sources that `keep` says yes to.
    pub fn retain(&mut self, keep: impl Fn(Source) -> bool) {
        self.passes.retain(|pass| keep(pass.source));
        self.refused.retain(|refusal| keep(refusal.source));
        self.quarantined.retain(|quarantine| keep(quarantine.source));
    }

    /// Adds what another probe reported.
    pub fn append(&mut self, other: Report) {
        self.passes.extend(other.passes);
        self.refused.extend(other.refused);
        self.quarantined.extend(other.quarantined);
    }

    /// The report as bytes that can be read again: of one that grew beyond the limit, which takes
    /// an emulator that refuses thousands of commands, the later refusals are left out, and if that
    /// is not enough, quarantined queries and passes.
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
            // An empty report is within any limit, so this comes to an end.
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
    fn a_report_survives_being_written_and_read() {
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
    fn a_report_beyond_the_limit_loses_refusals_and_can_still_be_read() {
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
