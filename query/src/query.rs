//! Queries: parsed, answered, explained.

use std::fmt;
use std::str::FromStr;

use capscache::format::QueryError as EntryQueryError;
use capscache::{Bytes, Entry, Groups, Query as EntryQuery, Tri};
use capscache_libvirt::{Flag, Release, UnknownRelease};

use crate::error::QueryError;
use crate::firmware;

/// A query that is answered with yes, no or unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Query {
    /// A query about an entry.
    Entry(EntryQuery),
    /// `flag:NAME`: a flag that a reply of QEMU's can make a release of libvirt set.
    Flag(&'static Flag, Release),
    /// `firmware:NAMES`: a firmware descriptor of this host, at present, for the architecture of the emulator that has all of the
    /// interfaces and features that commas separate, in the spelling of QEMU's `docs/interop/firmware.json`: `uefi`,
    /// `secure-boot`.
    Firmware(String),
}

/// Parses a query; a flag is one of the libvirt of this host, or of the newest known one if none is installed.
impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Query, QueryError> {
        Query::parse(text, Release::of_this_host)
    }
}

impl Query {
    /// The longest text that is parsed, in bytes.
    pub const MAX_BYTES: usize = EntryQuery::MAX_BYTES;

    /// Parses a query. The release of libvirt is determined only for a flag.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn parse(
        text: &str,
        release: impl FnOnce() -> Result<Release, UnknownRelease>,
    ) -> Result<Query, QueryError> {
        if text.len() > Query::MAX_BYTES {
            return Err(EntryQueryError::TooLong { bytes: text.len() }.into());
        }
        match text.split_once(':') {
            Some(("flag", name)) if !name.is_empty() => {
                let release = release()?;
                Ok(Query::Flag(capscache_libvirt::find_live(name, release)?, release))
            }
            Some(("firmware", names)) if !names.is_empty() => Ok(Query::Firmware(names.to_owned())),
            _ => Ok(Query::Entry(text.parse()?)),
        }
    }

    /// Returns whether the answer is in the entry alone, and costs a few searches there.
    pub fn is_quick(&self) -> bool {
        match self {
            Query::Entry(query) => !matches!(query, EntryQuery::Schema(_)),
            Query::Flag(..) => true,
            Query::Firmware(_) => false,
        }
    }

    /// Returns the groups without which the answer is unknown for now.
    pub fn groups(&self, entry: &Entry<Bytes>) -> Groups {
        match self {
            Query::Entry(query) => entry.groups_for(query),
            Query::Flag(..) | Query::Firmware(_) => Groups::CORE,
        }
    }

    /// Returns the answer. *Unknown* may mean that a group was not probed: see [`Query::groups`].
    pub fn answer(&self, entry: &Entry<Bytes>) -> Tri {
        match self {
            Query::Firmware(names) => firmware::answer(entry.arch(), names).0,
            Query::Entry(query) => entry.answer(query),
            Query::Flag(flag, release) => capscache_libvirt::has(entry, flag, *release),
        }
    }

    /// Returns the reason for the answer, in one line.
    ///
    /// The line quotes the emulator: display it with [`Escaped`](capscache::Escaped).
    pub fn explain(&self, entry: &Entry<Bytes>) -> String {
        match self {
            Query::Firmware(names) => firmware::answer(entry.arch(), names).1,
            Query::Entry(query) => entry.explain(query),
            Query::Flag(flag, release) => explain_flag(entry, flag, *release),
        }
    }
}

fn explain_flag(entry: &Entry<Bytes>, flag: &Flag, release: Release) -> String {
    match capscache_libvirt::has(entry, flag, release) {
        Tri::Yes => format!("libvirt {release} would set the flag for what the emulator reports"),
        Tri::No => format!("the emulator reports nothing that libvirt {release} sets the flag for"),
        Tri::Unknown => {
            let missing = entry.missing();
            let rest = match missing.is_empty() {
                true => String::new(),
                false => format!(": {}", missing.join("; ")),
            };
            format!("QEMU did not report what libvirt sets the flag by{rest}")
        }
    }
}

/// Returns the groups that the answers to queries need beyond the core group.
pub fn groups_for(queries: &[Query], entry: &Entry<Bytes>) -> Groups {
    queries.iter().fold(Groups::CORE, |all, query| all | query.groups(entry))
}

/// Formats the text of the query, without the release of libvirt.
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
    use crate::error::KINDS;
    use capscache_libvirt::UnknownFlag;

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
    fn a_flag_of_another_release_is_another_query() {
        let of = |release| Query::parse("flag:iothread", || Ok(release)).unwrap();
        assert_eq!(of(Release::V9_0), of(Release::V9_0));
        let flag = |release| Query::parse("flag:virtio-gpu", || Ok(release)).unwrap();
        assert_ne!(flag(Release::V9_0), flag(Release::V11_3));
        assert_ne!(flag(Release::V9_0), of(Release::V9_0));
        assert_ne!(parse("firmware:uefi").unwrap(), parse("type:uefi").unwrap());
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
