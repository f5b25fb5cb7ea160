//! What the service does for its callers: entries, probed if need be and if the caller may have that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use capscache::{Cache, Capabilities, Groups, Lookup, finds_emulator};
use capscache_watcher::Event;
use tokio::sync::{Semaphore, watch};

use super::events::Events;
use super::limits::Place;
use super::permission::{self, Caller};
use crate::interface::{Error, Outcome, Warmed};
use crate::output;
use crate::warm::{Looked, look};

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) cache: Cache,
    /// Where emulators are looked for beside the usual places.
    pub(super) search: Vec<PathBuf>,
    /// Probes that may run at a time.
    pub(super) probes: Arc<Semaphore>,
    pub(super) events: Events,
    /// Whether the service is about to end.
    pub(super) closing: watch::Receiver<bool>,
}

impl Service {
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
        if let Some(hit) = self.cache.ready(emulator, groups) {
            return Ok(hit);
        }
        if let Some(hit) = self.look(caller, place, emulator, groups).await? {
            return Ok(hit);
        }
        self.probe(emulator, groups).await
    }

    /// The entry, if it is good once values are compared; `None` if the emulator is to be probed.
    async fn look(
        &self,
        caller: Caller,
        place: &Place,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Option<Capabilities>, Error> {
        let (cache, search, emulator) =
            (self.cache.clone(), self.search.clone(), emulator.to_owned());
        let look = move || {
            let looked = cache.lookup(&emulator);
            match looked {
                Ok(Lookup::Hit(hit)) if hit.has(groups) => return Ok(Some(hit)),
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

    /// Has an emulator probed, whoever asks for it: the caller was looked at before.
    async fn probe(&self, emulator: &Path, groups: Groups) -> Result<Capabilities, Error> {
        let permit = Arc::clone(&self.probes).acquire_owned().await;
        let permit = permit.expect("no semaphore is ever closed");
        let (cache, events, path) = (self.cache.clone(), self.events.clone(), emulator.to_owned());
        // A task of its own, so that a caller who goes leaves the probe its permit.
        let probe = async move {
            if let Some(hit) = cache.ready(&path, groups) {
                // Somebody else had it probed meanwhile.
                return Ok(hit);
            }
            let result = cache.get_with_async(&path, groups).await;
            drop(permit);
            // What succeeds, the watcher sees.
            if let Err(error @ capscache::Error::Probe { .. }) = &result {
                events.tell(&Event::Failed { emulator: path, reason: output::chain(error) });
            }
            result
        };
        match tokio::spawn(probe).await {
            Ok(result) => result.map_err(|source| error(source, emulator)),
            Err(broken) => Err(Error::CacheUnusable { reason: broken.to_string() }),
        }
    }

    /// Warms one emulator, looking thoroughly, and trying again what failed before.
    pub(super) async fn warm(&self, place: &Place, emulator: &Path, groups: Groups) -> Warmed {
        let began = Instant::now();
        let (cache, path) = (self.cache.clone(), emulator.to_owned());
        let looked = blocking(place, move || {
            look(&cache, &path, groups).map_err(|source| error(source, &path))
        });
        let result = match looked.await {
            Ok(Looked::Cached(_)) => Ok(Outcome::Cached),
            Ok(_) => self.probe(emulator, groups).await.map(|_| Outcome::Probed),
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

/// Does what may take time, on a thread that is there for that.
pub(super) async fn blocking<T: Send + 'static>(
    place: &Place,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let permit = place.work().await;
    let work = move || {
        let result = work();
        drop(permit);
        result
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|broken| Err(Error::CacheUnusable { reason: broken.to_string() }))
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
