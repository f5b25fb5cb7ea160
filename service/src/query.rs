//! The query language of the command and the service: QEMU's names, and `flag:NAME` for libvirt's flags.

use std::fmt;

use capscache::format::QueryError as EntryQueryError;
use capscache::{Bytes, Capabilities, Entry, Groups, Query as EntryQuery, Tri};
use capscache_libvirt::{Flag, Release, UnknownFlag, UnknownRelease};

use crate::firmware;

/// A query that is answered with yes, no or unknown.
#[derive(Clone, Debug)]
pub enum Query {
    /// A query about an entry.
    Entry(EntryQuery),
    /// A flag that a reply of QEMU's can make a release of libvirt set.
    Flag(&'static Flag, Release),
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
    /// The release of libvirt is not known.
    #[error(transparent)]
    Release(#[from] UnknownRelease),
}

impl Query {
    /// Parses a query. The release of libvirt is determined only for a flag.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn parse(
        text: &str,
        release: impl FnOnce() -> Result<Release, UnknownRelease>,
    ) -> Result<Query, QueryError> {
        if text.len() > EntryQuery::MAX_BYTES {
            return Err(EntryQueryError::TooLong { bytes: text.len() }.into());
        }
        match text.split_once(':') {
            Some(("flag", name)) if !name.is_empty() => {
                let release = release()?;
                Ok(Query::Flag(capscache_libvirt::find_live(name, release)?, release))
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
            Query::Flag(..) => true,
            Query::Firmware(_) => false,
        }
    }

    fn groups(&self, entry: &Entry<Bytes>) -> Groups {
        match self {
            Query::Entry(query) => entry.groups_for(query),
            Query::Flag(..) | Query::Firmware(_) => Groups::CORE,
        }
    }

    /// Returns the answer.
    pub fn answer(&self, entry: &Capabilities) -> Tri {
        match self {
            Query::Firmware(names) => firmware::answer(entry, names).0,
            Query::Entry(query) => entry.answer(query),
            Query::Flag(flag, release) => capscache_libvirt::has(entry, flag, *release),
        }
    }

    /// Returns the reason for the answer, in one line.
    pub fn explain(&self, entry: &Capabilities) -> String {
        match self {
            Query::Firmware(names) => firmware::answer(entry, names).1,
            Query::Entry(query) => entry.explain(query),
            Query::Flag(flag, release) => match capscache_libvirt::has(entry, flag, *release) {
                Tri::Yes => {
                    format!("libvirt {release} would set the flag for what the emulator reports")
                }
                Tri::No => {
                    format!("the emulator reports nothing that libvirt {release} sets the flag for")
                }
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
            Query::Flag(flag, _) => write!(f, "flag:{}", flag.name),
            Query::Firmware(names) => write!(f, "firmware:{names}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, QueryError> {
        Query::parse(text, || Ok(Release::V11_3))
    }

    #[test]
    fn a_flag_is_one_of_the_release_and_others_need_none() {
        let unknown = || Release::parse("8.0");
        assert!(Query::parse("machine:q35", unknown).is_ok());
        let error = Query::parse("flag:VGA", unknown).unwrap_err().to_string();
        assert!(error.contains("known are 9.0, 10.0, 11.3, 12.8"), "{error}");
        assert!(Query::parse("flag:iothread", || Ok(Release::V9_0)).is_ok());
        let retired = parse("flag:iothread").unwrap_err();
        assert!(matches!(retired, QueryError::Flag(UnknownFlag::Retired { .. })), "{retired}");
        let later = parse("flag:nvme").unwrap_err().to_string();
        assert!(later.contains("libvirt 11.3 does not have it, and 12.8 does"), "{later}");
    }

    #[test]
    fn every_kind_of_query_is_listed_where_one_is_unknown() {
        let ours = KINDS.split(", ").filter(|kind| !["firmware", "flag"].contains(kind));
        assert_eq!(
            ours.collect::<Vec<_>>(),
            capscache::format::QUERY_KINDS.split(", ").collect::<Vec<_>>()
        );
        for text in ["x:y", "x", "flag:", "firmware:"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.ends_with(&format!("; kinds are {KINDS}")), "{error}");
        }
    }

    #[test]
    fn no_query_of_any_kind_may_be_endless() {
        for kind in ["property", "firmware", "flag", "schema", "x"] {
            let text = format!("{kind}:{}", ",".repeat(EntryQuery::MAX_BYTES));
            let bytes = text.len();
            let error = parse(&text).unwrap_err();
            let too_long = matches!(error, QueryError::Entry(EntryQueryError::TooLong { bytes: counted }) if counted == bytes);
            assert!(too_long, "{kind}: {error}");
        }
    }

    #[test]
    fn firmware_is_written_as_it_was_read() {
        let text = "firmware:uefi,secure-boot";
        assert_eq!(parse(text).unwrap().to_string(), text);
        assert!(parse("firmware:").is_err());
    }
}
