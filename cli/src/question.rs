//! A question to an entry: in QEMU's words, or `flag:NAME` in libvirt's.

use std::fmt;

use capscache::{Bytes, Entry, Groups, Query, QueryError, Tri};
use capscache_libvirt::{Flag, UnknownFlag};

/// What `query` answers with yes, no or unknown.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    Query(Query),
    /// A flag that some answer can set.
    Flag(&'static Flag),
}

/// A question that cannot be understood.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("unknown kind of query {kind:?}; known are {}, flag", capscache::QUERY_KINDS)]
    UnknownKind { kind: String },
    #[error(transparent)]
    Flag(#[from] UnknownFlag),
}

impl std::str::FromStr for Question {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Question, QuestionError> {
        match text.split_once(':') {
            Some(("flag", name)) if !name.is_empty() => {
                Ok(Question::Flag(capscache_libvirt::find_live(name)?))
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
    fn groups(&self, entry: &Entry<Bytes>) -> Groups {
        match self {
            Question::Query(query) => entry.groups_for(query),
            Question::Flag(_) => Groups::CORE,
        }
    }

    pub(crate) fn answer(&self, entry: &Entry<Bytes>) -> Tri {
        match self {
            Question::Query(query) => entry.answer(query),
            Question::Flag(flag) => capscache_libvirt::has(entry, flag),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Query(query) => query.fmt(f),
            Question::Flag(flag) => write!(f, "flag:{}", flag.name),
        }
    }
}
