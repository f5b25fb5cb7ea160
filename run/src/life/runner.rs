//! The thread of a guest: starts it, forwards its events, carries out requests, and ends it.
//!
//! Each guest has a thread of its own, since the kernel kills an emulator when the *thread* that started it ends. So no
//! caller needs a runtime, and the emulator dies with this process however that ends.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::actions::{Action, Actions};
use super::cpu::Query;
use super::detached::Detached;
use super::end::End;
use super::error::StartError;
use super::launch::{Launched, Progress, launch};
use super::prepared::{Deadlines, Prepared};
use super::running::{Request, Running};
use super::timing::{Clock, Timing};
use crate::process::Exit;
use crate::qmp::{Event, KEPT_EVENTS, Message, Refusal};

/// The time that an emulator has to end after it was sent `quit`.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that reading what an emulator left at its monitor may take.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// Starts a guest on a thread of its own, and returns when it runs; if it is given up before, when nothing is left.
pub(super) async fn start(
    prepared: Prepared,
    given_up: impl Future<Output = ()>,
) -> Result<Running, StartError> {
    let (started, start) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let (requests, requested) = mpsc::unbounded_channel();
    let (events_out, events) = mpsc::channel(KEPT_EVENTS);
    let (end_out, end) = watch::channel(None);
    spawn(async move {
        let (launched, timing) = match unless(stopped, begin(&prepared, false)).await {
            Ok(launched) => launched,
            Err(error) => return drop(started.send(Err(error))),
        };
        let facts = (launched.process.pid(), timing, launched.placement.clone());
        if started.send(Ok(facts)).is_err() {
            return;
        }
        let runner = Runner {
            launched,
            actions: prepared.actions,
            deadlines: prepared.deadlines,
            events: events_out,
            missed: 0,
            is_connected: true,
            is_held: true,
            is_requested: false,
            awaited: Vec::new(),
            queries: Vec::new(),
            end: None,
            deadline: None,
        };
        // With the key, the command line and the passwords in it.
        drop(prepared);
        let ended = runner.keep(requested).await;
        // It fails if the handle was dropped.
        let _ = end_out.send(Some(ended));
    })?;
    let mut is_given_up = false;
    let given_up = async {
        given_up.await;
        is_given_up = true;
    };
    let (pid, timing, placement) = finished(start, given_up, stop).await?;
    let running = Running { requests, events, end, pid, timing, placement };
    if is_given_up {
        // Too late for the start: it had just ended.
        running.quit();
        running.wait_async().await;
        return Err(StartError::Abandoned);
    }
    Ok(running)
}

/// Waits for the result of a start; if it is given up, until all is removed.
async fn finished<T>(
    start: oneshot::Receiver<Result<T, StartError>>,
    given_up: impl Future<Output = ()>,
    stop: oneshot::Sender<()>,
) -> Result<T, StartError> {
    let mut start = start;
    tokio::select! {
        biased;
        result = &mut start => return result.unwrap_or(Err(StartError::Abandoned)),
        () = given_up => {}
    }
    drop(stop);
    start.await.unwrap_or(Err(StartError::Abandoned))
}

/// Starts a guest, unless the caller gives up, or is gone.
async fn unless<T>(
    stopped: oneshot::Receiver<()>,
    start: impl Future<Output = Result<T, StartError>>,
) -> Result<T, StartError> {
    tokio::select! {
        result = start => result,
        _ = stopped => Err(StartError::Abandoned),
    }
}

/// Starts a guest that outlives this process, and returns when it runs.
pub(super) async fn start_detached(
    prepared: Prepared,
    given_up: impl Future<Output = ()>,
) -> Result<Detached, StartError> {
    let (started, start) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    spawn(async move {
        let result = unless(stopped, detach(&prepared)).await;
        // It fails if the caller is gone.
        let _ = started.send(result);
    })?;
    finished(start, given_up, stop).await
}

async fn detach(prepared: &Prepared) -> Result<Detached, StartError> {
    let (launched, timing) = begin(prepared, true).await?;
    let Launched { mut process, mut helpers, mut files, directory, lock, placement, .. } = launched;
    lock.set_detached(prepared.root.path())?;
    process.detach();
    helpers.detach();
    files.keep();
    Ok(Detached { pid: process.pid(), monitor: directory.keep(), timing, placement })
}

/// Starts a thread with a runtime.
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
    let failed = |error| StartError::Thread(Arc::new(error));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let thread = std::thread::Builder::new().name("guest".to_owned());
    thread.spawn(move || runtime.block_on(task)).map(drop).map_err(failed)
}

/// Starts a guest within its deadline.
async fn begin(prepared: &Prepared, is_detached: bool) -> Result<(Launched, Timing), StartError> {
    let limit = prepared.deadlines.start;
    let mut progress = Progress { clock: Clock::new(prepared.timing.clone()), log: None };
    let launching = launch(prepared, is_detached, &mut progress);
    let launched = tokio::time::timeout(limit, launching).await;
    match launched {
        Ok(launched) => Ok((launched?, progress.clock.timing)),
        Err(_) => Err(StartError::TimedOut {
            program: prepared.command.program.clone(),
            step: progress.clock.step,
            limit,
            output: progress.log.map(|log| log.tail()).unwrap_or_default(),
        }),
    }
}

