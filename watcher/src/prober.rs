//! Probing in the background.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capscache::{Cache, Capabilities, Dependency, Error, Groups, Lookup};

use crate::event_queue::{EventQueue, ProbeDone};
use crate::trust::check_probe;

/// The niceness of background probes: with it a probe still gets a tenth of a processor that another
/// process keeps busy. With 19 it would get a seventieth, and a start that takes longer than ten seconds
/// counts as a failure, which is reported to all users of the cache.
const NICENESS: i32 = 10;

/// An emulator to probe.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) emulator: Arc<Path>,
    pub(crate) groups: Groups,
    /// Files that it ran and loaded before.
    pub(crate) depends_on: Vec<Dependency>,
}

/// Runs a bounded number of jobs at a time, each on a thread of its own; the others wait.
#[derive(Debug)]
pub(crate) struct Prober {
    cache: Cache,
    queue: Arc<EventQueue>,
    max_running: usize,
    waiting: VecDeque<Job>,
    running: HashSet<Arc<Path>>,
}

impl Prober {
    pub(crate) fn new(cache: Cache, queue: Arc<EventQueue>, max_running: usize) -> Prober {
        let max_running = max_running.max(1);
        Prober { cache, queue, max_running, waiting: VecDeque::new(), running: HashSet::new() }
    }

    /// Probes an emulator when the next jobs are started. It must not be running now.
    pub(crate) fn queue(&mut self, job: Job) {
        self.cancel(&job.emulator);
        self.waiting.push_back(job);
    }

    /// Removes an emulator from the waiting jobs.
    pub(crate) fn cancel(&mut self, emulator: &Path) {
        self.waiting.retain(|job| &*job.emulator != emulator);
    }

    /// Returns whether an emulator is being probed.
    pub(crate) fn is_running(&self, emulator: &Path) -> bool {
        self.running.contains(emulator)
    }

    /// Records that a job is done, so that another one may be started.
    pub(crate) fn finish(&mut self, emulator: &Path) {
        self.running.remove(emulator);
    }

    /// Starts as many jobs as may run at a time.
    pub(crate) fn start(&mut self) {
        while self.running.len() < self.max_running {
            let Some(job) = self.waiting.pop_front() else { return };
            let emulator = Arc::clone(&job.emulator);
            self.running.insert(Arc::clone(&emulator));
            let (cache, queue) = (self.cache.clone(), Arc::clone(&self.queue));
            let began = std::thread::Builder::new()
                .name("capscache-warm".to_owned())
                .spawn(move || queue.push_probed(run(&cache, job)));
            if let Err(error) = began {
                let result = Err(format!("cannot start a thread for the probe: {error}"));
                let (is_refused, probed, took) = (false, false, Duration::ZERO);
                self.queue.push_probed(ProbeDone { emulator, result, is_refused, probed, took });
                return;
            }
        }
    }
}

fn run(cache: &Cache, job: Job) -> ProbeDone {
    lower_priority();
    let began = Instant::now();
    let mut probed = false;
    let trusted = check_probe(&job.emulator, &job.depends_on);
    let is_refused = trusted.is_err();
    let result = trusted
        .map_err(|untrusted| untrusted.to_string())
        .and_then(|_| probe(cache, &job, &mut probed));
    ProbeDone { emulator: job.emulator, result, is_refused, probed, took: began.elapsed() }
}

fn probe(cache: &Cache, job: &Job, probed: &mut bool) -> Result<Capabilities, String> {
    // An input changed since the failure: the caller has decided that another probe is worth it.
    cache.forget_failure(&job.emulator).map_err(|error| one_line(&error))?;
    *probed = !matches!(cache.lookup(&job.emulator), Ok(Lookup::Hit(_)));
    cache.get_with(&job.emulator, job.groups).map_err(|error| one_line(&error))
}

/// Raises the niceness of this thread. The threads and processes that it starts inherit it, and their
/// I/O priority follows: where none is set the kernel derives it from the niceness (`ioprio_set(2)`).
fn lower_priority() {
    // Of this thread alone (`setpriority(2)`, C library/kernel differences); a higher one stays.
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, now.max(NICENESS));
}

/// Formats an error with its causes, without the emulator, which the event names.
pub(crate) fn one_line(error: &Error) -> String {
    let outermost: &(dyn std::error::Error + 'static) = match error {
        Error::Probe { source, .. } => &**source,
        error => error,
    };
    let causes = std::iter::successors(Some(outermost), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ").replace('\n', " ")
}
