//! Entries for callers: from the cache, or probed where the caller has permission.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::{Discriminant, discriminant};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use capscache::discovery::finds_emulator;
use capscache::queue::{Caller, ProbeQueue, Slot};
use capscache::{Cache, Capabilities, Escaped, Groups, Lookup, Revalidated, chain};
use capscache_watcher::Event;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::convert;
use crate::events::Publisher;
use crate::interface::{Error, Outcome, Warmed};
use crate::limits::Admission;
use crate::local_files::{LocalFiles, is_local};
use crate::permission;

/// Time of a blocking call, with waiting for others of its user.
const BLOCKING_TIMEOUT: Duration = Duration::from_secs(120);

/// Time that no probe takes, with waiting for those of two other processes, unless a file system hangs.
const OVERDUE: Duration = Duration::from_secs(240);

/// Slots beyond those of all users, for root and the service's own user.
const RESERVED: usize = 1;

/// A queued probe, shared by all calls for it.
type QueuedProbe = LocalBoxFuture<'static, Result<Capabilities, Error>>;

/// The uid of a caller, the emulator and the groups.
type ProbeKey = (u32, PathBuf, Groups);

/// State that all connections share.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) cache: Cache,
    /// Directories where emulators are searched beside the usual ones.
    search: Vec<PathBuf>,
    local_files: LocalFiles,
    probe_queue: ProbeQueue,
    /// Probes that have not begun.
    queued: Rc<RefCell<HashMap<ProbeKey, WeakShared<QueuedProbe>>>>,
    persist_errors: Rc<PersistErrors>,
    pub(crate) publisher: Publisher,
    /// Becomes true when the service ends.
    pub(crate) closing: watch::Receiver<bool>,
}

/// The kinds of errors for which entries are not written at present, each of which was logged.
#[derive(Debug, Default)]
struct PersistErrors(RefCell<HashSet<(Discriminant<capscache::Error>, Option<io::ErrorKind>)>>);

impl Backend {
    /// Runs at most `jobs` probes at a time, and one more of root's.
    pub(crate) fn new(
        cache: Cache,
        search: Vec<PathBuf>,
        jobs: usize,
        publisher: Publisher,
        closing: watch::Receiver<bool>,
    ) -> Backend {
        Backend {
            cache,
            search,
            local_files: LocalFiles::new(),
            probe_queue: ProbeQueue::new(jobs).reserve(RESERVED),
            queued: Rc::default(),
            persist_errors: Rc::default(),
            publisher,
            closing,
        }
    }

    /// Returns a valid entry with all `groups`: a hit whose files are local at once, otherwise after a check
    /// on another thread or, if the caller has permission, a probe.
    ///
    /// Cancelling does not stop a probe that has begun.
    pub(crate) async fn get(
        &self,
        caller: Caller,
        admission: &Admission,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        if self.local_files.has(emulator)
            && let Some(hit) = self.cache.try_get(emulator, groups)
        {
            return Ok(hit);
        }
        // Until the files that it depends on now were checked.
        self.local_files.record(emulator, false);
        if let Some((hit, is_local)) = self.check(caller, admission, emulator, groups).await? {
            self.local_files.record(emulator, is_local);
            return Ok(hit);
        }
        self.probe(caller, emulator, groups).await
    }

