//! `serve`: answers over a Varlink socket, and keeps entries fresh.
//!
//! One thread answers: a hit is a few system calls. Whatever takes longer (comparing files, listing,
//! exporting) is done on threads that tokio keeps for that, and emulators are probed on those of the
//! library.

mod call;
mod connection;
mod events;
pub(crate) mod fuzzing;
mod limits;
mod listener;
mod local;
mod log;
mod peer;
mod permission;
mod probes;
mod service;
mod wire;

use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result};
use capscache::Cache;
use capscache_watcher::{Options, Watcher};
use sd_notify::NotifyState;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info, warn};

use self::connection::Connection;
use self::events::Events;
use self::limits::{Crowd, Place, THREADS};
use self::listener::Listeners;
use self::peer::Peer;
use self::permission::Caller;
use self::service::Service;
use crate::args::Serve;
use crate::output;
use crate::session::Session;

/// How long calls that are under way may take to end when the service is told to.
const GRACE: Duration = Duration::from_millis(800);

/// Connections that are let in between two looks at everything else.
const ARRIVALS: usize = 128;

/// How long nothing is accepted after that failed: descriptors have to become free first.
const RETRY: Duration = Duration::from_millis(100);

/// How often the supervisor is told the state, where it does not want to hear more often.
const STATUS: Duration = Duration::from_secs(10);

pub(crate) fn run(session: &Session, args: &Serve) -> Result<ExitCode> {
    log::start(session.is_verbose());
    let cache = session.cache()?;
    let listeners = Listeners::open(&args.socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .build()
        .context("cannot start tokio")?;
    let served = LocalSet::new().block_on(&runtime, serve(cache, &listeners, args));
    // What still runs is a probe for nobody, or a look at a file system that hangs.
    runtime.shutdown_background();
    served?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(cache: Cache, listeners: &Listeners, args: &Serve) -> Result<()> {
    // Before anything is said of readiness: whoever waits for that may stop the service at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (close, closing) = watch::channel(false);
    let root = cache.root().display().to_string();
    let events = Events::new();
    let watcher = watch(&cache, args, events.clone());
    let jobs = args.jobs.map_or_else(default_jobs, usize::from);
    let house = House::new(Service::new(cache, args.search.clone(), jobs, events, closing));
    let (arrive, mut arrivals) = mpsc::channel(ARRIVALS);
    let mut arrived = Vec::new();
    let mut doors = JoinSet::new();
    for socket in &listeners.sockets {
        doors.spawn_local(accept(socket.try_clone()?, arrive.clone()));
    }
    info!("serving {root} at {}", listeners.place());
    tell_supervisor(&[NotifyState::Ready, NotifyState::Status("Serving")]);

    let mut guests = JoinSet::new();
    let mut beat = interval(beat());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = arrivals.recv_many(&mut arrived, ARRIVALS) => {
                arrived.drain(..).for_each(|stream| house.admit(stream, &mut guests));
            }
            Some(left) = guests.join_next() => note_end(left),
            _ = beat.tick() => house.tell_state(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }

    tell_supervisor(&[NotifyState::Stopping, NotifyState::Status("Answering the last calls")]);
    doors.abort_all();
    // Nobody is left who could miss it.
    let _ = close.send(true);
    let watcher = tokio::task::spawn_blocking(|| drop(watcher));
    let all_gone = async {
        while guests.join_next().await.is_some() {}
        // One that broke off has nothing left to end.
        let _ = watcher.await;
    };
    match timeout(GRACE, all_gone).await {
        Ok(()) => info!("stopped"),
        Err(_) => warn!("stopped; {} calls were not done in time", house.crowd.connections()),
    }
    Ok(())
}

/// Begins to watch what entries depend on. Without it answers are as right, but nobody is told of
/// anything, and whoever asks first waits.
fn watch(cache: &Cache, args: &Serve, events: Events) -> Option<Watcher> {
    let options = Options {
        search: args.search.clone(),
        rewarm: args.rewarm,
        jobs: args.jobs.map_or_else(default_jobs, usize::from),
        ..Options::default()
    };
    let watcher = Watcher::start(cache.clone(), options, move |event| events.tell(&event));
    watcher.inspect_err(|error| warn!("nothing is watched: {}", output::chain(error))).ok()
}

/// As many as there are processors: one emulator is asked under two accelerators at a time.
fn default_jobs() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// What one needs to let somebody in.
struct House {
    service: Rc<Service>,
    crowd: Rc<Crowd>,
}

impl House {
    fn new(service: Service) -> House {
        House { service: Rc::new(service), crowd: Crowd::new() }
    }

    /// Serves one more connection, if there is room for it.
    fn admit(&self, stream: UnixStream, guests: &mut JoinSet<()>) {
        let caller = match stream.peer_cred() {
            Ok(credentials) => Caller::new(credentials.uid()),
            Err(error) => return debug!("a connection of nobody knows whom: {error}"),
        };
        let Some(place) = self.crowd.admit(caller.uid, caller.is_privileged) else {
            return debug!("no more connections for the user {}", caller.uid);
        };
        Place::limit_unread(&stream);
        let place = Rc::new(place);
        let peer = Peer::new(Rc::clone(&self.service), caller, Rc::clone(&place));
        let closing = self.service.closing.clone();
        let connection = Connection { stream, peer, place, closing };
        guests.spawn_local(async move {
            if let Err(why) = connection.serve().await {
                debug!("gave up a connection of the user {}: {why}", caller.uid);
            }
        });
    }

    fn tell_state(&self) {
        let connections = self.crowd.connections();
        let status = format!("Serving, {connections} connections");
        tell_supervisor(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
    }
}

/// Accepts connections, whatever goes wrong with one of them.
async fn accept(socket: StdUnixListener, arrive: mpsc::Sender<UnixStream>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = UnixListener::from_std(socket)?;
    let mut told = None::<Instant>;
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                if arrive.send(stream).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > STATUS) {
                    warn!("cannot accept a connection, and tries again: {error}");
                    told = Some(Instant::now());
                }
                sleep(RETRY).await;
            }
        }
    }
}

fn note_end(left: Result<(), tokio::task::JoinError>) {
    if let Err(broken) = left
        && broken.is_panic()
    {
        warn!("a connection ended by a fault of this service, please report it: {broken}");
    }
}

/// Twice as often as the supervisor wants to hear of us.
fn beat() -> Duration {
    sd_notify::watchdog_enabled().map_or(STATUS, |within| within / 2)
}

/// Tells systemd, or whoever else started this and listens.
fn tell_supervisor(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!("cannot notify the supervisor: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_are_let_in_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket = StdUnixListener::bind(&path).unwrap();
        let waiting: Vec<_> =
            (0..100).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
        let (arrive, mut arrivals) = mpsc::channel(ARRIVALS);
        let (mut arrived, mut looks) = (Vec::new(), 0);
        let all_arrive = async {
            while arrived.len() < waiting.len() {
                arrivals.recv_many(&mut arrived, ARRIVALS).await;
                looks += 1;
            }
        };
        tokio::select! {
            _ = accept(socket, arrive) => panic!("it ends"),
            () = all_arrive => {}
        }
        assert!(looks < 5, "{looks} looks for {} connections", waiting.len());
    }
}
