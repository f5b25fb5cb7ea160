//! What the service does for its callers: entries, probed if need be and if the caller may have that.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::{Discriminant, discriminant};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use capscache::{Cache, Capabilities, Groups, Lookup, finds_emulator};
use capscache_watcher::Event;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};
use tokio::sync::watch;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::events::Events;
use super::limits::Place;
use super::local::{Local, is_local};
use super::permission::{self, Caller};
use super::probes::{Probes, Slot};
use crate::interface::{Error, Outcome, Warmed};
use crate::output;
use crate::warm::{Looked, look};

/// How long files are looked at for one call, or are waited for because of others of its user.
const PATIENCE: Duration = Duration::from_secs(120);

/// What no probe takes, together with waiting for one of another process, unless a file system hangs.
const OVERDUE: Duration = Duration::from_secs(180);

/// A probe that all wait for who asked for the same one before it began.
type Probing = LocalBoxFuture<'static, Result<Capabilities, Error>>;

/// Who asks, for which emulator, and for what of it.
type Asked = (u32, PathBuf, Groups);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) cache: Cache,
    /// Where emulators are looked for beside the usual places.
    search: Vec<PathBuf>,
    local: Local,
    probes: Rc<Probes>,
    /// The probes that have not begun.
    queued: Rc<RefCell<HashMap<Asked, WeakShared<Probing>>>>,
    unkept: Rc<Unkept>,
    pub(super) events: Events,
    /// Whether the service is about to end.
    pub(super) closing: watch::Receiver<bool>,
}

/// The kinds of reasons for which entries are not kept now, each of which was logged.
#[derive(Debug, Default)]
struct Unkept(RefCell<HashSet<(Discriminant<capscache::Error>, Option<io::ErrorKind>)>>);

impl Service {
    /// A service that runs so many probes at a time.
    pub(super) fn new(
        cache: Cache,
        search: Vec<PathBuf>,
        jobs: usize,
        events: Events,
        closing: watch::Receiver<bool>,
    ) -> Service {
        Service {
            cache,
            search,
            local: Local::new(),
            probes: Probes::new(jobs),
            queued: Rc::default(),
            unkept: Rc::default(),
            events,
            closing,
        }
    }

    /// A valid entry with all `groups`. Answered at once if it is ready; otherwise nothing that takes
    /// time is done on this thread, and an emulator is probed if the caller may have that done.
    ///
    /// Giving up waiting leaves a probe that has begun to finish.
    pub(super) async fn obtain(
        &self,
        caller: Caller,
        place: &Place,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        if self.local.has(emulator)
            && let Some(hit) = self.cache.ready(emulator, groups)
        {
            return Ok(hit);
        }
        // Until what it depends on now was looked at.
        self.local.note(emulator, false);
        if let Some((hit, is_local)) = self.look(caller, place, emulator, groups).await? {
            self.local.note(emulator, is_local);
            return Ok(hit);
        }
        self.probe(caller, emulator, groups).await
    }

