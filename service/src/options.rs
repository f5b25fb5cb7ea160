//! Options of the service.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use capscache_watcher::Event;

/// The socket of the service, the directories that it searches for emulators, and the number of probes at a time.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) socket: PathBuf,
    pub(crate) search: Vec<PathBuf>,
    pub(crate) rewarm: bool,
    pub(crate) jobs: usize,
    pub(crate) observer: Observer,
}

/// A function that is called for each event of the watcher.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&Event) + Send + Sync>);

impl Observer {
    pub(crate) fn notify(&self, event: &Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl Options {
    /// Listens on `socket` if no supervisor passes sockets (`LISTEN_FDS`); probes as many emulators at a
    /// time as there are processors, since each is probed under two accelerators at once.
    pub fn new(socket: impl Into<PathBuf>) -> Options {
        let jobs = available_parallelism().map_or(1, usize::from);
        let observer = Observer(Arc::new(|_| ()));
        Options { socket: socket.into(), search: Vec::new(), rewarm: false, jobs, observer }
    }

    /// Searches further directories for emulators, beside those of [`capscache::discovery::find_emulators`].
    #[must_use]
    pub fn search(mut self, directories: impl IntoIterator<Item = PathBuf>) -> Options {
        self.search.extend(directories);
        self
    }

    /// Probes in the background what has become stale and what appears.
    #[must_use]
    pub fn rewarm(mut self, rewarm: bool) -> Options {
        self.rewarm = rewarm;
        self
    }

    /// Probes at most this many emulators at a time.
    #[must_use]
    pub fn jobs(mut self, jobs: NonZeroUsize) -> Options {
        self.jobs = jobs.get();
        self
    }

    /// Calls a function for each event of the watcher, on the watcher's thread: it must not block.
    #[must_use]
    pub fn on_event(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Options {
        self.observer = Observer(Arc::new(observer));
        self
    }
}
