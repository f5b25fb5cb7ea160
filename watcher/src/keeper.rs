//! What is known of the entries, and what is done when something happens.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use capscache::{
    Cache, Capabilities, Dependency, Error, Groups, Input, InputRef, Lookup, Stale, find_emulators,
    is_hidden, search_directories,
};

use crate::Options;
use crate::ear::{Ear, News};
use crate::event::{Event, Notice};
use crate::interest::{Interests, Subject, Subjects};
use crate::mounts::{Mounts, Table};
use crate::prober::{Done, Job, Prober, one_line};
use crate::trust::check_probe;
use crate::watches::Watches;

/// Within this time of a file's change its entry is compared by content. Then one more look lets the
/// next lookup do without.
const SETTLES: Duration = Duration::from_millis(2100);

/// How often in a row something may have escaped because directories were not watched yet. They come
/// and go faster than they can be watched then, and are looked at after a quiet moment.
const ROUNDS: usize = 8;

/// Keeps entries fresh, on one thread.
pub(crate) struct Keeper<S> {
    cache: Cache,
    options: Options,
    sink: S,
    ear: Arc<Ear>,
    watches: Watches,
    mounts: Mounts,
    prober: Prober,
    known: BTreeMap<Arc<Path>, Known>,
    /// Emulators in the search directories.
    found: HashSet<PathBuf>,
    /// Emulators that changed just now, and when they will be old enough to be relied on.
    settling: HashMap<Arc<Path>, Instant>,
    /// Emulators to which something happened while they were probed.
    touched_in_probe: HashSet<Arc<Path>>,
    next_sweep: Option<Instant>,
    /// Wrappers to start when they are next looked at: a sweep compares what they run.
    to_start: HashSet<Arc<Path>>,
    /// Why everything is looked at from time to time, as it was told.
    told_deaf: Option<String>,
}

/// What is known of one emulator that has an entry, had one, or is to get one.
struct Known {
    /// What its answers, or the failure to get them, depend on.
    depends_on: Vec<Dependency>,
    /// What was recorded of that.
    inputs: Vec<Input>,
    groups: Groups,
    /// Whether its answers hold, as far as was told.
    is_valid: bool,
}

impl Known {
    fn of(capabilities: &Capabilities) -> Known {
        Known {
            depends_on: capabilities.depends_on(),
            inputs: capabilities.inputs().map(InputRef::to_owned).collect(),
            groups: capabilities.groups(),
            is_valid: true,
        }
    }

    /// One that was never probed.
    fn missing(emulator: &Path) -> Known {
        Known {
            depends_on: vec![Dependency::File(emulator.to_owned())],
            inputs: Vec::new(),
            groups: Groups::CORE,
            is_valid: false,
        }
    }

    /// Learns what else the answers, or the failure to get them, depend on.
    fn depend_on(&mut self, more: Vec<Dependency>) {
        self.depends_on.extend(more);
        self.depends_on.sort();
        self.depends_on.dedup();
    }

    /// Whether the same was recorded, whatever the age of the files.
    fn records_the_same(&self, other: &Known) -> bool {
        let ageless = |input: &Input| Input { racy: false, ..input.clone() };
        self.inputs.iter().map(ageless).eq(other.inputs.iter().map(ageless))
    }
}

impl<S: FnMut(Event)> Keeper<S> {
    pub(crate) fn new(cache: Cache, options: Options, ear: Arc<Ear>, sink: S) -> Keeper<S> {
        Keeper {
            watches: Watches::new(Arc::clone(&ear)),
            mounts: Mounts::new(),
            prober: Prober::new(cache.clone(), Arc::clone(&ear), options.jobs),
            known: BTreeMap::new(),
            found: HashSet::new(),
            settling: HashMap::new(),
            touched_in_probe: HashSet::new(),
            next_sweep: None,
            to_start: HashSet::new(),
            told_deaf: None,
            cache,
            options,
            sink,
            ear,
        }
    }

