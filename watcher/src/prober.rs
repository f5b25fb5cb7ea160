//! Probing in the background.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capscache::{Cache, Capabilities, Dependency, Error, Groups, Lookup};

use crate::ear::Ear;
use crate::trust::check_probe;

/// How much a background probe gives way to others: with this niceness it still gets a tenth of a
/// processor that somebody else keeps busy. With 19 it would get a seventieth, and a start that takes
/// longer than ten seconds counts as a failure, which others would be told of.
const NICENESS: i32 = 10;

/// An emulator that is to be probed.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) emulator: Arc<Path>,
    pub(crate) groups: Groups,
    /// What it ran and loaded before.
    pub(crate) depends_on: Vec<Dependency>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) emulator: Arc<Path>,
    /// The answers, or why there are none, in one line.
    pub(crate) result: Result<Capabilities, String>,
    /// Whether nothing was run, for somebody else could have written it.
    pub(crate) is_refused: bool,
    /// Whether it was this probe: somebody else may have been faster.
    pub(crate) probed: bool,
    pub(crate) took: Duration,
}

/// Some jobs at a time, each on a thread of its own; the others wait.
#[derive(Debug)]
pub(crate) struct Prober {
    cache: Cache,
    ear: Arc<Ear>,
    at_a_time: usize,
    waiting: VecDeque<Job>,
    running: HashSet<Arc<Path>>,
}

impl Prober {
    pub(crate) fn new(cache: Cache, ear: Arc<Ear>, at_a_time: usize) -> Prober {
        let at_a_time = at_a_time.max(1);
        Prober { cache, ear, at_a_time, waiting: VecDeque::new(), running: HashSet::new() }
    }

    /// Probes an emulator when the next ones are started. It must not be probed now.
    pub(crate) fn want(&mut self, job: Job) {
        self.no_more(&job.emulator);
        self.waiting.push_back(job);
    }

    /// Nobody needs an emulator to be probed any more.
    pub(crate) fn no_more(&mut self, emulator: &Path) {
        self.waiting.retain(|job| &*job.emulator != emulator);
    }

    /// Whether an emulator is being probed.
    pub(crate) fn is_at(&self, emulator: &Path) -> bool {
        self.running.contains(emulator)
    }

    /// A job is done, and another one may be started.
    pub(crate) fn ended(&mut self, emulator: &Path) {
        self.running.remove(emulator);
    }

    /// Starts as many jobs as there may be at a time.
    pub(crate) fn start(&mut self) {
        while self.running.len() < self.at_a_time {
            let Some(job) = self.waiting.pop_front() else { return };
            let emulator = Arc::clone(&job.emulator);
            self.running.insert(Arc::clone(&emulator));
            let (cache, ear) = (self.cache.clone(), Arc::clone(&self.ear));
            let began = std::thread::Builder::new()
                .name("capscache-warm".to_owned())
                .spawn(move || ear.probed(run(&cache, job)));
            if let Err(error) = began {
                let result = Err(format!("cannot start a thread for the probe: {error}"));
                let (is_refused, probed, took) = (false, false, Duration::ZERO);
                self.ear.probed(Done { emulator, result, is_refused, probed, took });
                return;
            }
        }
    }
}

fn run(cache: &Cache, job: Job) -> Done {
    give_way();
    let began = Instant::now();
    let mut probed = false;
    let trusted = check_probe(&job.emulator, &job.depends_on);
    let is_refused = trusted.is_err();
    let result = trusted
        .map_err(|untrusted| untrusted.to_string())
        .and_then(|_| probe(cache, &job, &mut probed));
    Done { emulator: job.emulator, result, is_refused, probed, took: began.elapsed() }
}

fn probe(cache: &Cache, job: &Job, probed: &mut bool) -> Result<Capabilities, String> {
    // Something changed since it failed: that it is worth another try is why this is called.
    cache.forget_failure(&job.emulator).map_err(|error| one_line(&error))?;
    *probed = !matches!(cache.lookup(&job.emulator), Ok(Lookup::Hit(_)));
    cache.get_with(&job.emulator, job.groups).map_err(|error| one_line(&error))
}

/// Lets others go first. The threads and processes that this thread starts take it over, and so does
/// what they read and write: without a priority of its own the kernel derives that from the niceness
/// (`ioprio_set(2)`).
fn give_way() {
    // Of this thread alone (`setpriority(2)`, C library/kernel differences); the nicer stays as it is.
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, now.max(NICENESS));
}

/// An error with its causes; the emulator is named beside it.
pub(crate) fn one_line(error: &Error) -> String {
    let outermost: &(dyn std::error::Error + 'static) = match error {
        Error::Probe { source, .. } => &**source,
        error => error,
    };
    let causes = std::iter::successors(Some(outermost), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ").replace('\n', " ")
}
