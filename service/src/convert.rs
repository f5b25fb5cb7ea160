//! Conversions of the library's types into those of the interface.

use std::path::Path;

use capscache::{Accelerator, Capabilities, Error, FailureCause, Group, Listed, Lookup, Stale};

use crate::interface::{self, Entry, Reason, State, Status, Version};
use crate::text::{chain, unusable, without_number};

/// Converts one entry of a list.
pub(crate) fn entry(listed: &Result<Listed, Error>) -> Entry {
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => return unusable_entry(error),
    };
    let caps = &listed.capabilities;
    Entry {
        file: listed.file.to_string_lossy().into_owned(),
        state: if listed.stale.is_some() { State::Stale } else { State::Valid },
        reason: listed.stale.as_ref().map(stale),
        emulator: Some(caps.emulator().to_string_lossy().into_owned()),
        executable: Some(caps.executable().to_string_lossy().into_owned()),
        version: Some(version(caps)),
        package: Some(caps.package().to_owned()),
        arch: Some(caps.arch().to_owned()),
        accelerators: accelerators(caps),
        groups: caps.groups().iter().map(Group::name).map(str::to_owned).collect(),
        size: Some(caps.bytes().len()),
    }
}

fn unusable_entry(error: &Error) -> Entry {
    let (file, found) = unusable(error);
    Entry {
        file: file.to_string_lossy().into_owned(),
        state: if error.is_damage() { State::Damaged } else { State::Unreadable },
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

/// Converts the result of a lookup; damage is a state.
///
/// # Errors
/// Any other error of the lookup.
pub(crate) fn status(lookup: Result<Lookup, Error>) -> Result<Status, Error> {
    Ok(match lookup {
        Ok(Lookup::Hit(_)) => Status { state: State::Valid, reason: None },
        Ok(Lookup::Stale { reason: why, .. }) => {
            Status { state: State::Stale, reason: Some(stale(&why)) }
        }
        Ok(Lookup::Failed(failure)) => {
            let reason = Reason {
                found: failure.reason,
                age: Some(failure.age.as_secs()),
                retry_in: Some(failure.retry_in.as_secs()),
                ..Reason::default()
            };
            Status { state: State::Failed, reason: Some(reason) }
        }
        Ok(_) => Status { state: State::Missing, reason: None },
        Err(error) if error.is_damage() => {
            let (path, found) = unusable(&error);
            let reason = Reason {
                input: Some("entry".to_owned()),
                path: Some(path.to_string_lossy().into_owned()),
                found,
                ..Reason::default()
            };
            Status { state: State::Damaged, reason: Some(reason) }
        }
        Err(error) => return Err(error),
    })
}

fn stale(why: &Stale) -> Reason {
    Reason {
        input: Some(why.input.name().to_owned()),
        path: Some(why.path.to_string_lossy().into_owned()),
        recorded: Some(why.recorded.clone()),
        found: without_number(&why.found).to_owned(),
        ..Reason::default()
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

/// Converts an error of the library into one of the interface.
pub(crate) fn error(source: Error, emulator: &Path) -> interface::Error {
    let reason = chain(&source);
    let emulator = emulator.to_string_lossy().into_owned();
    match source {
        Error::Emulator { source, .. } => {
            let source = source.to_string();
            let reason = without_number(&source).to_owned();
            interface::Error::NoSuchEmulator { emulator, reason }
        }
        source if source.cause() == Some(FailureCause::NotAnEmulator) => {
            interface::Error::NotAnEmulator { emulator, reason }
        }
        Error::Probe { .. }
        | Error::Failed { .. }
        | Error::Changing { .. }
        | Error::Model { .. } => interface::Error::ProbeFailed { emulator, reason },
        _ => interface::Error::CacheUnusable { reason },
    }
}
