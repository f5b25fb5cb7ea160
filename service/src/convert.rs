//! Conversions of the library's types into those of the interface.

use std::path::{Path, PathBuf};
use std::time::Duration;

use capscache::{
    Accelerator, Capabilities, Error, FailureCause, Group, ListedEntry, Status, chain,
};

use crate::interface::{self as wire, Entry, Reason, State, Version};

/// Converts one entry of a list.
pub(crate) fn entry(listed: &Result<ListedEntry, Error>) -> Entry {
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => return unusable_entry(error.status()),
    };
    let wire::Status { state, reason } = listed.status().into();
    let caps = &listed.capabilities;
    Entry {
        file: listed.file.to_string_lossy().into_owned(),
        state,
        reason,
        emulator: Some(caps.emulator().to_string_lossy().into_owned()),
        executable: Some(caps.executable().to_string_lossy().into_owned()),
        version: Some(version(caps)),
        package: Some(caps.package().to_owned()),
        arch: Some(caps.arch().to_owned()),
        accelerators: accelerators(caps),
        groups: groups(caps),
        size: Some(caps.bytes().len()),
    }
}

fn unusable_entry(status: Status) -> Entry {
    let wire::Status { state, reason } = status.into();
    let Reason { path, found, .. } = reason.unwrap_or_default();
    Entry {
        file: path.unwrap_or_default(),
        state,
        reason: Some(Reason { found, ..Reason::default() }),
        emulator: None,
        executable: None,
        version: None,
        package: None,
        arch: None,
        accelerators: Vec::new(),
        groups: Vec::new(),
        size: None,
    }
}

impl From<Status> for wire::Status {
    fn from(status: Status) -> wire::Status {
        let text = |path: PathBuf| Some(path.to_string_lossy().into_owned());
        let (state, reason) = match status {
            Status::Valid => (State::Valid, None),
            Status::Stale { input, path, recorded, found } => {
                let (input, recorded) = (Some(input.into_owned()), Some(recorded));
                let path = text(path);
                (State::Stale, Some(Reason { input, path, recorded, found, ..Reason::default() }))
            }
            Status::Damaged { path, found } => {
                let (input, path) = (Some("entry".to_owned()), text(path));
                (State::Damaged, Some(Reason { input, path, found, ..Reason::default() }))
            }
            Status::Unreadable { path, found } => {
                let (input, path) = (Some("entry".to_owned()), text(path));
                (State::Unreadable, Some(Reason { input, path, found, ..Reason::default() }))
            }
            Status::Failed { reason: found, age, retry_in } => {
                let (age, retry_in) = (Some(age.as_secs()), Some(retry_in.as_secs()));
                (State::Failed, Some(Reason { found, age, retry_in, ..Reason::default() }))
            }
            _ => (State::Missing, None),
        };
        wire::Status { state, reason }
    }
}

impl From<wire::Status> for Status {
    fn from(wire::Status { state, reason }: wire::Status) -> Status {
        let Reason { input, path, recorded, found, age, retry_in } = reason.unwrap_or_default();
        let path = path.unwrap_or_default().into();
        let seconds = |seconds: Option<u64>| Duration::from_secs(seconds.unwrap_or_default());
        match state {
            State::Valid => Status::Valid,
            State::Stale => {
                let input = input.unwrap_or_default().into();
                Status::Stale { input, path, recorded: recorded.unwrap_or_default(), found }
            }
            State::Damaged => Status::Damaged { path, found },
            State::Unreadable => Status::Unreadable { path, found },
            State::Failed => {
                Status::Failed { reason: found, age: seconds(age), retry_in: seconds(retry_in) }
            }
            State::Missing => Status::Missing,
        }
    }
}

/// Converts the version of an emulator.
pub(crate) fn version(caps: &Capabilities) -> Version {
    let version = caps.version();
    Version { major: version.major, minor: version.minor, micro: version.micro }
}

/// Returns the names of the accelerators that an emulator ran under.
pub(crate) fn accelerators(caps: &Capabilities) -> Vec<String> {
    caps.accelerators().map(Accelerator::name).map(str::to_owned).collect()
}

/// Returns the names of the groups that an entry has, the core group included.
pub(crate) fn groups(caps: &Capabilities) -> Vec<String> {
    caps.groups().iter().map(Group::name).map(str::to_owned).collect()
}

/// Converts an error of the library into one of the interface.
pub(crate) fn error(source: Error, emulator: &Path) -> wire::Error {
    let reason = chain(&source);
    let emulator = emulator.to_string_lossy().into_owned();
    match source {
        Error::Emulator { source, .. } => {
            let reason = chain(&*source);
            wire::Error::NoSuchEmulator { emulator, reason }
        }
        source if source.cause() == Some(FailureCause::NotAnEmulator) => {
            wire::Error::NotAnEmulator { emulator, reason }
        }
        Error::Probe { .. }
        | Error::Failed { .. }
        | Error::Changing { .. }
        | Error::Thread { .. }
        | Error::Abandoned { .. }
        | Error::Model { .. } => wire::Error::ProbeFailed { emulator, reason },
        _ => wire::Error::CacheUnusable { reason },
    }
}
