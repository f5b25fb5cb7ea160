//! Keeps the entries of a cache fresh in the background.
//!
//! Lookups are correct without it: each checks what its answers depend on. With it no lookup waits for a
//! probe: an entry is dropped once a package manager has put the last file in place and, with
//! [`Options::rewarm`], probed again in the background.
//!
//! Directories are watched with inotify. Where that reports nothing, or not everything, a *sweep*
//! checks everything from time to time.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod event;
mod event_queue;
mod interest;
mod mounts;
mod options;
mod prober;
mod refresher;
mod tracked;
mod trust;
mod watches;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use capscache::Cache;

use crate::event_queue::EventQueue;
use crate::refresher::Refresher;

pub use event::{Event, Notice};
pub use options::Options;
pub use trust::check_probe;

/// The name of the thread of a watcher, which `/proc/PID/task/TID/comm` has: at most 15 bytes (`PR_SET_NAME`).
pub const THREAD_NAME: &str = "capscache-watch";

/// The error of [`Watcher::start`].
#[derive(Debug, thiserror::Error)]
#[error("cannot start the watcher: no descriptor or no thread is available")]
pub struct Error(#[from] io::Error);

/// Watches until it is dropped.
///
/// Dropping it waits for the check that is in progress, a matter of milliseconds, and not for probes:
/// they end by themselves, and other callers may be waiting for them.
#[derive(Debug)]
pub struct Watcher {
    queue: Arc<EventQueue>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch. `sink` receives the events, in order and on one thread, which does nothing
    /// else meanwhile; [`Notice::Watching`] comes when everything was checked once.
    ///
    /// # Errors
    /// [`Error`] if no descriptor or no thread is available. A directory that cannot be watched is not an
    /// error: sweeps check everything then, and `sink` receives [`Notice::Sweeping`].
    pub fn start(
        cache: Cache,
        options: Options,
        sink: impl FnMut(Event) + Send + 'static,
    ) -> Result<Watcher, Error> {
        let queue = Arc::new(EventQueue::new(options.debounce, options.max_delay)?);
        let refresher = Refresher::new(cache, options, Arc::clone(&queue), sink);
        let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned());
        let thread = Some(thread.spawn(move || refresher.run())?);
        Ok(Watcher { queue, thread })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.queue.stop();
        // A panic of the thread was reported on stderr, and nothing is left to stop.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
