//! State of this host that the overview and `doctor` show: emulators and their entries, watchers, the service. Nothing
//! is probed.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use capscache::Status;
use capscache::discovery::find_emulators;
use capscache_service::client::{Client, ClientError, ServiceInfo};
use capscache_watcher::THREAD_NAME;

use crate::session::{join, socket};
use crate::source::Source;

/// Returns the emulators that `warm --all` would probe, in its order, with the state of their entries.
///
/// # Errors
/// Those of [`Source::status`].
pub(crate) fn emulators(source: &Source) -> Result<Vec<(PathBuf, Status)>> {
    let found = find_emulators(&[]).into_iter();
    found.map(|emulator| source.status(&emulator, false).map(|status| (emulator, status))).collect()
}

/// Returns the identifiers of the processes of the command that watch (`watch` and `serve` do), as far as this user may see them. The cache
/// that they watch is not known.
pub(crate) fn watchers() -> Vec<u32> {
    let name_is = |path: PathBuf, name: &str| {
        fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let watches = |process: &PathBuf| {
        let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
        threads.map(|thread| thread.path()).any(|thread| name_is(thread, THREAD_NAME))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|process| {
        let id = process.file_name().to_str()?.parse().ok()?;
        let is_own = name_is(process.path(), env!("CARGO_BIN_NAME"));
        (is_own && watches(&process.path())).then_some(id)
    });
    let mut found: Vec<u32> = processes.collect();
    found.sort_unstable();
    found
}

/// The finding where there are no emulators.
pub(crate) const NO_EMULATORS: &str = "none found on PATH and in /usr/libexec";

/// Returns words about processes that watch; `None` if there are none.
pub(crate) fn running(processes: &[u32]) -> Option<String> {
    match processes {
        [] => None,
        [one] => Some(format!("running: process {one}")),
        many => Some(format!("running: processes {}", join(many, ", "))),
    }
}

/// State of the service at its socket.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) socket: PathBuf,
    /// `None` if there is no socket.
    pub(crate) info: Option<Result<ServiceInfo, ClientError>>,
}

/// Connects to the service.
pub(crate) fn service() -> Service {
    let socket = socket();
    let exists = fs::symlink_metadata(&socket).is_ok();
    let info = exists.then(|| Client::new(&socket).info());
    Service { socket, info }
}