    /// Returns an entry that is valid once values are compared, and whether its files are local; `None` if
    /// the emulator is to be probed.
    async fn check(
        &self,
        caller: Caller,
        admission: &Admission,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Option<(Capabilities, bool)>, Error> {
        let (cache, search, emulator) =
            (self.cache.clone(), self.search.clone(), emulator.to_owned());
        let check = move || {
            let lookup = match cache.try_get(&emulator, groups) {
                Some(hit) => Ok(Lookup::Hit(hit)),
                None => cache.lookup(&emulator),
            };
            match lookup {
                Ok(Lookup::Hit(hit)) if hit.has(groups) => {
                    let is_local = is_local(&emulator, &hit);
                    return Ok(Some((hit, is_local)));
                }
                Ok(Lookup::Failed(failure)) if !caller.is_privileged => {
                    let path = emulator.clone();
                    let failed = capscache::Error::Failed { path, failure };
                    return Err(convert::error(failed, &emulator));
                }
                _ => {}
            }
            if !caller.is_privileged {
                let is_known = match &lookup {
                    Ok(Lookup::Hit(_) | Lookup::Stale { .. }) => true,
                    Ok(_) => false,
                    Err(error) => error.is_damage(),
                };
                check_permission(&cache, &emulator, is_known, &search)?;
            }
            Ok(None)
        };
        run_blocking(admission, check).await
    }

    /// Probes an emulator when it is the caller's turn. The permission was checked before.
    async fn probe(
        &self,
        caller: Caller,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        let key = (caller.uid, emulator.to_owned(), groups);
        let queued = self.queued.borrow().get(&key).and_then(WeakShared::upgrade);
        match queued {
            Some(probe) => probe.await,
            None => self.queue(caller, key)?.await,
        }
    }

    fn queue(&self, caller: Caller, key: ProbeKey) -> Result<Shared<QueuedProbe>, Error> {
        let (_, emulator, groups) = key.clone();
        let (begin, begins) = oneshot::channel();
        let turn = self.probe_queue.wait(caller, move |slot| drop(begin.send(slot)));
        let turn = turn.map_err(|too_many| {
            let emulator = emulator.to_string_lossy().into_owned();
            Error::ProbeFailed { emulator, reason: too_many.to_string() }
        })?;
        let (queued, queued_key) = (Rc::clone(&self.queued), key.clone());
        let (cache, publisher) = (self.cache.clone(), self.publisher.clone());
        let persist_errors = Rc::clone(&self.persist_errors);
        let probe = async move {
            let slot = begins.await.expect("the backend keeps the queue");
            drop(turn);
            queued.borrow_mut().remove(&queued_key);
            // A task of its own, so that cancelling a call does not free the slot of a running probe.
            let probe = spawn_local(async move {
                let result = run(slot, cache, emulator.clone(), groups).await?;
                match &result {
                    Ok(entry) => persist_errors.log(entry),
                    // The watcher publishes those that succeed.
                    Err(error @ capscache::Error::Probe { .. }) => {
                        let reason = chain(error);
                        publisher.publish(&Event::Failed { emulator: emulator.clone(), reason });
                    }
                    Err(_) => {}
                }
                result.map_err(|source| convert::error(source, &emulator))
            });
            probe.await.unwrap_or_else(|error| Err(panicked(&error)))
        };
        let probe = probe.boxed_local().shared();
        let mut queued = self.queued.borrow_mut();
        queued.retain(|_, probe| probe.upgrade().is_some());
        queued.extend(probe.downgrade().map(|probe| (key, probe)));
        Ok(probe)
    }

    /// Warms one emulator, after a thorough check, even if the last probe failed.
    pub(crate) async fn warm(
        &self,
        caller: Caller,
        admission: &Admission,
        emulator: &Path,
        groups: Groups,
    ) -> Warmed {
        let began = Instant::now();
        let (cache, path) = (self.cache.clone(), emulator.to_owned());
        let checked = run_blocking(admission, move || {
            cache.revalidate(&path, groups).map_err(|source| convert::error(source, &path))
        });
        let result = match checked.await {
            Ok(Revalidated::Valid(_)) => Ok(Outcome::Cached),
            Ok(_) => self.probe(caller, emulator, groups).await.map(|_| Outcome::Probed),
            Err(error) => Err(error),
        };
        let (outcome, reason) = match result {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::Failed, Some(error.to_string())),
        };
        Warmed {
            emulator: emulator.to_string_lossy().into_owned(),
            outcome,
            milliseconds: milliseconds(began),
            reason,
        }
    }
}

/// Probes an emulator, unless another process did so meanwhile, and frees the slot.
async fn run(
    mut slot: Slot,
    cache: Cache,
    emulator: PathBuf,
    groups: Groups,
) -> Result<Result<Capabilities, capscache::Error>, Error> {
    let mut probe = pin!(spawn_blocking(move || cache.get_with(&emulator, groups)));
    let probed = tokio::select! {
        probed = &mut probe => probed,
        () = sleep(OVERDUE) => {
            slot.set_overdue();
            probe.await
        }
    };
    probed.map_err(|error| panicked(&error))
}

impl PersistErrors {
    /// Logs why an entry could not be written, once for each kind of error until one is written again.
    fn log(&self, entry: &Capabilities) {
        let mut logged = self.0.borrow_mut();
        let Some(error) = entry.persist_error() else { return logged.clear() };
        let kind = match error {
            capscache::Error::Entry { source, .. } => Some(source.kind()),
            _ => None,
        };
        if logged.insert((discriminant(error), kind)) {
            let why = chain(error);
            warn!("cannot store the answers: {why}; further errors of this kind are not logged");
        }
    }
}

/// Runs what may take time on a blocking thread. After the timeout the thread is left to the file system
/// that blocks it.
pub(crate) async fn run_blocking<T: Send + 'static>(
    admission: &Admission,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = async {
        let permit = admission.blocking_call().await;
        let work = move || {
            let result = work();
            drop(permit);
            result
        };
        spawn_blocking(work).await.unwrap_or_else(|error| Err(panicked(&error)))
    };
    timeout(BLOCKING_TIMEOUT, done).await.unwrap_or_else(|_| {
        let seconds = BLOCKING_TIMEOUT.as_secs();
        let reason = format!("no result within {seconds} s; check for a file system that hangs");
        Err(Error::CacheUnusable { reason })
    })
}

fn panicked(error: &JoinError) -> Error {
    Error::CacheUnusable { reason: error.to_string() }
}

/// Refuses an emulator that an unprivileged caller may not have probed: one that has no entry and that
/// `warm --all` would not find, and one that another user than root could have written.
fn check_permission(
    cache: &Cache,
    emulator: &Path,
    is_known: bool,
    search: &[PathBuf],
) -> Result<(), Error> {
    if !is_known && !finds_emulator(emulator, search) {
        let emulator = Escaped::new(emulator);
        let reason = format!(
            "{emulator} is not known, and not among the emulators in the search directories: only root \
             and the service's own user may have it probed"
        );
        return Err(Error::NotPermitted { reason });
    }
    permission::check(cache, emulator).map_err(|why| {
        let reason = format!("{why}; only root and the service's own user may have it probed");
        Error::NotPermitted { reason }
    })
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
