//! What the library says of entries, in the words that the command prints and the service sends.

use std::path::Path;

use capscache::{Accelerator, Cache, Capabilities, Error, Escaped, Group, Listed, Lookup, Stale};

use crate::interface::{Entry, Reason, State, Status, Version};
use crate::output;

/// One line of a list.
pub(crate) fn entry(listed: &Result<Listed, Error>) -> Entry {
    let known = match listed {
        Ok(known) => known,
        Err(error) => return unusable(error),
    };
    let caps = &known.capabilities;
    Entry {
        file: known.file.to_string_lossy().into_owned(),
        state: if known.stale.is_some() { State::Stale } else { State::Valid },
        reason: known.stale.as_ref().map(stale),
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

fn unusable(error: &Error) -> Entry {
    let (file, found) = wrong(error);
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

/// The file of an entry that cannot be used, and what is wrong with it.
pub(crate) fn wrong(error: &Error) -> (&Path, String) {
    match error {
        Error::Format { path, source } => (path, output::chain(source)),
        Error::OtherEmulator { path, emulator } => {
            (path, format!("it is the entry of {}", Escaped::new(emulator)))
        }
        Error::Entry { path, source, .. } => (path, output::chain(source)),
        Error::Unsafe { path, why } => (path, why.clone()),
        error => ("".as_ref(), output::chain(error)),
    }
}

/// Looks at the entry of an emulator, without any probe.
///
/// # Errors
/// Those of [`Cache::lookup`].
pub(crate) fn look(cache: &Cache, emulator: &Path, thorough: bool) -> Result<Lookup, Error> {
    if thorough { cache.lookup_starting(emulator) } else { cache.lookup(emulator) }
}

/// The state of one emulator.
///
/// # Errors
/// What keeps the cache from being looked at; damage is a state.
pub(crate) fn status(looked: Result<Lookup, Error>) -> Result<Status, Error> {
    Ok(match looked {
        Ok(Lookup::Hit(_)) => Status { state: State::Valid, reason: None },
        Ok(Lookup::Stale(why)) => Status { state: State::Stale, reason: Some(stale(&why)) },
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
            let (path, found) = wrong(&error);
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

/// Why an entry is stale.
pub(crate) fn stale(why: &Stale) -> Reason {
    Reason {
        input: Some(why.input.name().to_owned()),
        path: Some(why.path.to_string_lossy().into_owned()),
        recorded: Some(why.recorded.clone()),
        found: output::without_number(&why.found).to_owned(),
        ..Reason::default()
    }
}

/// The version of an emulator.
pub(crate) fn version(caps: &Capabilities) -> Version {
    let version = caps.version();
    Version { major: version.major, minor: version.minor, micro: version.micro }
}

/// The names of the accelerators that an emulator ran under.
pub(crate) fn accelerators(caps: &Capabilities) -> Vec<String> {
    caps.accelerators().map(Accelerator::name).map(str::to_owned).collect()
}
