//! Keeps the entries of a cache fresh before anyone asks.
//!
//! Lookups are right without it: each looks at what its answers depend on. With it nobody waits for a
//! probe: what a package manager replaces is dropped when the last file is in place and, if told so,
//! probed again in the background.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod ear;
mod event;
mod interest;
mod keeper;
mod mounts;
mod prober;
mod route;
mod trust;
mod watches;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use capscache::Cache;

use crate::ear::Ear;
use crate::keeper::Keeper;

pub use event::{Event, Notice};
pub use trust::{Untrusted, check_probe, check_trusted};

/// What a watcher may be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Further directories where new emulators are looked for, beside those of
    /// [`capscache::find_emulators`].
    pub search: Vec<PathBuf>,
    /// Whether to probe again what was dropped, and to probe what appears.
    pub rewarm: bool,
    /// How many emulators are probed at a time.
    pub jobs: usize,
    /// How long nothing must happen before what happened is looked at.
    pub quiet: Duration,
    /// How long something may go on happening before it is looked at nevertheless.
    pub at_most: Duration,
    /// How often everything is looked at where not everything can be watched.
    pub sweep: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            search: Vec::new(),
            rewarm: false,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            quiet: Duration::from_millis(200),
            at_most: Duration::from_secs(2),
            sweep: Duration::from_secs(30),
        }
    }
}

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot start to watch: no descriptor or no thread is to be had")]
pub struct Error(#[from] io::Error);

/// Watches until it is dropped.
///
/// Dropping it waits until what is being looked at was looked at, a matter of milliseconds, and not
/// for probes: they end by themselves, and others may be waiting for them.
#[derive(Debug)]
pub struct Watcher {
    ear: Arc<Ear>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch. `sink` is told what happens, in order and from one thread, which does nothing
    /// else meanwhile; [`Notice::Watching`] comes when everything was looked at once.
    ///
    /// # Errors
    /// [`Error`] if there is no descriptor or no thread to be had. What cannot be watched is no error:
    /// everything is looked at from time to time then, and `sink` is told.
    pub fn start(
        cache: Cache,
        options: Options,
        sink: impl FnMut(Event) + Send + 'static,
    ) -> Result<Watcher, Error> {
        let ear = Arc::new(Ear::new(options.quiet, options.at_most)?);
        let keeper = Keeper::new(cache, options, Arc::clone(&ear), sink);
        let thread = std::thread::Builder::new().name("capscache-watch".to_owned());
        let thread = Some(thread.spawn(move || keeper.run())?);
        Ok(Watcher { ear, thread })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.ear.stop();
        // If it panicked, that was told on stderr, and there is nothing left to stop.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
