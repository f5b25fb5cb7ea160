//! Probes for answers that no valid entry has: one probe per emulator at a time, whichever threads and
//! processes request it, and an update of the entry with its result.

mod cause;
mod failures;
mod in_flight;
mod library_path;
pub mod queue;
mod record;
mod revalidate;
mod shortage;
mod start_check;
mod update;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capscache_format::Groups;
use capscache_probe::{Limits, Options};

use crate::capabilities::Capabilities;
use crate::entries::Entries;
use crate::error::Error;

use self::in_flight::{InFlight, InFlightProbe};
pub use self::revalidate::Revalidated;

/// The time that another process's probe is waited for beyond [`Limits::probe`]: its last emulator may take three seconds
/// to quit, and two more once it is killed; then the entry is written.
const LOCK_MARGIN: Duration = Duration::from_secs(10);

/// Fills the entries of one cache.
#[derive(Debug)]
pub(crate) struct Refresher {
    entries: Arc<Entries>,
    in_flight: InFlight,
    settings: Settings,
}

/// The part of a cache's configuration that probes depend on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) writable: Vec<PathBuf>,
}

impl Refresher {
    pub(crate) fn new(entries: Arc<Entries>, settings: Settings) -> Refresher {
        Refresher { entries, in_flight: InFlight::default(), settings }
    }

    /// See [`Cache::get_with`](crate::Cache::get_with).
    pub(crate) fn get_with(
        self: &Arc<Self>,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        let mut waited = false;
        loop {
            if let Some(hit) = self.try_get(emulator, groups) {
                return Ok(hit);
            }
            let (probe, is_own) = self.join(emulator, groups);
            let result = probe.wait();
            if is_answer(&probe, groups, is_own || waited, &result) {
                return result;
            }
            waited = true;
        }
    }

    /// See [`Cache::get_with_async`](crate::Cache::get_with_async).
    pub(crate) async fn get_with_async(
        self: &Arc<Self>,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        let mut waited = false;
        loop {
            if let Some(hit) = self.try_get(emulator, groups) {
                return Ok(hit);
            }
            let (probe, is_own) = self.join(emulator, groups);
            let result = probe.finished().await;
            if is_answer(&probe, groups, is_own || waited, &result) {
                return result;
            }
            waited = true;
        }
    }

    /// See [`Cache::try_get`](crate::Cache::try_get).
    pub(crate) fn try_get(&self, emulator: &Path, groups: Groups) -> Option<Capabilities> {
        let hit = self.entries.hit(emulator).or_else(|| self.entries.open_unchanged(emulator));
        hit.filter(|hit| hit.has(groups))
    }

    /// The probe of an emulator that is in flight, started if there is none, and whether it was started.
    fn join(self: &Arc<Self>, emulator: &Path, groups: Groups) -> (Arc<InFlightProbe>, bool) {
        let (this, path) = (Arc::clone(self), emulator.to_owned());
        self.in_flight.join(emulator, groups, move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                this.get_or_probe(&path, groups)
            }));
            this.in_flight.remove(&path);
            result.unwrap_or_else(|_| Err(Error::Abandoned { path }))
        })
    }

    /// The options of every probe of this cache. Nothing is written outside of the root.
    fn probe_options(&self) -> Options {
        let (settings, of_entries) = (self.settings.clone(), self.entries.settings.clone());
        Options::new()
            .limits(settings.limits)
            .run_as(of_entries.run_as)
            .temporary(self.entries.store.directory())
            .environment(of_entries.environment)
            .writable(settings.writable)
    }
}

/// Returns whether the result of a probe, good or bad, answers a caller that requested `groups`. A probe for
/// fewer groups does not; and one that was in flight before the request may report an earlier state: its
/// answers have to be unchanged.
fn is_answer(
    probe: &InFlightProbe,
    groups: Groups,
    is_later: bool,
    result: &Result<Capabilities, Error>,
) -> bool {
    let is_unchanged = || result.as_ref().map_or(true, |answers| answers.0.is_unchanged());
    groups.without(probe.groups()).is_core() && (is_later || is_unchanged())
}
