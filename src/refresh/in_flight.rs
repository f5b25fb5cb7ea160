//! The probes of this process that are in flight: one per emulator.
//!
//! A probe runs on its own thread: a caller that gives up waiting, or whose thread ends,
//! does not stop it, and no caller needs a runtime. Between processes the entry's lock does the
//! same; the process that gets it second finds the entry that the first one wrote.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use capscache_format::Groups;

use crate::capabilities::Capabilities;
use crate::error::Error;

type ProbeResult = Result<Capabilities, Error>;

/// The probes that are in flight, by emulator.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<OsString, Arc<InFlightProbe>>>);

impl InFlight {
    /// The probe of an emulator, started if there is none, and whether it was started. `probe` runs on a
    /// thread of its own and has to [remove](InFlight::remove) the probe before it returns.
    pub(super) fn join(
        &self,
        emulator: &Path,
        groups: Groups,
        probe: impl FnOnce() -> ProbeResult + Send + 'static,
    ) -> (Arc<InFlightProbe>, bool) {
        let mut probes = self.lock();
        if let Some(joined) = probes.get(emulator.as_os_str()) {
            return (Arc::clone(joined), false);
        }
        let started = Arc::new(InFlightProbe::new(groups));
        probes.insert(emulator.as_os_str().to_owned(), Arc::clone(&started));
        drop(probes);
        let finishing = Arc::clone(&started);
        let thread = std::thread::Builder::new().name("capscache".to_owned());
        if let Err(source) = thread.spawn(move || finishing.finish(probe())) {
            // Another caller may have joined already.
            self.remove(emulator);
            started.finish(Err(Error::Thread { source: Arc::new(source) }));
        }
        (started, true)
    }

    /// Removes the probe of an emulator: later callers start another one.
    pub(super) fn remove(&self, emulator: &Path) {
        self.lock().remove(emulator.as_os_str());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OsString, Arc<InFlightProbe>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One probe and the callers that wait for it.
pub(super) struct InFlightProbe {
    groups: Groups,
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<ProbeResult>,
    wakers: Vec<Waker>,
}

impl fmt::Debug for InFlightProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightProbe").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl InFlightProbe {
    fn new(groups: Groups) -> InFlightProbe {
        InFlightProbe { groups, state: Mutex::default(), finished: Condvar::new() }
    }

    /// The groups that it fills beside the core group.
    pub(super) fn groups(&self) -> Groups {
        self.groups
    }

    /// Waits for the result and blocks the thread.
    pub(super) fn wait(&self) -> ProbeResult {
        let mut state = self.state();
        loop {
            if let Some(result) = &state.result {
                return result.clone();
            }
            state = self.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the result without blocking a thread.
    pub(super) fn finished(self: &Arc<Self>) -> Finished {
        Finished(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, result: ProbeResult) {
        let wakers = {
            let mut state = self.state();
            state.result = Some(result);
            std::mem::take(&mut state.wakers)
        };
        self.finished.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The result of a probe, as a future.
pub(super) struct Finished(Arc<InFlightProbe>);

impl Future for Finished {
    type Output = ProbeResult;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state();
        match &state.result {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}
