//! Probing in the background.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use capscache::queue::{Caller, ProbeQueue, Slot, Turn};
use capscache::{Cache, Capabilities, Dependency, Error, Groups, Lookup, chain};

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

/// Runs jobs, each on a thread of its own, when a [`ProbeQueue`] has a slot for them.
#[derive(Debug)]
pub(crate) struct Prober {
    cache: Cache,
    events: Arc<EventQueue>,
    queue: ProbeQueue,
    waiting: HashMap<Arc<Path>, (Job, Turn)>,
    running: HashSet<Arc<Path>>,
    /// Slots for waiting jobs, by emulator.
    slots: Receiver<(Arc<Path>, Slot)>,
    slot_sender: Sender<(Arc<Path>, Slot)>,
}

impl Prober {
    pub(crate) fn new(cache: Cache, events: Arc<EventQueue>, queue: ProbeQueue) -> Prober {
        let (slot_sender, slots) = channel();
        let (waiting, running) = (HashMap::new(), HashSet::new());
        Prober { cache, events, queue, waiting, running, slots, slot_sender }
    }

    /// Probes an emulator when the next jobs are started. It must not be running now.
    pub(crate) fn queue(&mut self, job: Job) {
        self.cancel(&job.emulator);
        let (emulator, sender) = (Arc::clone(&job.emulator), self.slot_sender.clone());
        let begin = move |slot| drop(sender.send((emulator, slot)));
        let turn = self.queue.wait(Caller::own(), begin);
        let turn = turn.expect("the number of probes of the own user is not limited");
        self.waiting.insert(Arc::clone(&job.emulator), (job, turn));
    }

    /// Removes an emulator from the waiting jobs.
    pub(crate) fn cancel(&mut self, emulator: &Path) {
        self.waiting.remove(emulator);
    }

    /// Returns whether an emulator is being probed.
    pub(crate) fn is_running(&self, emulator: &Path) -> bool {
        self.running.contains(emulator)
    }

    /// Records that a job is done.
    pub(crate) fn finish(&mut self, emulator: &Path) {
        self.running.remove(emulator);
    }

    /// Starts the jobs that have a slot.
    pub(crate) fn start(&mut self) {
        while let Ok((emulator, slot)) = self.slots.try_recv() {
            // The slot of a job that was cancelled is free again.
            let Some((job, _)) = self.waiting.remove(&emulator) else { continue };
            self.running.insert(Arc::clone(&emulator));
            let (cache, events) = (self.cache.clone(), Arc::clone(&self.events));
            let work = move || {
                let done = run(&cache, job);
                drop(slot);
                events.push_probed(done);
            };
            let thread = std::thread::Builder::new().name("capscache-warm".to_owned());
            if let Err(error) = thread.spawn(work) {
                let result = Err(format!("cannot start a thread for the probe: {error}"));
                let (is_refused, probed, took) = (false, false, Duration::ZERO);
                self.events.push_probed(ProbeDone { emulator, result, is_refused, probed, took });
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

/// Returns an error with its causes in one line, without the emulator, which the event names.
pub(crate) fn one_line(error: &Error) -> String {
    match error {
        Error::Probe { source, .. } => chain(&**source),
        error => chain(error),
    }
}
