//! Settings that no option of QEMU has: each is sorted by the means that apply it, or refused, before any process starts.

mod assigned;
mod cpus;
mod files;
mod memory;
mod monitor;
mod password;
mod place;
mod plug;
mod privileges;
mod variables;

use std::path::Path;

use serde_json::Value;

use super::helpers::{self, Service, bus, tpm};
use super::prepared::Prepared;
use crate::command::{NodePolicy, Setup};
use crate::process::Before;
use crate::qmp::{Qmp, QmpError, wipe};
use crate::resources::{self, ResourceError, unsupported};
use cpus::Cpus;
pub(super) use files::Files;

/// A command of the monitor with its arguments, which are overwritten when it is dropped: one of them may be a password.
struct Request {
    command: &'static str,
    arguments: Value,
}

impl Request {
    fn new(command: &'static str, arguments: Value) -> Request {
        Request { command, arguments }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.command)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        wipe(&mut self.arguments);
    }
}

/// The settings of a guest, by the means that apply them.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// The host's CPUs of the process and its threads.
    cpus: Cpus,
    /// The virtual CPUs that are plugged in.
    plugged: &'a [u32],
    /// Commands of the monitor.
    requests: Vec<Request>,
    /// Directories outside of that of the guest.
    directories: Vec<&'a Path>,
    /// The NUMA nodes of the memory.
    memory: Option<(NodePolicy, &'a [u32])>,
    /// The processes that serve devices.
    pub(super) services: Vec<Service>,
    /// True if the process may lock all of its memory.
    locks_memory: bool,
}

/// Error of a setting that is applied through the monitor.
pub(super) enum ApplyError {
    Host(ResourceError),
    Monitor(QmpError),
}

impl From<QmpError> for ApplyError {
    fn from(error: QmpError) -> ApplyError {
        ApplyError::Monitor(error)
    }
}

impl From<ResourceError> for ApplyError {
    fn from(error: ResourceError) -> ApplyError {
        ApplyError::Host(error)
    }
}

/// Sorts the settings of a guest.
///
/// # Errors
/// [`ResourceError::Host`] or [`ResourceError::Unsupported`] for one that cannot be applied.
pub(super) fn plan(prepared: &Prepared, is_detached: bool) -> Result<Plan<'_>, ResourceError> {
    let mut plan = Plan::default();
    let guest = &prepared.guest;
    let assigned = prepared.command.assigned.iter().try_for_each(assigned::check);
    assigned.map_err(|error| place::of_only(guest, "hostdev", error))?;
    for setup in &prepared.command.setup {
        plan.add(setup, prepared).map_err(|error| place::of_setup(guest, setup, error))?;
    }
    for helper in &prepared.command.helpers {
        plan.services.push(helpers::service(helper, prepared)?);
    }
    if is_detached {
        plan.services.iter().try_for_each(Service::check_detached)?;
    }
    let checked = resources::check(&prepared.command);
    checked.map_err(|error| place::of_only(guest, "interface", error))?;
    Ok(plan)
}

impl<'a> Plan<'a> {
    fn add(&mut self, setup: &'a Setup, prepared: &'a Prepared) -> Result<(), ResourceError> {
        match setup {
            Setup::Cpus(cpus) => self.cpus.set_all(cpus)?,
            Setup::CpusOfNodes(nodes) => self.cpus.set_all(&cpus::of_nodes(nodes)?)?,
            Setup::Pin { thread, cpus } => self.cpus.pin(*thread, cpus)?,
            Setup::MemoryNodes { policy, nodes } => {
                memory::check_policy(*policy)?;
                self.memory = Some((*policy, nodes));
            }
            Setup::LockedMemory => {
                memory::check_locked(&prepared.guest, prepared.user.as_ref())?;
                self.locks_memory = true;
            }
            Setup::PlugCpus(numbers) => self.plugged = numbers,
            Setup::Variables { path, template } => {
                variables::check(path, template.as_deref())?;
            }
            Setup::Store { .. } => {}
            Setup::ThreadContext { id } => self.requests.push(monitor::delete(id)),
            Setup::Directory { path } => self.directories.push(path),
            Setup::RawIo => privileges::check_raw_io(prepared.user.as_ref())?,
            Setup::Balloon { kib } => self.requests.push(monitor::balloon(*kib)),
            Setup::BalloonStatistics { id, seconds } => {
                self.requests.push(monitor::balloon_statistics(id, *seconds));
            }
            Setup::NoLink { id } => self.requests.push(monitor::no_link(id)),
            Setup::DiskLimits { arguments } => self.requests.push(monitor::disk_limits(arguments)?),
            Setup::Tpm(swtpm) => self.services.push(tpm::service(swtpm, prepared)?),
            Setup::Bus { socket } => self.services.push(bus::service(socket)?),
            Setup::Video(_) => {
                return Err(unsupported("a video device in a process of its own"));
            }
            Setup::Password(password) => self.requests.extend(password::requests(password)?),
        }
        Ok(())
    }

    /// Creates the files and directories that the processes expect.
    pub(super) fn create_files(&self, prepared: &Prepared) -> Result<Files, ResourceError> {
        let (command, user) = (&prepared.command, prepared.user.as_ref());
        resources::write_files(command, user)?;
        self.services
            .iter()
            .filter_map(|service| service.config.as_ref())
            .try_for_each(bus::Config::write)?;
        Files::create(command, &self.directories, user)
    }

    /// Returns the settings that are made before the program is executed.
    pub(super) fn before(&self) -> Before {
        Before {
            cpus: self.cpus.of_process(),
            memory: self.memory.map(|(policy, nodes)| (policy, nodes.to_vec())),
            locks_memory: self.locks_memory,
        }
    }

    /// Applies the settings that need a process which runs, but not the guest.
    pub(super) async fn apply(&self, pid: i32, qmp: &mut Qmp) -> Result<(), ApplyError> {
        if !self.plugged.is_empty() {
            plug::plug(self.plugged, qmp).await?;
        }
        self.cpus.apply(pid, qmp).await?;
        for Request { command, arguments } in &self.requests {
            qmp.execute(command, Some(arguments.clone())).await?;
        }
        Ok(())
    }
}
