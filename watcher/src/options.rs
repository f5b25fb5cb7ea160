//! Options of a watcher.

use std::path::PathBuf;
use std::time::Duration;

/// Options of a [`Watcher`](crate::Watcher).
#[derive(Clone, Debug)]
pub struct Options {
    /// Further directories to search for new emulators, besides those of
    /// [`capscache::find_emulators`].
    pub search: Vec<PathBuf>,
    /// Whether to probe again what was dropped, and to probe new emulators.
    pub rewarm: bool,
    /// The number of emulators that are probed at a time.
    pub jobs: usize,
    /// The time without further events after which a change is checked.
    pub debounce: Duration,
    /// The time after which a change is checked although events go on.
    pub max_delay: Duration,
    /// The interval of sweeps, which check everything, where not everything can be watched.
    pub sweep_interval: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            search: Vec::new(),
            rewarm: false,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            debounce: Duration::from_millis(200),
            max_delay: Duration::from_secs(2),
            sweep_interval: Duration::from_secs(30),
        }
    }
}
