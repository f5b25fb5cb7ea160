//! A question to an entry: in QEMU's words, or `flag:NAME` in libvirt's.

use std::fmt;

use capscache::{Bytes, Capabilities, Entry, Groups, Query, QueryError, Tri};
use capscache_libvirt::{Flag, UnknownFlag};

use crate::firmware;

/// What `query` answers with yes, no or unknown.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    Query(Query),
    /// A flag that some answer can set.
    Flag(&'static Flag),
    /// Words that a firmware descriptor of this host has.
    Firmware(String),
}

/// The kinds of question, for messages: those of [`Query`], and two more.
const KINDS: &str = "machine, cpu, cpu-model, machine-deprecated, version, gic, firmware, device, property, type, \
     command, event, option, schema, flag";

/// A question that cannot be understood.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("unknown kind of query {kind:?}; known are {KINDS}")]
    UnknownKind { kind: String },
    #[error(transparent)]
    Flag(#[from] UnknownFlag),
}

impl std::str::FromStr for Question {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Question, QuestionError> {
        if text.len() > Query::MAX_BYTES {
            return Err(QueryError::TooLong { bytes: text.len() }.into());
        }
        match text.split_once(':') {
            Some(("flag", name)) if !name.is_empty() => {
                Ok(Question::Flag(capscache_libvirt::find_live(name)?))
            }
            Some(("firmware", words)) if !words.is_empty() => {
                Ok(Question::Firmware(words.to_owned()))
            }
            _ => text.parse().map(Question::Query).map_err(|error| match error {
                QueryError::UnknownKind { kind } => QuestionError::UnknownKind { kind },
                other => other.into(),
            }),
        }
    }
}

/// What questions need beyond the core group.
pub(crate) fn groups_for(questions: &[Question], entry: &Entry<Bytes>) -> Groups {
    questions.iter().fold(Groups::CORE, |all, question| all | question.groups(entry))
}

impl Question {
    /// Whether the answer is in an entry alone, and costs a few searches there.
    pub(crate) fn is_quick(&self) -> bool {
        match self {
            Question::Query(query) => !matches!(query, Query::Schema(_)),
            Question::Flag(_) => true,
            Question::Firmware(_) => false,
        }
    }

    fn groups(&self, entry: &Entry<Bytes>) -> Groups {
        match self {
            Question::Query(query) => entry.groups_for(query),
            Question::Flag(_) | Question::Firmware(_) => Groups::CORE,
        }
    }

    pub(crate) fn answer(&self, entry: &Capabilities) -> Tri {
        match self {
            Question::Firmware(words) => firmware::answer(entry, words).0,
            Question::Query(query) => entry.answer(query),
            Question::Flag(flag) => capscache_libvirt::has(entry, flag),
        }
    }
}

impl Question {
    /// Why the answer is what it is, in one line.
    pub(crate) fn explain(&self, entry: &Capabilities) -> String {
        match self {
            Question::Firmware(words) => firmware::answer(entry, words).1,
            Question::Query(query) => entry.explain(query),
            Question::Flag(flag) => match capscache_libvirt::has(entry, flag) {
                Tri::Yes => "libvirt would set the flag for what the emulator says".to_owned(),
                Tri::No => "the emulator says nothing that libvirt sets the flag for".to_owned(),
                Tri::Unknown => {
                    let missing = entry.missing();
                    let rest = if missing.is_empty() {
                        String::new()
                    } else {
                        format!(": {}", missing.join("; "))
                    };
                    format!("QEMU did not tell what libvirt sets the flag by{rest}")
                }
            },
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Query(query) => query.fmt(f),
            Question::Flag(flag) => write!(f, "flag:{}", flag.name),
            Question::Firmware(words) => write!(f, "firmware:{words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_question_is_named_where_one_is_unknown() {
        let ours = KINDS.split(", ").filter(|kind| !["firmware", "flag"].contains(kind));
        assert_eq!(
            ours.collect::<Vec<_>>(),
            capscache::QUERY_KINDS.split(", ").collect::<Vec<_>>()
        );
        assert_eq!(
            QuestionError::UnknownKind { kind: "x".into() }.to_string().matches("flag").count(),
            1
        );
    }

    #[test]
    fn no_question_of_any_kind_may_be_endless() {
        for kind in ["property", "firmware", "flag", "schema", "x"] {
            let text = format!("{kind}:{}", ",".repeat(Query::MAX_BYTES));
            let bytes = text.len();
            let error = text.parse::<Question>().unwrap_err();
            let too_long = matches!(error, QuestionError::Query(QueryError::TooLong { bytes: told }) if told == bytes);
            assert!(too_long, "{kind}: {error}");
        }
    }

    #[test]
    fn firmware_is_written_as_it_was_read() {
        let text = "firmware:uefi,secure-boot";
        assert_eq!(text.parse::<Question>().unwrap().to_string(), text);
        assert!("firmware:".parse::<Question>().is_err());
    }
}