/// Waits until a time; forever without one.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A guest that runs, and how it is to end.
struct Runner {
    launched: Launched,
    actions: Actions,
    deadlines: Deadlines,
    events: mpsc::Sender<Event>,
    /// The number of events that were dropped since the last one that was kept.
    missed: u64,
    is_connected: bool,
    /// True while there is a handle.
    is_held: bool,
    /// True if a shutdown was requested: then the guest is not restarted.
    is_requested: bool,
    /// The ids of commands that must not be refused, with their names.
    awaited: Vec<(u64, &'static str)>,
    queries: Vec<Query>,
    /// The end, once it is decided.
    end: Option<End>,
    /// The time at which the emulator is killed.
    deadline: Option<Instant>,
}

impl Runner {
    /// Keeps a guest until it has ended, and removes its files.
    async fn keep(mut self, mut requests: mpsc::UnboundedReceiver<Request>) -> End {
        loop {
            let query_deadline = self.queries.iter().map(|query| query.deadline).min();
            tokio::select! {
                biased;
                () = reached(self.deadline) => self.give_up(),
                () = reached(query_deadline) => self.give_up_queries(),
                request = requests.recv(), if self.is_held => {
                    // Without a handle nothing could end the guest.
                    self.is_held = request.is_some();
                    self.carry_out(request.unwrap_or(Request::Kill));
                }
                message = self.launched.qmp.next(), if self.is_connected => match message {
                    Ok(Message::Event(event)) => self.handle(event),
                    Ok(Message::Reply(id, result)) => self.handle_reply(id, result),
                    Ok(Message::Greeting) => {}
                    Err(_) => self.disconnect(),
                },
                () = self.launched.process.ended() => break,
            }
        }
        self.drain().await;
        let exit = self.launched.process.reap().unwrap_or(Exit::Unknown);
        let end = self.end.take();
        end.unwrap_or_else(|| End::Exited { exit, output: self.launched.log.tail() })
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Shutdown => {
                self.is_requested = true;
                self.send("system_powerdown");
                self.limit(self.deadlines.shutdown);
            }
            Request::Quit => {
                self.end.get_or_insert(End::Quit);
                self.quit();
            }
            Request::Kill => {
                self.end.get_or_insert(End::Quit);
                self.launched.process.kill();
            }
            Request::CpuFlags(reply) => {
                self.queries.push(Query::start(&mut self.launched.qmp, reply));
            }
        }
    }

    /// Sends a command that ends the guest if it is refused.
    fn send(&mut self, command: &'static str) {
        self.awaited.push((self.launched.qmp.send(command, None), command));
    }

    fn handle_reply(&mut self, id: u64, result: Result<Value, Refusal>) {
        if let Some(position) = self.queries.iter().position(|query| query.awaits(id)) {
            let query = self.queries.swap_remove(position);
            self.queries.extend(query.handle(result, &mut self.launched.qmp));
        } else if let Some(position) = self.awaited.iter().position(|(found, _)| *found == id) {
            let (_, command) = self.awaited.swap_remove(position);
            if let Err(refusal) = result {
                self.end.get_or_insert(End::Refused { command, desc: refusal.desc });
                self.launched.process.kill();
            }
        }
    }

    fn give_up_queries(&mut self) {
        let now = Instant::now();
        let late = self.queries.extract_if(.., |query| query.deadline <= now);
        late.for_each(Query::give_up);
    }

    /// Acts upon an event, and passes it on.
    fn handle(&mut self, mut event: Event) {
        let reason = event.data.get("reason").and_then(Value::as_str).unwrap_or_default();
        match (event.name.as_str(), reason) {
            ("SHUTDOWN", "guest-reset") => self.finish(End::Reset),
            ("SHUTDOWN", "guest-shutdown" | "host-ui" | "") => match self.actions.poweroff {
                Action::Restart if !self.is_requested => self.restart(),
                _ => self.finish(End::ShutDown),
            },
            ("GUEST_PANICKED", _) => match self.actions.crash {
                Action::Restart => self.restart(),
                Action::Destroy => self.finish(End::Panicked),
            },
            _ => {}
        }
        event.missed += self.missed;
        let missed = event.missed;
        self.missed = match self.events.try_send(event) {
            Ok(()) => 0,
            Err(_) => missed + 1,
        };
    }

    /// Ends the emulator of a guest that has come to its end.
    fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.quit();
    }

    /// Starts the guest again in the same emulator.
    fn restart(&mut self) {
        self.send("system_reset");
        self.send("cont");
    }

    fn quit(&mut self) {
        self.send("quit");
        self.limit(QUIT_TIMEOUT);
    }

    /// Kills the emulator after some time, unless that is to happen earlier.
    fn limit(&mut self, patience: Duration) {
        // None is beyond all time.
        let deadline = Instant::now().checked_add(patience);
        self.deadline = self.deadline.into_iter().chain(deadline).min();
    }

    fn give_up(&mut self) {
        self.end.get_or_insert(End::TimedOut);
        self.launched.process.kill();
        self.deadline = None;
    }

    /// Handles the loss of the monitor: the emulator is ending, or is of no use any more.
    fn disconnect(&mut self) {
        self.is_connected = false;
        self.limit(QUIT_TIMEOUT);
    }

    /// Reads the events that an emulator sent before it ended.
    async fn drain(&mut self) {
        let reading = async {
            while self.is_connected {
                match self.launched.qmp.next().await {
                    Ok(Message::Event(event)) => self.handle(event),
                    Ok(_) => {}
                    Err(_) => self.is_connected = false,
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
    }
}
