//! The query language of the command and the service: QEMU's names, and `flag:NAME` for libvirt's flags.

use std::fmt;
use std::str::FromStr;

use capscache::format::QueryError as EntryQueryError;
use capscache::{Bytes, Capabilities, Entry, Groups, Query as EntryQuery, Tri};
use capscache_libvirt::{Flag, UnknownFlag};

use crate::firmware;

/// A query that is answered with yes, no or unknown.
#[derive(Clone, Debug)]
pub enum Query {
    /// A query about an entry.
    Entry(EntryQuery),
    /// A flag of libvirt's that a reply of QEMU's can set.
    Flag(&'static Flag),
    /// Interfaces and features that a firmware descriptor of this host names.
    Firmware(String),
}

/// The kinds of query, for messages: those of [`capscache::Query`], and two more.
const KINDS: &str = "machine, cpu, cpu-model, machine-deprecated, version, gic, firmware, device, property, type, \
     command, event, option, schema, flag";

/// The reason why a query cannot be parsed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It is a malformed query about an entry.
    #[error(transparent)]
    Entry(#[from] EntryQueryError),
    /// It lacks `KIND:`, or a name after it.
    #[error("cannot parse the query {query:?}: it is not KIND:NAME; kinds are {KINDS}")]
    Shape {
        /// The query.
        query: String,
    },
    /// Its kind is unknown.
    #[error("cannot parse the query {query:?}: unknown kind; kinds are {KINDS}")]
    UnknownKind {
        /// The query.
        query: String,
    },
    /// libvirt has no such flag.
    #[error(transparent)]
    Flag(#[from] UnknownFlag),
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Query, QueryError> {
        if text.len() > EntryQuery::MAX_BYTES {
            return Err(EntryQueryError::TooLong { bytes: text.len() }.into());
        }
        match text.split_once(':') {
            Some(("flag", name)) if !name.is_empty() => {
                Ok(Query::Flag(capscache_libvirt::find_live(name)?))
            }
            Some(("firmware", names)) if !names.is_empty() => Ok(Query::Firmware(names.to_owned())),
            _ => text.parse().map(Query::Entry).map_err(|error| match error {
                EntryQueryError::UnknownKind { query } => QueryError::UnknownKind { query },
                EntryQueryError::Shape { query } => QueryError::Shape { query },
                other => other.into(),
            }),
        }
    }
}

/// Returns the groups that the answers to queries need beyond the core group.
pub fn groups_for(queries: &[Query], entry: &Entry<Bytes>) -> Groups {
    queries.iter().fold(Groups::CORE, |all, query| all | query.groups(entry))
}

impl Query {
    /// Returns whether the answer is in the entry alone, and costs a few searches there.
    pub(crate) fn is_quick(&self) -> bool {
        match self {
            Query::Entry(query) => !matches!(query, EntryQuery::Schema(_)),
            Query::Flag(_) => true,
            Query::Firmware(_) => false,
        }
    }

    fn groups(&self, entry: &Entry<Bytes>) -> Groups {
        match self {
            Query::Entry(query) => entry.groups_for(query),
            Query::Flag(_) | Query::Firmware(_) => Groups::CORE,
        }
    }

    /// Returns the answer.
    pub fn answer(&self, entry: &Capabilities) -> Tri {
        match self {
            Query::Firmware(names) => firmware::answer(entry, names).0,
            Query::Entry(query) => entry.answer(query),
            Query::Flag(flag) => capscache_libvirt::has(entry, flag),
        }
    }

    /// Returns the reason for the answer, in one line.
    pub fn explain(&self, entry: &Capabilities) -> String {
        match self {
            Query::Firmware(names) => firmware::answer(entry, names).1,
            Query::Entry(query) => entry.explain(query),
            Query::Flag(flag) => match capscache_libvirt::has(entry, flag) {
                Tri::Yes => "libvirt would set the flag for what the emulator reports".to_owned(),
                Tri::No => "the emulator reports nothing that libvirt sets the flag for".to_owned(),
                Tri::Unknown => {
                    let missing = entry.missing();
                    let rest = if missing.is_empty() {
                        String::new()
                    } else {
                        format!(": {}", missing.join("; "))
                    };
                    format!("QEMU did not report what libvirt sets the flag by{rest}")
                }
            },
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Query::Entry(query) => query.fmt(f),
            Query::Flag(flag) => write!(f, "flag:{}", flag.name),
            Query::Firmware(names) => write!(f, "firmware:{names}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_query_is_listed_where_one_is_unknown() {
        let ours = KINDS.split(", ").filter(|kind| !["firmware", "flag"].contains(kind));
        assert_eq!(
            ours.collect::<Vec<_>>(),
            capscache::format::QUERY_KINDS.split(", ").collect::<Vec<_>>()
        );
        for text in ["x:y", "x", "flag:", "firmware:"] {
            let error = text.parse::<Query>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("; kinds are {KINDS}")), "{error}");
        }
    }

    #[test]
    fn no_query_of_any_kind_may_be_endless() {
        for kind in ["property", "firmware", "flag", "schema", "x"] {
            let text = format!("{kind}:{}", ",".repeat(EntryQuery::MAX_BYTES));
            let bytes = text.len();
            let error = text.parse::<Query>().unwrap_err();
            let too_long = matches!(error, QueryError::Entry(EntryQueryError::TooLong { bytes: counted }) if counted == bytes);
            assert!(too_long, "{kind}: {error}");
        }
    }

    #[test]
    fn firmware_is_written_as_it_was_read() {
        let text = "firmware:uefi,secure-boot";
        assert_eq!(text.parse::<Query>().unwrap().to_string(), text);
        assert!("firmware:".parse::<Query>().is_err());
    }
}
