//! The steps of a start, from the files of a guest to the reply to `cont`.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::actions::Action;
use super::error::StartError;
use super::helpers::{self, Helpers, Surroundings};
use super::prepared::Prepared;
use super::setup::{self, ApplyError, Files, Plan};
use super::timing::Clock;
use crate::process::log::Log;
use crate::process::{Exit, Launch, Process};
use crate::qmp::{Qmp, QmpError};
use crate::resources::{self, Monitor, ResourceError};
use crate::root::{GuestDir, NameLock, RootError};
use crate::scope::{self, Placement, ScopeError};

/// The time that an emulator has to end after it closed its monitor.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// A guest that runs.
#[derive(Debug)]
pub(super) struct Launched {
    // Dropped in this order: the lock is held until all else is gone.
    pub(super) qmp: Qmp,
    pub(super) process: Process,
    pub(super) helpers: Helpers,
    pub(super) files: Files,
    pub(super) log: Arc<Log>,
    pub(super) directory: GuestDir,
    pub(super) lock: NameLock,
    pub(super) placement: Placement,
}

/// The state of a start, for errors.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) clock: Clock,
    pub(super) log: Option<Arc<Log>>,
}

/// Starts a guest and returns when it runs. Cancelling kills the emulator and removes its files.
pub(super) async fn launch(
    prepared: &Prepared,
    is_detached: bool,
    progress: &mut Progress,
) -> Result<Launched, StartError> {
    let plan = setup::plan(prepared, is_detached)?;
    progress.clock.start("lock");
    let (root, name) = (&prepared.root, prepared.name.as_str());
    let user = prepared.user.as_ref();
    let directories = root.create(user)?;
    let lock = NameLock::take(root, &directories, name).await?;
    progress.clock.start("files");
    let log = Log::open(directories.log.as_fd(), name);
    let log = Arc::new(log.map_err(RootError::io("open the log of the guest in", root.path()))?);
    progress.log = Some(Arc::clone(&log));
    let directory = GuestDir::create(root, &directories, name)?;
    directory.write_master_key(prepared.key.bytes())?;
    let (listener, path) = directory.listen()?;
    // Before the emulator exists: the connection waits for it, and nothing has to be tried again.
    let monitor = UnixStream::connect(&path);
    let monitor = monitor.map_err(ResourceError::io("connect to", path))?;
    let files = plan.create_files(prepared)?;
    let monitor_socket = Monitor(listener.into());
    let descriptors = resources::open(&prepared.command, monitor_socket)?;
    if let Some(user) = user {
        // Last: then no process of the user can put a link where this one, as root, opens or creates a file.
        directory.give_to(user)?;
    }
    if !plan.services.is_empty() {
        progress.clock.start("helpers");
    }
    let around = Surroundings { directories: &directories, prepared, lock: &lock, is_detached };
    let helpers = helpers::start(&plan.services, &around).await?;
    let held = lock.for_emulator().map_err(RootError::io("use the lock in", root.path()))?;
    progress.clock.start("spawn");
    let output = log.descriptor().map_err(RootError::io("use the log in", root.path()))?;
    let command = &prepared.command;
    let before = plan.before();
    let launch =
        Launch { command, descriptors, lock: Some(held), output, user, before, is_detached };
    let process = Process::start(launch).await?;
    let qmp = Qmp::new(monitor).map_err(|error| StartError::Thread(Arc::new(error)))?;
    let placement = Placement::Inherited;
    let mut launched = Launched { qmp, process, helpers, files, log, directory, lock, placement };
    let actions = actions(prepared, is_detached);
    let pids = [vec![launched.process.pid()], launched.helpers.pids()].concat();
    // While the emulator starts, which takes longer. It is in its scope before the guest runs.
    // The limit of the whole start is longer: its error would name the emulator.
    let limit = prepared.deadlines.start / 2;
    let placing = scope::place(prepared.scope, name, &pids, limit);
    match converse(&mut launched, &plan, actions, placing, &mut progress.clock).await {
        Ok(()) => Ok(launched),
        Err(Failure::Start(error)) => Err(error),
        Err(Failure::Monitor(step, error)) => Err(launched.failed(prepared, step, error).await),
    }
}

/// Failure of a step at the monitor.
enum Failure {
    Start(StartError),
    Monitor(&'static str, QmpError),
}

/// Talks to the monitor until the guest runs.
async fn converse(
    launched: &mut Launched,
    plan: &Plan<'_>,
    actions: Option<Value>,
    placing: impl Future<Output = Result<Placement, ScopeError>>,
    clock: &mut Clock,
) -> Result<(), Failure> {
    let Launched { qmp, process, directory, placement, .. } = launched;
    let at = |step| move |error| Failure::Monitor(step, error);
    let starting = async {
        clock.start("greeting");
        qmp.greeting().await.map_err(at("greeting"))?;
        clock.start("capabilities");
        qmp.execute("qmp_capabilities", None).await.map_err(at("capabilities"))?;
        // It has created its objects, and has read the key.
        directory.remove_master_key().map_err(|error| Failure::Start(error.into()))?;
        clock.start("scope");
        Ok(())
    };
    let placing = async { placing.await.map_err(|error| Failure::Start(error.into())) };
    ((), *placement) = tokio::try_join!(starting, placing)?;
    clock.start("settings");
    if let Some(actions) = actions {
        qmp.execute("set-action", Some(actions)).await.map_err(at("settings"))?;
    }
    plan.apply(process.pid(), qmp).await.map_err(|error| match error {
        ApplyError::Host(error) => Failure::Start(error.into()),
        ApplyError::Monitor(error) => Failure::Monitor("settings", error),
    })?;
    clock.start("cont");
    qmp.execute("cont", None).await.map_err(at("cont"))?;
    clock.end();
    Ok(())
}

/// Returns QEMU's actions at the end of a guest, where they are not the default ones.
fn actions(prepared: &Prepared, is_detached: bool) -> Option<Value> {
    let mut actions = serde_json::Map::new();
    if prepared.actions.reboot == Action::Destroy {
        actions.insert("reboot".to_owned(), "shutdown".into());
    }
    if is_detached {
        // There is no runner that would end it.
        actions.insert("shutdown".to_owned(), "poweroff".into());
    }
    (!actions.is_empty()).then_some(Value::Object(actions))
}

impl Launched {
    /// Returns the error of a step at the monitor: the end of the process, if that is the cause.
    async fn failed(
        &mut self,
        prepared: &Prepared,
        step: &'static str,
        source: QmpError,
    ) -> StartError {
        let program = prepared.command.program.clone();
        if matches!(source, QmpError::Closed)
            && let Some(exit) = self.ended_within(END_TIMEOUT).await
        {
            return StartError::Exited { program, exit, output: self.log.tail() };
        }
        StartError::Monitor { program, step, source }
    }

    /// Waits until the process has ended, and returns how.
    pub(super) async fn ended_within(&mut self, patience: Duration) -> Option<Exit> {
        let _ = tokio::time::timeout(patience, self.process.ended()).await;
        self.process.reap()
    }
}
