//! The thread that checks entries when events arrive.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use capscache::discovery::{files_that_may_run, find_emulators, search_directories};
use capscache::queue::ProbeQueue;
use capscache::trust::is_inaccessible;
use capscache::{Cache, Capabilities, Dependency, Error, Lookup, Stale, Validation};

use crate::event::{Event, Notice};
use crate::event_queue::{Batch, EventQueue, ProbeDone};
use crate::interest::{Interests, Subject, Subjects};
use crate::mounts::{MountTable, Mounts};
use crate::options::Options;
use crate::prober::{Job, Prober, one_line};
use crate::tracked::Tracked;
use crate::trust::check_probe;
use crate::watches::Watches;

/// Within this time of a file's change its entry is compared by content. One more check after it lets
/// the next lookup do without.
const SETTLE_TIME: Duration = Duration::from_millis(2100);

/// Bound on checks in a row because directories were not watched before. Directories that come and go
/// faster than they can be watched are checked after the debounce time.
const MAX_ROUNDS: usize = 8;

/// Keeps entries fresh, on one thread.
pub(crate) struct Refresher<S> {
    cache: Cache,
    options: Options,
    sink: S,
    queue: Arc<EventQueue>,
    watches: Watches,
    mounts: Mounts,
    prober: Prober,
    tracked: BTreeMap<Arc<Path>, Tracked>,
    /// Emulators in the search directories.
    found: HashSet<PathBuf>,
    /// Emulators that changed just now, and when their time stamps will be old enough to rely on.
    settling: HashMap<Arc<Path>, Instant>,
    /// Emulators that changed while they were probed.
    changed_in_probe: HashSet<Arc<Path>>,
    next_sweep: Option<Instant>,
    /// Wrappers to start at their next check: a sweep compares what they run.
    to_start: HashSet<Arc<Path>>,
    /// The reason for sweeps that was reported last.
    reported_unreliable: Option<String>,
}

impl<S: FnMut(Event)> Refresher<S> {
    pub(crate) fn new(
        cache: Cache,
        options: Options,
        queue: Arc<EventQueue>,
        sink: S,
    ) -> Refresher<S> {
        Refresher {
            watches: Watches::new(Arc::clone(&queue)),
            mounts: Mounts::new(),
            prober: Prober::new(cache.clone(), Arc::clone(&queue), ProbeQueue::new(options.jobs)),
            tracked: BTreeMap::new(),
            found: HashSet::new(),
            settling: HashMap::new(),
            changed_in_probe: HashSet::new(),
            next_sweep: None,
            to_start: HashSet::new(),
            reported_unreliable: None,
            cache,
            options,
            sink,
            queue,
        }
    }

    /// Runs until the queue is stopped.
    pub(crate) fn run(mut self) {
        self.initialize();
        while !self.queue.is_stopped() {
            let now = Instant::now();
            let batch = self.queue.take(now);
            let settled = self.settling.values().min().copied();
            let until = [batch.next, settled, self.next_sweep].into_iter().flatten().min();
            let due = self.due(batch, now);
            let is_idle = due.is_empty();
            self.check_all(due);
            // Only after all stale entries are dropped.
            self.prober.start();
            if is_idle {
                self.queue.wait(self.mounts.file(), until);
            }
        }
    }

    /// Checks everything once. Emulators that exist already are not reported as new, nor valid entries
    /// as refreshed.
    fn initialize(&mut self) {
        self.found = find_emulators(&self.options.search).into_iter().collect();
        for entry in self.cache.entries().into_iter().flatten().flatten() {
            self.tracked.insert(entry.emulator().into(), Tracked::valid(&entry));
        }
        self.track_fallbacks();
        self.check_all(self.everything());
        self.report_watching();
    }

