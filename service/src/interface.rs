//! The types and errors of the Varlink interface `io.capscache.Cache`.
//!
//! Their documentation is that of the interface: introspection returns it, and a test compares that with
//! [`DESCRIPTION`].

#![expect(missing_docs, reason = "a comment on a field would become part of the interface")]

use std::fmt;

use serde::{Deserialize, Serialize};
use zlink::introspect::{self, CustomType, Type};

/// The name of the interface.
pub(crate) const NAME: &str = "io.capscache.Cache";

/// The interface, as it is published.
pub const DESCRIPTION: &str = include_str!("../io.capscache.Cache.varlink");

/// The usual path of the service's socket.
pub const SOCKET: &str = "/run/capscache/io.capscache.Cache";

/// State of an emulator's entry: valid; stale, its answers do not hold any more; damaged; unreadable;
/// failed, there is no valid entry and the last probe failed not long ago; missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "lowercase")]
#[zlink(rename_all = "lowercase")]
pub enum State {
    Valid,
    Stale,
    Damaged,
    Unreadable,
    Failed,
    Missing,
}

impl State {
    /// Returns the name of the state in the interface.
    pub fn name(self) -> &'static str {
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

/// Answer to a query; what the emulator could not report is unknown, never no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "lowercase")]
#[zlink(rename_all = "lowercase")]
pub(crate) enum Answer {
    Yes,
    No,
    Unknown,
}

/// The version of an emulator, from query-version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Version {
    pub major: u64,
    pub minor: u64,
    pub micro: u64,
}

/// The reason why an entry is not valid: the input that differs and its path, the recorded value, the
/// value found now. For a failed probe only the cause of the failure (found), its age in seconds, and
/// the seconds until it is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Reason {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<String>,
    pub found: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in: Option<u64>,
}

/// One entry of the cache, with its size in bytes. An entry that cannot be used has only its file, its
/// state and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Entry {
    pub file: String,
    pub state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulator: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    pub accelerators: Vec<String>,
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
}

/// Result of warming an emulator: there was a valid entry, it was probed, or the probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "lowercase")]
#[zlink(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Cached,
    Probed,
    Failed,
}

/// An emulator that was warmed, the milliseconds that it took, and the reason of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub(crate) struct Warmed {
    pub(crate) emulator: String,
    pub(crate) outcome: Outcome,
    pub(crate) milliseconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Kind of an event: an emulator appeared in one of the search directories; an entry was dropped; an
/// entry was refreshed; a probe failed; a notice about the watcher itself, such as that events were
/// lost and every entry is checked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "lowercase")]
#[zlink(rename_all = "lowercase")]
pub(crate) enum EventKind {
    Appeared,
    Dropped,
    Refreshed,
    Failed,
    Notice,
}

/// One event. Refreshed has whether the emulator was probed for it, and in how many milliseconds;
/// dropped, failed and notice have a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) emulator: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probed: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) milliseconds: Option<u64>,
}

/// Reply of `GetInfo`.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Info {
    pub(crate) version: String,
    pub(crate) format: u32,
    pub(crate) root: String,
}

/// Reply of `Get`.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct GetReply {
    pub(crate) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entry: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arch: Option<String>,
    pub(crate) accelerators: Vec<String>,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
}

/// Reply of `Query`.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Answers {
    pub(crate) answers: Vec<Answer>,
}

/// Reply of `List`.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Entries {
    pub(crate) entries: Vec<Entry>,
}

/// Reply of `Status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct Status {
    pub state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Reply of `Warm`.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Progress {
    pub(crate) warmed: Vec<Warmed>,
    pub(crate) left: u32,
}

/// Reply of `Invalidate`.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Dropped {
    pub(crate) dropped: Vec<String>,
}

/// Reply of `Monitor`.
#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub(crate) struct Events {
    pub(crate) events: Vec<Event>,
    pub(crate) missed: u64,
}

/// The reason why a call was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, zlink::ReplyError, introspect::ReplyError)]
#[zlink(interface = "io.capscache.Cache")]
pub enum Error {
    /// The path is relative, has '..' in it, or is too long.
    BadPath { emulator: String, reason: String },
    /// There is no file at the path, or it cannot be examined.
    NoSuchEmulator { emulator: String, reason: String },
    /// The file at the path cannot be executed, or does not answer as an emulator does.
    NotAnEmulator { emulator: String, reason: String },
    /// The probe of the emulator failed; it is tried again after a while, or when the emulator changes.
    ProbeFailed { emulator: String, reason: String },
    /// The caller does not have permission.
    NotPermitted { reason: String },
    /// A query cannot be parsed.
    BadQuery { query: String, reason: String },
    /// The format of an export is unknown.
    UnknownFormat { format: String, known: Vec<String> },
    /// The group of answers is unknown.
    UnknownGroup { group: String, known: Vec<String> },
    /// The cache cannot be read or written.
    CacheUnusable { reason: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadPath { emulator, reason } => {
                write!(f, "cannot use the path {emulator}: {reason}")
            }
            Error::NoSuchEmulator { emulator, reason } => {
                write!(f, "cannot stat the emulator {emulator}: {reason}")
            }
            // The reason names the emulator.
            Error::NotAnEmulator { reason, .. }
            | Error::ProbeFailed { reason, .. }
            | Error::BadQuery { reason, .. } => f.write_str(reason),
            Error::NotPermitted { reason } => {
                write!(f, "cannot complete the call: not permitted: {reason}")
            }
            Error::UnknownFormat { format, known } => {
                write!(
                    f,
                    "cannot export as {format:?}: unknown format; formats are {}",
                    known.join(", ")
                )
            }
            Error::UnknownGroup { group, known } => {
                write!(
                    f,
                    "cannot get the group {group:?}: unknown group; groups are {}",
                    known.join(", ")
                )
            }
            Error::CacheUnusable { reason } => write!(f, "cannot use the cache: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
