//! The event loop: accepts connections, serves each in a task of its own, reports to the supervisor.
//!
//! One thread answers: a hit is a few system calls. What takes longer (comparing files, listing,
//! exporting) runs on tokio's blocking threads, and emulators are probed on threads of the library.

use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::rc::Rc;
use std::time::Duration;

use capscache::queue::Caller;
use capscache::{Cache, Escaped, chain};
use capscache_watcher::{Options as WatchOptions, Watcher};
use sd_notify::NotifyState;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info, warn};

use crate::backend::Backend;
use crate::connection::Connection;
use crate::error::Error;
use crate::events::Publisher;
use crate::limits::{Admission, Limits, THREADS};
use crate::listener::Listeners;
use crate::options::Options;
use crate::peer::Peer;
use crate::supervisor;

/// Time that calls in progress have to end after a signal to terminate.
const GRACE: Duration = Duration::from_millis(800);

/// Connections that are admitted at most before other tasks get a turn.
const ACCEPTED_AT_ONCE: usize = 128;

/// Pause after a failed `accept`: descriptors have to become free first.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Pause between two warnings that connections cannot be accepted.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Serves a cache until the process receives SIGTERM or SIGINT.
///
/// Listens on the sockets that a supervisor passed (`LISTEN_FDS`), else on that of `options`. Readiness,
/// state and watchdog are reported to `NOTIFY_SOCKET`. Blocks the calling thread.
///
/// # Errors
/// [`Error`] if the service cannot start. Later failures are logged, and end at most one connection.
pub fn serve(cache: Cache, options: &Options) -> Result<(), Error> {
    let start = |source| Error::Start { source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .build()
        .map_err(start)?;
    let listeners = {
        let _context = runtime.enter();
        Listeners::open(&options.socket)?
    };
    let served = LocalSet::new().block_on(&runtime, run(cache, &listeners, options));
    // What still runs is a probe without a caller, or a check on a file system that hangs.
    runtime.shutdown_background();
    served.map_err(start)
}

async fn run(cache: Cache, listeners: &Listeners, options: &Options) -> io::Result<()> {
    // Before readiness is reported: the supervisor may stop the service at once after that.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (close, closing) = watch::channel(false);
    let root = Escaped::new(cache.root()).to_string();
    let publisher = Publisher::new();
    let watcher = start_watcher(&cache, options, publisher.clone());
    let search = options.search.clone();
    let backend = Backend::new(cache, search, options.jobs, publisher, closing);
    let server = Server { backend: Rc::new(backend), limits: Limits::new() };
    let (sender, mut receiver) = mpsc::channel(ACCEPTED_AT_ONCE);
    let mut accepted = Vec::new();
    let mut accept_loops = JoinSet::new();
    for socket in &listeners.sockets {
        accept_loops.spawn_local(accept(socket.try_clone()?, sender.clone()));
    }
    info!("serving {root} at {}", listeners.description());
    supervisor::notify(&[NotifyState::Ready, NotifyState::Status("Serving")]);

    let mut connections = JoinSet::new();
    let mut watchdog = interval(supervisor::watchdog_interval());
    watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = receiver.recv_many(&mut accepted, ACCEPTED_AT_ONCE) => {
                accepted.drain(..).for_each(|stream| server.admit(stream, &mut connections));
            }
            Some(ended) = connections.join_next() => log_panic(ended),
            _ = watchdog.tick() => server.notify_state(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }

    supervisor::notify(&[NotifyState::Stopping, NotifyState::Status("Answering the last calls")]);
    accept_loops.abort_all();
    // Fails where no connection is left.
    let _ = close.send(true);
    let watcher = tokio::task::spawn_blocking(|| drop(watcher));
    let all_ended = async {
        while connections.join_next().await.is_some() {}
        // A watcher that panicked has ended as well.
        let _ = watcher.await;
    };
    match timeout(GRACE, all_ended).await {
        Ok(()) => info!("stopped"),
        Err(_) => {
            let (calls, limit_ms) = (server.limits.connections(), GRACE.as_millis());
            warn!(
                "cannot complete {calls} calls: they were not done {limit_ms} ms after the signal"
            );
        }
    }
    Ok(())
}

/// Starts to watch what entries depend on. Without a watcher answers are still correct, but no event is
/// published, and the first caller after a change waits for the probe.
fn start_watcher(cache: &Cache, options: &Options, publisher: Publisher) -> Option<Watcher> {
    let observer = options.observer.clone();
    let options = WatchOptions::new()
        .search(options.search.iter().cloned())
        .rewarm(options.rewarm)
        .jobs(options.jobs);
    let watcher = Watcher::start(cache.clone(), options, move |event| {
        publisher.publish(&event);
        observer.notify(&event);
    });
    watcher.inspect_err(|error| warn!("{}", chain(error))).ok()
}

/// State that admitting a connection needs.
struct Server {
    backend: Rc<Backend>,
    limits: Rc<Limits>,
}

impl Server {
    /// Serves one more connection, if the limits allow it.
    fn admit(&self, stream: UnixStream, connections: &mut JoinSet<()>) {
        let caller = match stream.peer_cred() {
            Ok(credentials) => Caller::new(credentials.uid()),
            Err(error) => return debug!("closed a connection without credentials: {error}"),
        };
        let Some(admission) = self.limits.admit(caller.uid, caller.is_privileged) else {
            return debug!("no more connections for the user {}", caller.uid);
        };
        Admission::limit_unread(&stream);
        let admission = Rc::new(admission);
        let peer = Peer::new(Rc::clone(&self.backend), caller, Rc::clone(&admission));
        let closing = self.backend.closing.clone();
        let connection = Connection { stream, peer, admission, closing };
        connections.spawn_local(async move {
            if let Err(why) = connection.serve().await {
                debug!("closed a connection of the user {}: {why}", caller.uid);
            }
        });
    }

    fn notify_state(&self) {
        let connections = self.limits.connections();
        let status = format!("Serving, {connections} connections");
        supervisor::notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
    }
}

/// Accepts connections for ever; an error of one `accept` does not end the loop.
async fn accept(socket: StdUnixListener, accepted: mpsc::Sender<UnixStream>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = UnixListener::from_std(socket)?;
    let mut logged = None::<Instant>;
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                if accepted.send(stream).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) => {
                if logged.is_none_or(|logged| logged.elapsed() > WARNING_INTERVAL) {
                    warn!("cannot accept a connection: {error}; retrying");
                    logged = Some(Instant::now());
                }
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        warn!("cannot serve a connection: {error}; please report it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_connections_are_accepted_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket = StdUnixListener::bind(&path).unwrap();
        let waiting: Vec<_> =
            (0..100).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
        let (sender, mut receiver) = mpsc::channel(ACCEPTED_AT_ONCE);
        let (mut accepted, mut rounds) = (Vec::new(), 0);
        let all_accepted = async {
            while accepted.len() < waiting.len() {
                receiver.recv_many(&mut accepted, ACCEPTED_AT_ONCE).await;
                rounds += 1;
            }
        };
        tokio::select! {
            _ = accept(socket, sender) => panic!("it ends"),
            () = all_accepted => {}
        }
        assert!(rounds < 5, "{rounds} rounds for {} connections", waiting.len());
    }
}