    /// Returns the subjects to check now.
    fn due(&mut self, batch: Batch, now: Instant) -> Subjects {
        let mut subjects = batch.subjects;
        if batch.overflowed {
            // The removal of a watch may be among the dropped events.
            self.watches.forget(&[PathBuf::from("/")].into());
            self.report(Event::Notice(Notice::Overflow));
        }
        if !batch.lost.is_empty() {
            self.watches.forget(&batch.lost);
            let directories = batch.lost.into_iter().collect();
            self.report(Event::Notice(Notice::Lost { directories }));
        }
        if subjects.remove(&Subject::Mounts) && self.mounts.changed(&self.interests()) {
            self.report(Event::Notice(Notice::Mounted));
            subjects.insert(Subject::Everything);
        }
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.next_sweep = None;
            self.to_start = self.tracked.keys().cloned().collect();
            subjects.insert(Subject::Everything);
        }
        if subjects.remove(&Subject::Everything) {
            subjects.extend(self.everything());
        }
        self.settling.retain(|emulator, at| {
            let is_due = *at <= now;
            if is_due {
                subjects.insert(Subject::Emulator(Arc::clone(emulator)));
            }
            !is_due
        });
        for done in batch.probed {
            subjects.extend(self.finish_probe(done));
        }
        subjects
    }

    fn everything(&self) -> Subjects {
        let emulators = self.tracked.keys().cloned().map(Subject::Emulator);
        emulators.chain([Subject::Entries, Subject::Search]).collect()
    }

    /// Checks what is due, and what may have changed unnoticed before it was watched.
    fn check_all(&mut self, mut due: Subjects) {
        if due.is_empty() {
            return;
        }
        for _ in 0..MAX_ROUNDS {
            // First: a change after the check is an event then.
            due.extend(self.watch());
            if due.is_empty() {
                return;
            }
            let mut subjects: Vec<_> = due.drain().collect();
            subjects.sort();
            for subject in subjects {
                if self.queue.is_stopped() {
                    return;
                }
                match subject {
                    Subject::Entries => due.extend(self.read_entries()),
                    Subject::Search => self.search(),
                    Subject::Emulator(emulator) => self.check(&emulator),
                    Subject::Everything | Subject::Mounts => {}
                }
            }
        }
        self.queue.push(due);
    }

    /// Watches the dependencies of all tracked emulators; returns the subjects that may have changed
    /// unnoticed until now.
    fn watch(&mut self) -> Subjects {
        let table = MountTable::read();
        let interests = self.interests();
        self.mounts.remember(&table, &interests);
        let missed = self.watches.update(interests);
        self.schedule_sweep();
        missed
    }

    fn interests(&self) -> Interests {
        let mut subjects: HashMap<&Dependency, Subjects> = HashMap::new();
        for (emulator, tracked) in &self.tracked {
            for dependency in &tracked.depends_on {
                let dependents = subjects.entry(dependency).or_default();
                dependents.insert(Subject::Emulator(Arc::clone(emulator)));
            }
        }
        let mut interests = Interests::default();
        for (dependency, subjects) in subjects {
            match dependency {
                Dependency::File(path) => interests.add_file(path, &subjects),
                Dependency::Directory(path) => interests.add_directory(path, "", &subjects),
            }
        }
        interests.add_directory(self.cache.directory(), "", &[Subject::Entries].into());
        for directory in search_directories(&self.options.search) {
            interests.add_directory(&directory, "qemu-", &[Subject::Search].into());
        }
        interests
    }

    /// Reads the list of entries; returns those to check, because they were added, removed or replaced.
    fn read_entries(&mut self) -> Subjects {
        let mut due = Subjects::new();
        let entries = match self.cache.entries() {
            Ok(entries) => entries,
            Err(error) => {
                self.report(Event::Notice(Notice::Unreadable { reason: one_line(&error) }));
                return due;
            }
        };
        let mut missing: HashSet<_> = self.tracked.keys().cloned().collect();
        // A damaged entry counts as none.
        for entry in entries.into_iter().flatten() {
            let emulator: Arc<Path> = entry.emulator().into();
            missing.remove(&emulator);
            let mut now = Tracked::valid(&entry);
            let before = self.tracked.get(&emulator);
            if before.is_some_and(|before| before.is_unchanged(&now)) {
                continue;
            }
            // The check that follows decides whether it is valid.
            now.is_valid = before.is_some_and(|before| before.is_valid);
            self.tracked.insert(Arc::clone(&emulator), now);
            due.insert(Subject::Emulator(emulator));
        }
        missing.retain(|emulator| self.tracked.get(emulator).is_some_and(|one| one.is_valid));
        due.extend(missing.into_iter().map(Subject::Emulator));
        due
    }

    /// Tracks emulators whose answers come from a fallback root.
    fn track_fallbacks(&mut self) {
        for emulator in &self.found {
            if !self.tracked.contains_key(&**emulator)
                && let Ok(Lookup::Hit(hit)) = self.cache.lookup(emulator)
            {
                self.tracked.insert(emulator.as_path().into(), Tracked::valid(&hit));
            }
        }
    }

    /// Searches for emulators that did not exist before.
    fn search(&mut self) {
        let found = find_emulators(&self.options.search);
        let appeared: Vec<_> =
            found.iter().filter(|emulator| !self.found.contains(*emulator)).cloned().collect();
        self.found = found.into_iter().collect();
        self.track_fallbacks();
        for emulator in appeared {
            self.report(Event::Appeared { emulator: emulator.clone() });
            let emulator: Arc<Path> = emulator.into();
            if self.options.rewarm && !self.tracked.contains_key(&emulator) {
                self.tracked.insert(Arc::clone(&emulator), Tracked::unprobed(&emulator));
                self.queue_probe(&emulator);
            }
        }
    }

    /// Drops an entry that is stale. A sweep starts a wrapper to compare what it runs, if probing in the
    /// background is enabled and no other user could have written what that runs.
    fn drop_stale(&mut self, emulator: &Path) -> Result<Option<Stale>, Error> {
        let is_swept = self.to_start.remove(emulator);
        let depends_on = self.tracked.get(emulator).map(|tracked| &*tracked.depends_on);
        let may_start = is_swept
            && self.options.rewarm
            && check_probe(emulator, depends_on.unwrap_or_default()).is_ok();
        if may_start {
            self.cache.drop_stale(emulator, Validation::Start)
        } else {
            self.cache.drop_stale(emulator, Validation::Thorough)
        }
    }

    /// Checks the entry of an emulator: drops it, or reports that it was refreshed. An emulator that is
    /// being probed is checked afterwards.
    fn check(&mut self, emulator: &Arc<Path>) {
        if self.prober.is_running(emulator) {
            self.changed_in_probe.insert(Arc::clone(emulator));
            return;
        }
        let began = Instant::now();
        let found = self.drop_stale(emulator).and_then(|stale| match stale {
            Some(stale) => Ok(Err(stale.to_string())),
            None => Ok(match self.cache.lookup(emulator)? {
                Lookup::Hit(capabilities) => Ok(capabilities),
                Lookup::Stale { reason: stale, .. } => Err(stale.to_string()),
                _ => Err("the entry no longer exists".to_owned()),
            }),
        });
        match found {
            Ok(Ok(capabilities)) => {
                self.prober.cancel(emulator);
                if self.set_valid(emulator, &capabilities) {
                    self.report(Event::Refreshed {
                        emulator: emulator.to_path_buf(),
                        probed: false,
                        took: began.elapsed(),
                    });
                }
            }
            Ok(Err(reason)) => self.set_invalid(emulator, reason),
            Err(error) => self.set_invalid(emulator, one_line(&error)),
        }
    }

    /// Records that the answers are valid; returns whether that is a change.
    fn set_valid(&mut self, emulator: &Arc<Path>, capabilities: &Capabilities) -> bool {
        let now = Tracked::valid(capabilities);
        let before = self.tracked.get(emulator);
        let is_change = !before.is_some_and(|before| before.is_unchanged(&now));
        if is_change && now.is_racy() {
            self.settling.insert(Arc::clone(emulator), Instant::now() + SETTLE_TIME);
        }
        self.tracked.insert(Arc::clone(emulator), now);
        is_change
    }

    /// Records that there are no valid answers, reports it once, and queues a probe if that is enabled.
    fn set_invalid(&mut self, emulator: &Arc<Path>, reason: String) {
        let Some(tracked) = self.tracked.get_mut(emulator) else { return };
        if is_inaccessible(emulator) {
            // For other users, who may stat the emulator, the entry may be valid.
            tracked.is_valid = false;
            return;
        }
        if std::mem::replace(&mut tracked.is_valid, false) {
            self.report(Event::Dropped { emulator: emulator.to_path_buf(), reason });
        }
        if self.options.rewarm {
            self.queue_probe(emulator);
        } else if !self.has_entry(emulator) {
            // A later probe by another process makes an entry, which is an event.
            self.tracked.remove(emulator);
        }
    }

    /// Returns whether there is an entry at all: one that is stale for the host alone may become valid.
    fn has_entry(&self, emulator: &Path) -> bool {
        matches!(self.cache.lookup(emulator), Ok(Lookup::Hit(_) | Lookup::Stale { .. }))
    }

    /// Queues a probe in the background. An emulator that does not exist is probed when it appears.
    fn queue_probe(&mut self, emulator: &Arc<Path>) {
        let Some(tracked) = self.tracked.get(emulator) else { return };
        if !emulator.exists() {
            self.prober.cancel(emulator);
            return;
        }
        self.prober.queue(Job {
            emulator: Arc::clone(emulator),
            groups: tracked.groups,
            depends_on: tracked.depends_on.clone(),
        });
    }

    /// Handles the result of a probe; returns the subjects to check, because something may have changed
    /// meanwhile.
    fn finish_probe(&mut self, done: ProbeDone) -> Subjects {
        let ProbeDone { emulator, result, is_refused, probed, took } = done;
        self.prober.finish(&emulator);
        let was_changed = self.changed_in_probe.remove(&emulator);
        let path = emulator.to_path_buf();
        let subject = Subject::Emulator(Arc::clone(&emulator));
        match result {
            Ok(capabilities) => {
                self.set_valid(&emulator, &capabilities);
                if let Some(error) = capabilities.persist_error() {
                    let reason = format!("cannot store the answers: {}", one_line(error));
                    self.report(Event::Failed { emulator: path, reason });
                } else {
                    self.report(Event::Refreshed { emulator: path, probed, took });
                }
                [subject].into()
            }
            Err(reason) => {
                self.report(Event::Failed { emulator: path, reason });
                // A change of any of these justifies another probe.
                let reasons = match self.cache.lookup(&emulator) {
                    _ if is_refused => files_that_may_run(&emulator).0,
                    Ok(Lookup::Failed(failure)) => failure.depends_on,
                    _ => Vec::new(),
                };
                if let Some(tracked) = self.tracked.get_mut(&emulator) {
                    tracked.add_dependencies(reasons);
                }
                let mut due = self.watch();
                let is_unchanged = if is_refused {
                    let tracked = self.tracked.get(&emulator);
                    let ran_before = tracked.map(|tracked| &tracked.depends_on[..]);
                    check_probe(&emulator, ran_before.unwrap_or_default()).is_err()
                } else {
                    matches!(self.cache.lookup(&emulator), Ok(Lookup::Failed(_)))
                };
                if is_unchanged && !was_changed {
                    due.remove(&subject);
                } else {
                    due.insert(subject);
                }
                due
            }
        }
    }

    fn report(&mut self, event: Event) {
        (self.sink)(event);
    }

    fn report_watching(&mut self) {
        let entries = self.tracked.values().filter(|tracked| tracked.is_valid).count();
        let directories = self.watches.len();
        self.report(Event::Notice(Notice::Watching { entries, directories }));
    }

    /// Schedules a sweep where watches are unreliable, and reports when sweeps begin, end or get another
    /// reason.
    fn schedule_sweep(&mut self) {
        let unreliable = self.watches.unreliable();
        let every = self.options.sweep_interval;
        match &unreliable {
            Some(_) if self.next_sweep.is_none() => self.next_sweep = Some(Instant::now() + every),
            Some(_) => {}
            None => self.next_sweep = None,
        }
        let (directories, reason) = unreliable.unzip();
        if reason == self.reported_unreliable {
            return;
        }
        self.reported_unreliable.clone_from(&reason);
        match directories.zip(reason) {
            Some((directories, reason)) => {
                self.report(Event::Notice(Notice::Sweeping { directories, reason, every }));
            }
            None => self.report_watching(),
        }
    }
}
