//! What goes over the service's socket: the types and errors of `io.capscache.Cache`.
//!
//! Their documentation is that of the interface: it is part of what introspection returns, and of
//! `dist/varlink/io.capscache.Cache.varlink`, which a test compares with that.

use std::fmt;

use serde::{Deserialize, Serialize};
use zlink::introspect::{self, CustomType, Type};

/// The name of the interface.
pub(crate) const NAME: &str = "io.capscache.Cache";

/// Where the service listens, if it is not told otherwise.
pub(crate) const SOCKET: &str = "/run/capscache/io.capscache.Cache";

/// What the cache has about an emulator: a valid entry; a stale one, which answers for it no more;
/// a damaged one; one that cannot be read; a probe that failed not long ago; nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "lowercase")]
#[zlink(rename_all = "lowercase")]
pub(crate) enum State {
    Valid,
    Stale,
    Damaged,
    Unreadable,
    Failed,
    Missing,
}

impl State {
    /// As it is spelt everywhere.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Valid => "valid",
            State::Stale => "stale",
            State::Damaged => "damaged",
            State::Unreadable => "unreadable",
            State::Failed => "failed",
            State::Missing => "missing",
        }
    }
}

/// An answer; what the emulator was not able to tell is unknown, never no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "lowercase")]
#[zlink(rename_all = "lowercase")]
pub(crate) enum Answer {
    Yes,
    No,
    Unknown,
}

/// The version of an emulator, as query-version tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub(crate) struct Version {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) micro: u64,
}

/// Why an entry is not valid: which input differs, and where; what was recorded, and what is there.
/// For a failed probe only why it failed, how many seconds ago, and in how many seconds it is tried
/// again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub(crate) struct Reason {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recorded: Option<String>,
    pub(crate) found: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) age: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_in: Option<u64>,
}

/// One entry of the cache, with its size in bytes; of one that cannot be read, its file, its state and
/// why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub(crate) struct Entry {
    pub(crate) file: String,
    pub(crate) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) emulator: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) executable: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) package: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arch: Option<String>,
    pub(crate) accelerators: Vec<String>,
    pub(crate) groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<usize>,
}

/// What became of an emulator that was to be warmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "lowercase")]
#[zlink(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Cached,
    Probed,
    Failed,
}

/// An emulator that was warmed, and in how many milliseconds; why it failed if it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub(crate) struct Warmed {
    pub(crate) emulator: String,
    pub(crate) outcome: Outcome,
    pub(crate) milliseconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// What can happen: an emulator appeared in one of the search directories; an entry was dropped;
/// there are fresh answers; a probe failed; something about the watching itself, such as that events
/// were lost and everything is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "lowercase")]
#[zlink(rename_all = "lowercase")]
pub(crate) enum Happening {
    Appeared,
    Dropped,
    Refreshed,
    Failed,
    Notice,
}

/// Something that happened. Refreshed tells whether an emulator was probed for it, and in how many
/// milliseconds; dropped, failed and notice tell the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub(crate) struct Event {
    pub(crate) kind: Happening,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) emulator: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probed: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) milliseconds: Option<u64>,
}

/// What `GetInfo` returns.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Info {
    pub(crate) version: String,
    pub(crate) format: u32,
    pub(crate) root: String,
}

/// What `Get` returns.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Got {
    pub(crate) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entry: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arch: Option<String>,
    pub(crate) accelerators: Vec<String>,
}

/// What `Query` returns.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Answers {
    pub(crate) answers: Vec<Answer>,
}

/// What `List` returns.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Entries {
    pub(crate) entries: Vec<Entry>,
}

/// What `Status` returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct Status {
    pub(crate) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Reason>,
}

/// What `Warm` returns.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Progress {
    pub(crate) warmed: Vec<Warmed>,
    pub(crate) left: u32,
}

/// What `Invalidate` returns.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Dropped {
    pub(crate) dropped: Vec<String>,
}

/// What `Monitor` returns.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Events {
    pub(crate) events: Vec<Event>,
    pub(crate) missed: u64,
}

/// Why a call was refused, or could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, zlink::ReplyError, introspect::ReplyError)]
#[zlink(interface = "io.capscache.Cache")]
pub(crate) enum Error {
    /// The path is not the absolute path of anything, or one that has several spellings: it is relative,
    /// has '..', or is too long.
    BadPath { emulator: String, reason: String },
    /// There is nothing at the path, or it cannot be looked at.
    NoSuchEmulator { emulator: String, reason: String },
    /// What is at the path cannot be run, or does not speak as an emulator does.
    NotAnEmulator { emulator: String, reason: String },
    /// The emulator could not be asked; it is tried again after a while, or when it changes.
    ProbeFailed { emulator: String, reason: String },
    /// The caller may not have this done.
    NotPermitted { reason: String },
    /// A query cannot be understood.
    BadQuery { query: String, reason: String },
    /// There is no such format to export to.
    UnknownFormat { format: String, known: Vec<String> },
    /// There is no such group of answers.
    UnknownGroup { group: String, known: Vec<String> },
    /// The cache cannot be read or written.
    CacheUnusable { reason: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadPath { emulator, reason } => {
                write!(f, "{emulator} is not a path that the service takes: {reason}")
            }
            Error::NoSuchEmulator { emulator, reason } => {
                write!(f, "there is no emulator {emulator}: {reason}")
            }
            Error::NotAnEmulator { emulator, reason } => {
                write!(f, "{emulator} is no emulator: {reason}")
            }
            // The reason names the emulator.
            Error::ProbeFailed { reason, .. } | Error::BadQuery { reason, .. } => {
                f.write_str(reason)
            }
            Error::NotPermitted { reason } => write!(f, "not permitted: {reason}"),
            Error::UnknownFormat { format, known } => {
                write!(f, "there is no format {format:?}; there are {}", known.join(", "))
            }
            Error::UnknownGroup { group, known } => {
                write!(f, "there is no group {group:?}; there are {}", known.join(", "))
            }
            Error::CacheUnusable { reason } => write!(f, "the cache cannot be used: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
