//! Options of a watcher.

use std::path::PathBuf;
use std::time::Duration;

/// Options of a [`Watcher`](crate::Watcher).
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) search: Vec<PathBuf>,
    pub(crate) rewarm: bool,
    pub(crate) jobs: usize,
    pub(crate) debounce: Duration,
    pub(crate) max_delay: Duration,
    pub(crate) sweep_interval: Duration,
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

impl Options {
    /// The default options: nothing is probed in the background.
    pub fn new() -> Options {
        Options::default()
    }

    /// Searches further directories for new emulators, besides those of [`capscache::discovery::find_emulators`].
    #[must_use]
    pub fn search(mut self, directories: impl IntoIterator<Item = PathBuf>) -> Options {
        self.search.extend(directories);
        self
    }

    /// Sets whether emulators whose entries were dropped, and new ones, are probed in the background.
    #[must_use]
    pub fn rewarm(mut self, rewarm: bool) -> Options {
        self.rewarm = rewarm;
        self
    }

    /// Probes at most this many emulators at a time: as many as there are processors by default.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Options {
        self.jobs = jobs;
        self
    }

    /// Sets the time without further events after which a change is checked: 200 ms by default.
    #[must_use]
    pub fn debounce(mut self, time: Duration) -> Options {
        self.debounce = time;
        self
    }

    /// Sets the time after which a change is checked although events go on: 2 s by default.
    #[must_use]
    pub fn max_delay(mut self, time: Duration) -> Options {
        self.max_delay = time;
        self
    }

    /// Sets the interval of sweeps, which check everything where not everything can be watched: 30 s by
    /// default.
    #[must_use]
    pub fn sweep_interval(mut self, interval: Duration) -> Options {
        self.sweep_interval = interval;
        self
    }
}
