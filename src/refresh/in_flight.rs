//! The probes of this process that are in flight: one per emulator.
//!
//! A probe runs on its own thread: a caller that gives up waiting, or whose thread ends,
//! does not stop it, and no caller needs a runtime. Between processes the entry's lock does the
//! same; the process that gets it second finds the entry that the first one wrote.

use std::collections::{BTreeMap, HashMap};
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
        // The thread of a probe that was in flight when this process was forked is in its parent alone.
        let is_own = |probe: &&Arc<InFlightProbe>| probe.process == std::process::id();
        if let Some(joined) = probes.get(emulator.as_os_str()).filter(is_own) {
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
    /// The process that has its thread.
    process: u32,
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<ProbeResult>,
    /// Those of futures that wait, by their numbers.
    wakers: BTreeMap<u64, Waker>,
    /// The number of the next future that waits.
    next: u64,
}

impl fmt::Debug for InFlightProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightProbe").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl InFlightProbe {
    fn new(groups: Groups) -> InFlightProbe {
        let process = std::process::id();
        InFlightProbe { groups, process, state: Mutex::default(), finished: Condvar::new() }
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
        Finished { probe: Arc::clone(self), number: None }
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
        wakers.into_values().for_each(Waker::wake);
    }
}

/// The result of a probe, as a future. Dropping it drops its waker, which may hold a descriptor.
pub(super) struct Finished {
    probe: Arc<InFlightProbe>,
    /// The number of its waker, once it waits.
    number: Option<u64>,
}

impl Drop for Finished {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.probe.state().wakers.remove(&number);
            // A waker may do anything when it is dropped: not while the state is locked.
            drop(waker);
        }
    }
}

impl Future for Finished {
    type Output = ProbeResult;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let probe = Arc::clone(&self.probe);
        let mut state = probe.state();
        if let Some(result) = &state.result {
            return Poll::Ready(result.clone());
        }
        let number = *self.number.get_or_insert(state.next);
        state.next = state.next.max(number + 1);
        let before = state.wakers.insert(number, context.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Wake;

    use super::*;

    struct Counted;

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }

    fn ended() -> ProbeResult {
        Err(Error::Thread { source: Arc::new(std::io::Error::other("it ended")) })
    }

    #[test]
    fn a_future_that_is_dropped_keeps_no_waker_and_the_others_are_woken() {
        let (in_flight, (end, ending)) = (InFlight::default(), mpsc::channel::<()>());
        let probe = move || {
            let _ = ending.recv();
            ended()
        };
        let (probe, _) = in_flight.join(Path::new("/emulator"), Groups::CORE, probe);
        let counted = Arc::new(Counted);
        let waker = Waker::from(Arc::clone(&counted));
        let mut context = Context::from_waker(&waker);
        let mut futures = [probe.finished(), probe.finished()];
        for future in &mut futures {
            assert!(Pin::new(&mut *future).poll(&mut context).is_pending());
            assert!(Pin::new(future).poll(&mut context).is_pending());
        }
        // Its own, the waker, and one for each future that waits.
        assert_eq!(Arc::strong_count(&counted), 4);
        let [dropped, mut kept] = futures;
        drop(dropped);
        assert_eq!(Arc::strong_count(&counted), 3);
        end.send(()).unwrap();
        assert!(probe.wait().is_err());
        assert!(Pin::new(&mut kept).poll(&mut context).is_ready());
    }

    #[test]
    fn a_probe_of_the_parent_process_is_not_joined() {
        let in_flight = InFlight::default();
        let inherited = Arc::new(InFlightProbe { process: 0, ..InFlightProbe::new(Groups::CORE) });
        in_flight.lock().insert("/emulator".into(), inherited);
        let (probe, is_started) = in_flight.join(Path::new("/emulator"), Groups::CORE, ended);
        assert!(is_started);
        assert!(probe.wait().is_err());
    }
}
