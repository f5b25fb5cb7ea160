//! A handle on a guest that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::block_on::{block_on, block_on_for};
use super::end::End;
use super::timing::Timing;
use crate::process::Exit;
use crate::qmp::{Event, QmpError};
use crate::scope::Placement;

/// The time that dropping a handle may block.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

/// A request to the runner of a guest.
pub(super) enum Request {
    /// Let the guest shut down.
    Shutdown,
    /// End the emulator.
    Quit,
    /// Kill the emulator.
    Kill,
    /// Query the flags of the first CPU.
    CpuFlags(oneshot::Sender<Result<BTreeMap<String, bool>, QueryError>>),
}

/// Error of a query of a guest that runs.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The guest has ended.
    #[error("the guest has ended")]
    Ended,
    /// The emulator did not answer.
    #[error("cannot query the emulator")]
    Monitor(#[from] QmpError),
    /// The emulator did not answer in time.
    #[error("the emulator did not answer within {} s", limit.as_secs())]
    TimedOut {
        /// The time that it had.
        limit: Duration,
    },
}

/// A guest that runs. Dropping it kills the emulator.
///
/// Each call that waits has an async counterpart, which works on any executor.
#[derive(Debug)]
pub struct Running {
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) end: watch::Receiver<Option<End>>,
    pub(super) pid: i32,
    pub(super) timing: Timing,
    pub(super) placement: Placement,
}

impl Running {
    /// The number of the emulator's process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The time that each step of the start took.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The control group of the guest.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Waits for the next event, and blocks the thread. `None` when the guest has ended and all events were returned.
    pub fn next_event(&mut self) -> Option<Event> {
        block_on(self.next_event_async())
    }

    /// Waits for the next event. `None` when the guest has ended and all events were returned.
    ///
    /// The first 1024 events that were not taken are kept; [`Event::missed`] counts those that were dropped. Cancelling loses nothing.
    pub async fn next_event_async(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Presses the power button of the guest (ACPI). If it does not shut down before the deadline, the emulator is
    /// ended. Returns at once.
    pub fn shutdown(&self) {
        // It fails if the guest has ended.
        let _ = self.requests.send(Request::Shutdown);
    }

    /// Ends the emulator without the guest's doing, as if its power failed. Returns at once.
    pub fn quit(&self) {
        let _ = self.requests.send(Request::Quit);
    }

    /// Waits for the end of the guest, and blocks the thread.
    pub fn wait(&self) -> End {
        block_on(self.wait_async())
    }

    /// Waits for the end of the guest. Its files are removed then. Cancelling loses nothing.
    pub async fn wait_async(&self) -> End {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        let ended = ended.ok().and_then(|end| end.clone());
        ended.unwrap_or(End::Exited { exit: Exit::Unknown, output: String::new() })
    }

    /// Queries the flags of the guest's first CPU, on or off by name, and blocks the thread.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn cpu_flags(&self) -> Result<BTreeMap<String, bool>, QueryError> {
        block_on(self.cpu_flags_async())
    }

    /// Queries the flags of the guest's first CPU, on or off by name: its boolean properties in QEMU. Takes some
    /// hundred queries, so a start does not do it.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn cpu_flags_async(&self) -> Result<BTreeMap<String, bool>, QueryError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::CpuFlags(reply)).map_err(|_| QueryError::Ended)?;
        answer.await.unwrap_or(Err(QueryError::Ended))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.requests.send(Request::Kill).is_ok() {
            block_on_for(self.wait_async(), DROP_TIMEOUT);
        }
    }
}
