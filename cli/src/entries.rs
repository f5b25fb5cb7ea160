//! Entries and their states as the command prints them, from the library or from the service.

use std::borrow::Cow;

use capscache::format::Version;
use capscache::{Accelerator, Error, Group, Listed, Lookup, Stale};
use capscache_service::interface as wire;
use capscache_service::text::{unusable, without_number};
use serde_json::{Value, json};

/// State of an entry, with the reason why it is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Valid,
    /// An input changed; the path is empty for an input without one.
    Stale {
        input: Cow<'static, str>,
        path: String,
        recorded: String,
        found: String,
    },
    /// The file is damaged.
    Damaged {
        path: String,
        found: String,
    },
    /// The file cannot be read.
    Unreadable {
        path: String,
        found: String,
    },
    /// The last probe failed; age and time until the next try are in seconds.
    Failed {
        reason: String,
        age: u64,
        retry_in: u64,
    },
    Missing,
}

/// One entry of a list.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) file: String,
    pub(crate) status: Status,
    /// `None` for an entry that cannot be used.
    pub(crate) summary: Option<Summary>,
}

/// The answers of an entry that a list shows.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) emulator: String,
    pub(crate) executable: String,
    pub(crate) version: Version,
    pub(crate) package: String,
    pub(crate) arch: String,
    pub(crate) accelerators: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) size: usize,
}

impl Status {
    /// Converts the result of a lookup.
    ///
    /// # Errors
    /// Errors of the lookup other than damage.
    pub(crate) fn of(lookup: Result<Lookup, Error>) -> Result<Status, Error> {
        Ok(match lookup {
            Ok(Lookup::Hit(_)) => Status::Valid,
            Ok(Lookup::Stale { reason: why, .. }) => why.into(),
            Ok(Lookup::Failed(failure)) => Status::Failed {
                reason: failure.reason,
                age: failure.age.as_secs(),
                retry_in: failure.retry_in.as_secs(),
            },
            Ok(_) => Status::Missing,
            Err(error) if error.is_damage() => Status::of_unusable(&error),
            Err(error) => return Err(error),
        })
    }

    fn of_unusable(error: &Error) -> Status {
        let (path, found) = unusable(error);
        let path = path.to_string_lossy().into_owned();
        match error.is_damage() {
            true => Status::Damaged { path, found },
            false => Status::Unreadable { path, found },
        }
    }

    /// Returns the name of the state.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Status::Valid => "valid",
            Status::Stale { .. } => "stale",
            Status::Damaged { .. } => "damaged",
            Status::Unreadable { .. } => "unreadable",
            Status::Failed { .. } => "failed",
            Status::Missing => "missing",
        }
    }

    /// Returns the reason as JSON, null where there is none.
    pub(crate) fn reason(&self) -> Value {
        match self {
            Status::Valid | Status::Missing => Value::Null,
            Status::Stale { input, path, recorded, found } => {
                json!({"input": input, "path": path, "recorded": recorded, "found": found})
            }
            Status::Damaged { path, found } | Status::Unreadable { path, found } => {
                json!({"input": "entry", "path": path, "recorded": null, "found": found})
            }
            Status::Failed { reason, age, retry_in } => {
                json!({"reason": reason, "age": age, "retry-in": retry_in})
            }
        }
    }
}

impl From<Stale> for Status {
    fn from(why: Stale) -> Status {
        Status::Stale {
            input: why.input.name().into(),
            path: why.path.to_string_lossy().into_owned(),
            recorded: why.recorded,
            found: without_number(&why.found).to_owned(),
        }
    }
}

impl From<wire::Status> for Status {
    fn from(wire::Status { state, reason }: wire::Status) -> Status {
        let why = reason.unwrap_or_default();
        let (path, found) = (why.path.unwrap_or_default(), why.found);
        match state {
            wire::State::Valid => Status::Valid,
            wire::State::Stale => Status::Stale {
                input: why.input.unwrap_or_default().into(),
                path,
                recorded: why.recorded.unwrap_or_default(),
                found,
            },
            wire::State::Damaged => Status::Damaged { path, found },
            wire::State::Unreadable => Status::Unreadable { path, found },
            wire::State::Failed => Status::Failed {
                reason: found,
                age: why.age.unwrap_or_default(),
                retry_in: why.retry_in.unwrap_or_default(),
            },
            wire::State::Missing => Status::Missing,
        }
    }
}

impl From<Result<Listed, Error>> for Entry {
    fn from(listed: Result<Listed, Error>) -> Entry {
        let Listed { file, capabilities: caps, stale, .. } = match listed {
            Ok(listed) => listed,
            Err(error) => {
                let file = unusable(&error).0.to_string_lossy().into_owned();
                return Entry { file, status: Status::of_unusable(&error), summary: None };
            }
        };
        let summary = Summary {
            emulator: caps.emulator().to_string_lossy().into_owned(),
            executable: caps.executable().to_string_lossy().into_owned(),
            version: caps.version(),
            package: caps.package().to_owned(),
            arch: caps.arch().to_owned(),
            accelerators: caps.accelerators().map(Accelerator::name).map(str::to_owned).collect(),
            groups: caps.groups().iter().map(Group::name).map(str::to_owned).collect(),
            size: caps.bytes().len(),
        };
        Entry {
            file: file.to_string_lossy().into_owned(),
            status: stale.map_or(Status::Valid, Status::from),
            summary: Some(summary),
        }
    }
}

impl From<wire::Entry> for Entry {
    fn from(entry: wire::Entry) -> Entry {
        let wire::Version { major, minor, micro } = entry.version.unwrap_or_default();
        let summary = entry.emulator.map(|emulator| Summary {
            emulator,
            executable: entry.executable.unwrap_or_default(),
            version: Version { major, minor, micro },
            package: entry.package.unwrap_or_default(),
            arch: entry.arch.unwrap_or_default(),
            accelerators: entry.accelerators,
            groups: entry.groups,
            size: entry.size.unwrap_or_default(),
        });
        let status = wire::Status { state: entry.state, reason: entry.reason };
        Entry { file: entry.file, status: status.into(), summary }
    }
}