    /// Works until the ear is told to stop.
    pub(crate) fn run(mut self) {
        self.begin();
        while !self.ear.is_stopped() {
            let now = Instant::now();
            let news = self.ear.take(now);
            let settled = self.settling.values().min().copied();
            let until = [news.next, settled, self.next_sweep].into_iter().flatten().min();
            let due = self.due(news, now);
            let is_idle = due.is_empty();
            self.work(due);
            // Not before everything is dropped that is to be dropped.
            self.prober.start();
            if is_idle {
                self.ear.wait(self.mounts.file(), until);
            }
        }
    }

    /// Looks at everything once. What is there already did not appear, and what holds already is no
    /// news.
    fn begin(&mut self) {
        self.found = find_emulators(&self.options.search).into_iter().collect();
        for entry in self.cache.entries().into_iter().flatten().flatten() {
            self.known.insert(entry.emulator().into(), Known::of(&entry));
        }
        self.find_in_fallbacks();
        self.work(self.everything());
        self.tell_watching();
    }

    /// What is to be looked at now.
    fn due(&mut self, news: News, now: Instant) -> Subjects {
        let mut subjects = news.subjects;
        if news.overflowed {
            // Among what was missed may be that a watch is gone.
            self.watches.lost(&[PathBuf::from("/")].into());
            self.tell(Event::Notice(Notice::Overflow));
        }
        if !news.lost.is_empty() {
            self.watches.lost(&news.lost);
            self.tell(Event::Notice(Notice::Lost { directories: news.lost.into_iter().collect() }));
        }
        if subjects.remove(&Subject::Mounts) && self.mounts.changed(&self.interests()) {
            self.tell(Event::Notice(Notice::Mounted));
            subjects.insert(Subject::Everything);
        }
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.next_sweep = None;
            self.to_start = self.known.keys().cloned().collect();
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
        for done in news.done {
            subjects.extend(self.probed(done));
        }
        subjects
    }

    fn everything(&self) -> Subjects {
        let emulators = self.known.keys().cloned().map(Subject::Emulator);
        emulators.chain([Subject::Entries, Subject::Search]).collect()
    }

    /// Looks at what is due, and at what may have escaped because it was not watched yet.
    fn work(&mut self, mut due: Subjects) {
        if due.is_empty() {
            return;
        }
        for _ in 0..ROUNDS {
            // First: what changes after the look is heard of.
            due.extend(self.watch());
            if due.is_empty() {
                return;
            }
            let mut subjects: Vec<_> = due.drain().collect();
            subjects.sort();
            for subject in subjects {
                if self.ear.is_stopped() {
                    return;
                }
                match subject {
                    Subject::Entries => due.extend(self.read_entries()),
                    Subject::Search => self.search(),
                    Subject::Emulator(emulator) => self.look_at(&emulator),
                    Subject::Everything | Subject::Mounts => {}
                }
            }
        }
        self.ear.touch(due);
    }

    /// Watches what is known now; whom it concerns that something may have escaped until now.
    fn watch(&mut self) -> Subjects {
        let table = Table::now();
        let interests = self.interests();
        self.mounts.remember(&table, &interests);
        let escaped = self.watches.follow(interests);
        self.tell_deaf();
        escaped
    }

