//! Entries and their states as the command prints them, from the library or from the service.

use std::path::Path;

use capscache::format::Version;
use capscache::{Accelerator, Error, Group, ListedEntry, Status};
use capscache_service::interface as wire;
use serde_json::{Value, json};

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

impl Entry {
    /// Returns the entry as JSON: an entry that cannot be used has only its file, its state and the reason.
    pub(crate) fn as_json(&self) -> Value {
        let (file, state) = (&self.file, self.status.name());
        let Some(summary) = &self.summary else {
            let reason = reason(&self.status)["found"].take();
            return json!({"file": file, "state": state, "reason": reason});
        };
        json!({
            "emulator": summary.emulator,
            "executable": summary.executable,
            "version": version(summary.version),
            "package": summary.package,
            "arch": summary.arch,
            "accelerators": summary.accelerators,
            "groups": summary.groups,
            "size": summary.size,
            "file": file,
            "state": state,
            "reason": reason(&self.status),
        })
    }
}

/// Returns a version of QEMU as JSON.
pub(crate) fn version(of: Version) -> Value {
    json!({"major": of.major, "minor": of.minor, "micro": of.micro})
}

/// Returns the state of the entry of an emulator as JSON.
pub(crate) fn state(emulator: &Path, status: &Status) -> Value {
    let emulator = emulator.to_string_lossy();
    json!({"emulator": emulator, "state": status.name(), "reason": reason(status)})
}

/// Returns the reason of a state as JSON, null where there is none.
fn reason(status: &Status) -> Value {
    match status {
        Status::Stale { input, path, recorded, found } => {
            let path = path.to_string_lossy();
            json!({"input": input, "path": path, "recorded": recorded, "found": found})
        }
        Status::Damaged { path, found } | Status::Unreadable { path, found } => {
            let path = path.to_string_lossy();
            json!({"input": "entry", "path": path, "recorded": null, "found": found})
        }
        Status::Failed { reason, age, retry_in } => {
            json!({"reason": reason, "age": age.as_secs(), "retry-in": retry_in.as_secs()})
        }
        _ => Value::Null,
    }
}

impl From<Result<ListedEntry, Error>> for Entry {
    fn from(listed: Result<ListedEntry, Error>) -> Entry {
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                let status = error.status();
                let file = match &status {
                    Status::Damaged { path, .. } | Status::Unreadable { path, .. } => path,
                    _ => Path::new(""),
                };
                let file = file.to_string_lossy().into_owned();
                return Entry { file, status, summary: None };
            }
        };
        let (status, caps) = (listed.status(), listed.capabilities);
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
        Entry { file: listed.file.to_string_lossy().into_owned(), status, summary: Some(summary) }
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
