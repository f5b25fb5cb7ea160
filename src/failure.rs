//! Probes that failed, remembered: whoever asks next is told at once, instead of waiting for the
//! next failure.
//!
//! A failure lies in a file of its own beside the entry, which may still be good for less than was
//! asked for. It has the form of an entry without answers: what it depends on, and as one more input
//! when and why the probe failed.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use capscache_format::{Escaped, Group, Groups, Input, InputKind};

use crate::cache::Shared;
use crate::capabilities::Loaded;
use crate::host::boot_seconds;
use crate::input::is_as_recorded;
use crate::upkeep::Dependency;

/// What stands beside the groups if what was probed is no emulator.
const NO_EMULATOR: &str = "no-emulator";

/// A probe that failed, not long ago, of an emulator that did not change since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why, in one line.
    pub reason: String,
    /// Whether what is there is no emulator at all: see [`Error::is_no_emulator`].
    ///
    /// [`Error::is_no_emulator`]: crate::Error::is_no_emulator
    pub no_emulator: bool,
    /// What was asked for beside the core group: who asks for less may have more luck.
    pub groups: Groups,
    /// How long ago, in whole seconds.
    pub age: Duration,
    /// After how long it is tried again, if nothing changes before.
    pub retry_in: Duration,
    /// What is tried again when it changes.
    pub depends_on: Vec<Dependency>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (age, retry_in) = (self.age.as_secs(), self.retry_in.as_secs().max(1));
        write!(f, "{} ({age} s ago; tried again in {retry_in} s)", Escaped::new(&self.reason))
    }
}

impl Failure {
    /// What the inputs of a failure say; the value of that of [`InputKind::Failure`] has the second
    /// since boot, the groups, the reason. Beside the groups may stand that it was no emulator.
    fn of(inputs: &[Input], ttl: Duration) -> Option<Failure> {
        let input = inputs.iter().find(|input| input.kind == InputKind::Failure)?;
        let text = String::from_utf8_lossy(&input.value);
        let mut lines = text.splitn(3, '\n');
        let at: i64 = lines.next()?.parse().ok()?;
        let named = lines.next()?;
        let names = |name: &str| named.split(' ').any(|n| n == name);
        let groups = Group::ALL.iter().filter(|group| names(group.name()));
        let groups = groups.fold(Groups::CORE, |groups, group| groups | Groups::from(*group));
        // After a reboot the clock is behind, and what it says of the past is worth nothing.
        let age = Duration::from_secs(boot_seconds().checked_sub(at)?.try_into().ok()?);
        let retry_in = ttl.checked_sub(age).filter(|left| !left.is_zero())?;
        let reason = lines.next()?.to_owned();
        let (no_emulator, depends_on) = (names(NO_EMULATOR), Dependency::of(inputs));
        Some(Failure { reason, no_emulator, groups, age, retry_in, depends_on })
    }
}

impl Shared {
    /// The failure of an emulator's last probe, if it is still believed.
    pub(crate) fn failure(&self, emulator: &Path) -> Option<Failure> {
        let stored = self.store.read(&self.store.failure_path(emulator)).ok().flatten();
        let stored = stored.map(|stored| Arc::new(Loaded::new(stored, &self.host())));
        // What could not be written is in this process alone, whatever older one is on disk.
        let kept = || {
            let kept = self.failures.read().unwrap_or_else(PoisonError::into_inner);
            kept.get(emulator.as_os_str()).cloned()
        };
        let believed = |loaded: Option<Arc<Loaded>>| self.failure_in(&*loaded?);
        believed(stored).or_else(|| believed(kept()))
    }

    /// What a failure's file says, if it is still believed.
    pub(crate) fn failure_in(&self, loaded: &Loaded) -> Option<Failure> {
        let holds = loaded.inputs().iter().all(|input| is_as_recorded(input, &self.host()));
        let holds = holds && self.has_environment_of(loaded.inputs());
        Failure::of(loaded.inputs(), self.failure_ttl).filter(|_| holds)
    }
}

#[cfg(feature = "probe")]
mod remember {
    use std::time::{Instant, SystemTime};

    use capscache_format::{Entry, Model, Scope};
    use capscache_probe::{chain, module_directories_of};

    use super::*;
    use crate::error::Error;
    use crate::input::{
        is_doubtful, path_of, record_for_failure, record_modules_for_failure, record_value,
        sha256_of, stat, time_of_change,
    };
    use crate::map::Bytes;
    use crate::search::is_program;