    fn interests(&self) -> Interests {
        let mut subjects: HashMap<&Dependency, Subjects> = HashMap::new();
        for (emulator, known) in &self.known {
            for dependency in &known.depends_on {
                let concerned = subjects.entry(dependency).or_default();
                concerned.insert(Subject::Emulator(Arc::clone(emulator)));
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

    /// Learns which entries there are; those that are to be looked at, since they came, went or were
    /// replaced.
    fn read_entries(&mut self) -> Subjects {
        let mut due = Subjects::new();
        let entries = match self.cache.entries() {
            Ok(entries) => entries,
            Err(error) => {
                self.tell(Event::Notice(Notice::Unreadable { reason: one_line(&error) }));
                return due;
            }
        };
        let mut missing: HashSet<_> = self.known.keys().cloned().collect();
        // A damaged one is as good as none.
        for entry in entries.into_iter().flatten() {
            let emulator: Arc<Path> = entry.emulator().into();
            missing.remove(&emulator);
            let mut now = Known::of(&entry);
            let is_known = match self.known.get(&emulator) {
                Some(before) => before.is_valid && before.records_the_same(&now),
                None => false,
            };
            if is_known {
                continue;
            }
            // Whether it holds is seen in a moment.
            now.is_valid = self.known.get(&emulator).is_some_and(|before| before.is_valid);
            self.known.insert(Arc::clone(&emulator), now);
            due.insert(Subject::Emulator(emulator));
        }
        missing.retain(|emulator| self.known.get(emulator).is_some_and(|known| known.is_valid));
        due.extend(missing.into_iter().map(Subject::Emulator));
        due
    }

    /// Learns of emulators whose answers come from somewhere else than the root.
    fn find_in_fallbacks(&mut self) {
        for emulator in &self.found {
            if !self.known.contains_key(&**emulator)
                && let Ok(Lookup::Hit(hit)) = self.cache.lookup(emulator)
            {
                self.known.insert(emulator.as_path().into(), Known::of(&hit));
            }
        }
    }

    /// Looks for emulators that were not there before.
    fn search(&mut self) {
        let found = find_emulators(&self.options.search);
        let appeared: Vec<_> =
            found.iter().filter(|emulator| !self.found.contains(*emulator)).cloned().collect();
        self.found = found.into_iter().collect();
        self.find_in_fallbacks();
        for emulator in appeared {
            self.tell(Event::Appeared { emulator: emulator.clone() });
            let emulator: Arc<Path> = emulator.into();
            if self.options.rewarm && !self.known.contains_key(&emulator) {
                self.known.insert(Arc::clone(&emulator), Known::missing(&emulator));
                self.want(&emulator);
            }
        }
    }

    /// Drops an entry that is stale. A sweep starts a wrapper to see what it runs, if probing in the
    /// background is wanted and nobody else could have written what that runs.
    fn drop_stale(&mut self, emulator: &Path) -> Result<Option<Stale>, Error> {
        let is_swept = self.to_start.remove(emulator);
        let depends_on = self.known.get(emulator).map(|known| &*known.depends_on);
        let may_start = is_swept
            && self.options.rewarm
            && check_probe(emulator, depends_on.unwrap_or_default()).is_ok();
        if may_start {
            self.cache.drop_stale_starting(emulator)
        } else {
            self.cache.drop_stale(emulator)
        }
    }

    /// Looks at the entry of an emulator: drops it, or tells that it was refreshed. One that is being
    /// probed is looked at after that.
    fn look_at(&mut self, emulator: &Arc<Path>) {
        if self.prober.is_at(emulator) {
            self.touched_in_probe.insert(Arc::clone(emulator));
            return;
        }
        let began = Instant::now();
        let found = self.drop_stale(emulator).and_then(|stale| match stale {
            Some(stale) => Ok(Err(stale.to_string())),
            None => Ok(match self.cache.lookup(emulator)? {
                Lookup::Hit(capabilities) => Ok(capabilities),
                Lookup::Stale(stale) => Err(stale.to_string()),
                _ => Err("there is no entry any more".to_owned()),
            }),
        });
        match found {
            Ok(Ok(capabilities)) => {
                self.prober.no_more(emulator);
                if self.adopt(emulator, &capabilities) {
                    self.tell(Event::Refreshed {
                        emulator: emulator.to_path_buf(),
                        probed: false,
                        took: began.elapsed(),
                    });
                }
            }
            Ok(Err(reason)) => self.does_not_hold(emulator, reason),
            Err(error) => self.does_not_hold(emulator, one_line(&error)),
        }
    }

    /// Takes notice of answers that hold; whether that is news.
    fn adopt(&mut self, emulator: &Arc<Path>, capabilities: &Capabilities) -> bool {
        let now = Known::of(capabilities);
        let before = self.known.get(emulator);
        let is_news =
            !before.is_some_and(|before| before.is_valid && before.records_the_same(&now));
        if is_news && now.inputs.iter().any(|input| input.racy) {
            self.settling.insert(Arc::clone(emulator), Instant::now() + SETTLES);
        }
        self.known.insert(Arc::clone(emulator), now);
        is_news
    }

    /// There are no answers that hold, which is told once, and may be mended.
    fn does_not_hold(&mut self, emulator: &Arc<Path>, reason: String) {
        let Some(known) = self.known.get_mut(emulator) else { return };
        if is_hidden(emulator) {
            // Others may look at it, and for them the entry may hold.
            known.is_valid = false;
            return;
        }
        if std::mem::replace(&mut known.is_valid, false) {
            self.tell(Event::Dropped { emulator: emulator.to_path_buf(), reason });
        }
        if self.options.rewarm {
            self.want(emulator);
        } else if !self.has_entry(emulator) {
            // Whoever probes it makes an entry, and that is noticed.
            self.known.remove(emulator);
        }
    }

    /// Whether there is an entry at all: one that is stale for the host alone may hold again.
    fn has_entry(&self, emulator: &Path) -> bool {
        matches!(self.cache.lookup(emulator), Ok(Lookup::Hit(_) | Lookup::Stale(_)))
    }

    /// Probes an emulator in the background. One that is not there is awaited.
    fn want(&mut self, emulator: &Arc<Path>) {
        let Some(known) = self.known.get(emulator) else { return };
        if !emulator.exists() {
            self.prober.no_more(emulator);
            return;
        }
        self.prober.want(Job {
            emulator: Arc::clone(emulator),
            groups: known.groups,
            depends_on: known.depends_on.clone(),
        });
    }

    /// Takes notice of a probe; what is to be looked at: something may have changed meanwhile.
    fn probed(&mut self, done: Done) -> Subjects {
        let Done { emulator, result, is_refused, probed, took } = done;
        self.prober.ended(&emulator);
        let was_touched = self.touched_in_probe.remove(&emulator);
        let path = emulator.to_path_buf();
        let subject = Subject::Emulator(Arc::clone(&emulator));
        match result {
            Ok(capabilities) => {
                self.adopt(&emulator, &capabilities);
                if let Some(error) = capabilities.not_kept() {
                    let reason = format!("the answers could not be kept: {}", one_line(error));
                    self.tell(Event::Failed { emulator: path, reason });
                } else {
                    self.tell(Event::Refreshed { emulator: path, probed, took });
                }
                [subject].into()
            }
            Err(reason) => {
                self.tell(Event::Failed { emulator: path, reason });
                // The change of any of these is worth another try.
                let reasons = match self.cache.lookup(&emulator) {
                    _ if is_refused => Dependency::of_unprobed(&emulator).0,
                    Ok(Lookup::Failed(failure)) => failure.depends_on,
                    _ => Vec::new(),
                };
                if let Some(known) = self.known.get_mut(&emulator) {
                    known.depend_on(reasons);
                }
                let mut due = self.watch();
                let is_unchanged = if is_refused {
                    let ran_before = self.known.get(&emulator).map(|known| &known.depends_on[..]);
                    check_probe(&emulator, ran_before.unwrap_or_default()).is_err()
                } else {
                    matches!(self.cache.lookup(&emulator), Ok(Lookup::Failed(_)))
                };
                if is_unchanged && !was_touched {
                    due.remove(&subject);
                } else {
                    due.insert(subject);
                }
                due
            }
        }
    }

    fn tell(&mut self, event: Event) {
        (self.sink)(event);
    }

    fn tell_watching(&mut self) {
        let entries = self.known.values().filter(|known| known.is_valid).count();
        let directories = self.watches.len();
        self.tell(Event::Notice(Notice::Watching { entries, directories }));
    }

    /// Sees to it that everything is looked at from time to time where not everything is heard, and
    /// tells when that begins, changes and ends.
    fn tell_deaf(&mut self) {
        let deaf = self.watches.deaf();
        let every = self.options.sweep;
        match &deaf {
            Some(_) if self.next_sweep.is_none() => self.next_sweep = Some(Instant::now() + every),
            Some(_) => {}
            None => self.next_sweep = None,
        }
        let (directories, reason) = deaf.unzip();
        if reason == self.told_deaf {
            return;
        }
        self.told_deaf.clone_from(&reason);
        match directories.zip(reason) {
            Some((directories, reason)) => {
                self.tell(Event::Notice(Notice::Sweeping { directories, reason, every }));
            }
            None => self.tell_watching(),
        }
    }
}