    /// The entry, if it is good once values are compared, and whether it is local; `None` if the emulator
    /// is to be probed.
    async fn look(
        &self,
        caller: Caller,
        place: &Place,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Option<(Capabilities, bool)>, Error> {
        let (cache, search, emulator) =
            (self.cache.clone(), self.search.clone(), emulator.to_owned());
        let look = move || {
            let looked = match cache.ready(&emulator, groups) {
                Some(hit) => Ok(Lookup::Hit(hit)),
                None => cache.lookup(&emulator),
            };
            match looked {
                Ok(Lookup::Hit(hit)) if hit.has(groups) => {
                    let is_local = is_local(&emulator, &hit);
                    return Ok(Some((hit, is_local)));
                }
                Ok(Lookup::Failed(failure)) if !caller.is_privileged => {
                    let path = emulator.clone();
                    return Err(error(capscache::Error::Failed { path, failure }, &emulator));
                }
                _ => {}
            }
            if !caller.is_privileged {
                let is_known = match &looked {
                    Ok(Lookup::Hit(_) | Lookup::Stale(_)) => true,
                    Ok(_) => false,
                    Err(error) => error.is_damage(),
                };
                may_be_probed(&cache, &emulator, is_known, &search)?;
            }
            Ok(None)
        };
        blocking(place, look).await
    }

    /// Has an emulator probed when it is the caller's turn. Whether the caller may have that was looked at
    /// before.
    async fn probe(
        &self,
        caller: Caller,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        let asked = (caller.uid, emulator.to_owned(), groups);
        let joined = self.queued.borrow().get(&asked).and_then(WeakShared::upgrade);
        match joined {
            Some(probe) => probe.await,
            None => self.queue(caller, asked)?.await,
        }
    }

    fn queue(&self, caller: Caller, asked: Asked) -> Result<Shared<Probing>, Error> {
        let begins = self.probes.queue(caller).map_err(|_| {
            let emulator = asked.1.to_string_lossy().into_owned();
            let reason = "too many probes of this user wait already: ask again when some are over";
            Error::ProbeFailed { emulator, reason: reason.to_owned() }
        })?;
        let (queued, key) = (Rc::clone(&self.queued), asked.clone());
        let (_, emulator, groups) = asked;
        let (cache, events) = (self.cache.clone(), self.events.clone());
        let unkept = Rc::clone(&self.unkept);
        let entry = key.clone();
        let probe = async move {
            let slot = begins.await.expect("whoever waits keeps the queue");
            queued.borrow_mut().remove(&key);
            // A task of its own, so that a caller who goes leaves the probe its place.
            let probe = spawn_local(async move {
                let result = run(slot, cache, emulator.clone(), groups).await?;
                match &result {
                    Ok(entry) => unkept.note(entry),
                    // What succeeds, the watcher sees.
                    Err(error @ capscache::Error::Probe { .. }) => {
                        let reason = output::chain(error);
                        events.tell(&Event::Failed { emulator: emulator.clone(), reason });
                    }
                    Err(_) => {}
                }
                result.map_err(|source| error(source, &emulator))
            });
            probe.await.unwrap_or_else(|broken| Err(broke_off(&broken)))
        };
        let probe = probe.boxed_local().shared();
        let mut queued = self.queued.borrow_mut();
        queued.retain(|_, probe| probe.upgrade().is_some());
        queued.extend(probe.downgrade().map(|probe| (entry, probe)));
        Ok(probe)
    }

    /// Warms one emulator, looking thoroughly, and trying again what failed before.
    pub(super) async fn warm(
        &self,
        caller: Caller,
        place: &Place,
        emulator: &Path,
        groups: Groups,
    ) -> Warmed {
        let began = Instant::now();
        let (cache, path) = (self.cache.clone(), emulator.to_owned());
        let looked = blocking(place, move || {
            look(&cache, &path, groups).map_err(|source| error(source, &path))
        });
        let result = match looked.await {
            Ok(Looked::Cached(_)) => Ok(Outcome::Cached),
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

/// Probes an emulator, unless somebody else had that done meanwhile, and frees the place for it.
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
            slot.is_overdue();
            probe.await
        }
    };
    probed.map_err(|broken| broke_off(&broken))
}

impl Unkept {
    /// Logs why an entry could not be kept, unless that is known; what is kept makes it news again.
    fn note(&self, entry: &Capabilities) {
        let mut known = self.0.borrow_mut();
        let Some(why) = entry.not_kept() else { return known.clear() };
        let kind = match why {
            capscache::Error::Entry { source, .. } => Some(source.kind()),
            _ => None,
        };
        if known.insert((discriminant(why), kind)) {
            let why = output::chain(why);
            warn!("answers cannot be kept, and are not for others of this kind either: {why}");
        }
    }
}

/// Does what may take time, on a thread that is there for that. One that a file system keeps is left to it.
pub(super) async fn blocking<T: Send + 'static>(
    place: &Place,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = async {
        let permit = place.work().await;
        let work = move || {
            let result = work();
            drop(permit);
            result
        };
        spawn_blocking(work).await.unwrap_or_else(|broken| Err(broke_off(&broken)))
    };
    timeout(PATIENCE, done).await.unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        let reason = format!("nothing was found out within {seconds} s: does a file system hang?");
        Err(Error::CacheUnusable { reason })
    })
}

fn broke_off(broken: &tokio::task::JoinError) -> Error {
    Error::CacheUnusable { reason: broken.to_string() }
}

/// Refuses what an unprivileged caller may not have probed: what nobody privileged had probed before
/// and `warm --all` would not find, and what somebody else than root could have written.
fn may_be_probed(
    cache: &Cache,
    emulator: &Path,
    is_known: bool,
    search: &[PathBuf],
) -> Result<(), Error> {
    if !is_known && !finds_emulator(emulator, search) {
        let emulator = emulator.display();
        let reason = format!(
            "{emulator} is not known, and not among the emulators that are looked for: only root \
             and the service's own user have it probed"
        );
        return Err(Error::NotPermitted { reason });
    }
    permission::check(cache, emulator).map_err(|why| {
        let reason = format!("{why}; only root and the service's own user have it probed");
        Error::NotPermitted { reason }
    })
}

/// What an error of the library is to a caller.
pub(super) fn error(source: capscache::Error, emulator: &Path) -> Error {
    let reason = output::chain(&source);
    let emulator = emulator.to_string_lossy().into_owned();
    match source {
        capscache::Error::Emulator { source, .. } => {
            let source = source.to_string();
            let reason = output::without_number(&source).to_owned();
            Error::NoSuchEmulator { emulator, reason }
        }
        source if source.is_no_emulator() => Error::NotAnEmulator { emulator, reason },
        capscache::Error::Probe { .. }
        | capscache::Error::Failed { .. }
        | capscache::Error::Changing { .. }
        | capscache::Error::Model { .. } => Error::ProbeFailed { emulator, reason },
        _ => Error::CacheUnusable { reason },
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