    /// A probe that may fail: what it depends on, from before it.
    pub(crate) struct Attempt {
        began: SystemTime,
        /// By when all of it is to be over.
        deadline: Instant,
        inputs: Vec<Input>,
    }

    impl Shared {
        /// What a probe is about to depend on, of which an `older` entry may tell; `None` if nothing is
        /// there to be probed.
        pub(crate) fn attempt(&self, emulator: &Path, older: &[Input]) -> Option<Attempt> {
            let (began, deadline) = (time_of_change(), Instant::now() + self.limits.probe);
            let inputs = record_for_failure(emulator, older, &self.variables(), &self.host())?;
            Some(Attempt { began, deadline, inputs })
        }

        /// Remembers that a probe failed. Errors that say nothing of the emulator are not remembered,
        /// nor is a failure if what it depends on changed meanwhile.
        pub(crate) fn remember(
            &self,
            emulator: &Path,
            attempt: Attempt,
            groups: Groups,
            error: &Error,
        ) {
            if error.is_shortage() {
                return;
            }
            let reason = match error {
                Error::Probe { source, .. } => chain(&**source),
                Error::Model { source, .. } => chain(&**source),
                _ => return,
            };
            let Some(mut inputs) = self.inputs_of_failure(emulator, attempt) else { return };
            let mut names: Vec<_> = groups.iter().map(Group::name).collect();
            names.extend(error.is_no_emulator().then_some(NO_EMULATOR));
            let reason = reason.replace('\n', " ");
            let value = format!("{}\n{}\n{reason}", boot_seconds(), names.join(" "));
            inputs.push(record_value(InputKind::Failure, Scope::Binary, value.into_bytes()));
            let mut model = Model::default();
            model.inputs = inputs;
            let Ok(bytes) = model.encode() else { return };
            let path = self.store.failure_path(emulator);
            let written = self.fits(&path, &bytes).and_then(|()| self.store.write(&path, &bytes));
            if written.is_err()
                && let Ok(entry) = Entry::open(Bytes::in_memory(bytes))
            {
                let loaded = Arc::new(Loaded::in_memory(entry, &self.host()));
                let mut kept = self.failures.write().unwrap_or_else(PoisonError::into_inner);
                kept.insert(emulator.as_os_str().to_owned(), loaded);
            }
        }

        /// What a probe that failed depended on; `None` if any of it is not as it was before.
        ///
        /// What takes long to find is looked for only now: the digest, and where the emulator or what
        /// it names as a script looks for modules.
        fn inputs_of_failure(&self, emulator: &Path, attempt: Attempt) -> Option<Vec<Input>> {
            let Attempt { began, deadline, mut inputs } = attempt;
            let programs = |input: &&mut Input| {
                let is_file = input.value.is_empty();
                matches!(input.kind, InputKind::Emulator | InputKind::Route) && is_file
            };
            let mut directories = Vec::new();
            for program in inputs.iter_mut().filter(programs) {
                let path = path_of(program);
                directories.extend(module_directories_of(&path, deadline).unwrap_or_default());
                if program.kind == InputKind::Route && !is_program(&path) {
                    // Such as a log that a wrapper writes: what comes after the probe counts.
                    program.signature = stat(&path).ok();
                } else if path == emulator && program.sha256.is_none() {
                    program.sha256 = sha256_of(emulator).ok();
                }
            }
            let known = inputs.iter().filter(|input| input.kind == InputKind::Modules);
            let known: Vec<_> = known.map(path_of).collect();
            directories.retain(|directory| !known.contains(directory));
            directories.sort();
            directories.dedup();
            for directory in directories {
                let modules = record_modules_for_failure(&directory);
                if is_doubtful(&modules, began, &[]) {
                    return None;
                }
                inputs.push(modules);
            }
            let holds = inputs.iter().all(|input| is_as_recorded(input, &self.host()));
            holds.then_some(inputs)
        }

        /// Forgets that a probe failed.
        pub(crate) fn forget_failure(&self, emulator: &Path) -> Result<bool, Error> {
            let mut kept = self.failures.write().unwrap_or_else(PoisonError::into_inner);
            let kept = kept.remove(emulator.as_os_str()).is_some();
            Ok(self.store.remove(&self.store.failure_path(emulator))? || kept)
        }
    }
}
