//! Errors of queries that cannot be parsed.

use capscache::format::QueryError as EntryQueryError;
use capscache_libvirt::{UnknownFlag, UnknownRelease};

/// The kinds of query, for messages: those of [`capscache::Query`], and two more.
pub const KINDS: &str = "machine, cpu, cpu-model, machine-deprecated, version, gic, firmware, device, property, type, \
     command, event, option, schema, flag";

/// The reason why a query cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It is a malformed query about an entry.
    #[error(transparent)]
    Entry(EntryQueryError),
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
    /// The release of libvirt is not known.
    #[error(transparent)]
    Release(#[from] UnknownRelease),
}

impl From<EntryQueryError> for QueryError {
    fn from(error: EntryQueryError) -> QueryError {
        match error {
            EntryQueryError::UnknownKind { query } => QueryError::UnknownKind { query },
            EntryQueryError::Shape { query } => QueryError::Shape { query },
            other => QueryError::Entry(other),
        }
    }
}
