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

use capscache_format::{Group, Groups, Input, InputKind};

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
        write!(f, "{} ({age} s ago; tried again in {retry_in} s)", self.reason)
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
        // Where nothing can be written, the newer one is in this process alone.
        let kept = || {
            let kept = self.failures.read().unwrap_or_else(PoisonError::into_inner);
            kept.get(emulator.as_os_str()).map(Arc::clone)
        };
        let believed = |loaded: Arc<Loaded>| self.failure_in(&loaded);
        stored.and_then(believed).or_else(|| kept().and_then(believed))
    }

    /// What a failure's file says, if it is still believed.
    pub(crate) fn failure_in(&self, loaded: &Loaded) -> Option<Failure> {
        let holds = loaded.inputs().iter().all(|input| is_as_recorded(input, &self.host()));
        Failure::of(loaded.inputs(), self.failure_ttl).filter(|_| holds)
    }
}

#[cfg(feature = "probe")]
mod remember {
    use std::os::unix::fs::PermissionsExt;

    use capscache_format::{Entry, Model, Scope};
    use capscache_probe::chain;

    use super::*;
    use crate::error::Error;
    use crate::input::{path_of, record_for_failure, sha256_of};
    use crate::map::Bytes;

    fn is_executable(path: &Path) -> bool {
        let status = std::fs::metadata(path);
        status.is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
    }

    impl Shared {
        /// Remembers that a probe failed, which began when the emulator and what it depends on were as
        /// in `before`; not if something moved since, nor errors that say nothing of the emulator.
        pub(crate) fn remember(
            &self,
            emulator: &Path,
            groups: Groups,
            error: &Error,
            before: Option<Vec<Input>>,
        ) {
            let reason = match error {
                Error::Probe { source, .. } => chain(&**source),
                Error::Model { source, .. } => chain(&**source),
                _ => return,
            };
            let after =
                record_for_failure(emulator, before.as_deref().unwrap_or(&[]), &self.host());
            let (Some(before), Some(mut inputs)) = (before, after) else { return };
            // What a script names and does not start may be a log that it writes.
            let may_change = |input: &Input| {
                input.kind == InputKind::Executable && !is_executable(&path_of(input))
            };
            let signatures = |inputs: &[Input]| -> Vec<_> {
                let kept = inputs.iter().filter(|input| !may_change(input));
                kept.map(|input| input.signature).collect()
            };
            if signatures(&before) != signatures(&inputs) {
                return;
            }
            if let Some(own) = inputs.first_mut() {
                own.sha256 = sha256_of(emulator).ok();
            }
            let mut names: Vec<_> = groups.iter().map(Group::name).collect();
            names.extend(error.is_no_emulator().then_some(NO_EMULATOR));
            let reason = reason.replace('\n', " ");
            let value = format!("{}\n{}\n{reason}", boot_seconds(), names.join(" "));
            inputs.push(Input {
                kind: InputKind::Failure,
                scope: Scope::Binary,
                name: Vec::new(),
                signature: None,
                sha256: None,
                value: value.into_bytes(),
                racy: false,
            });
            let mut model = Model::default();
            model.inputs = inputs;
            let Ok(bytes) = model.encode() else { return };
            if self.store.write(&self.store.failure_path(emulator), &bytes).is_err()
                && let Ok(entry) = Entry::open(Bytes::in_memory(bytes))
            {
                let loaded = Arc::new(Loaded::in_memory(entry, &self.host()));
                let mut kept = self.failures.write().unwrap_or_else(PoisonError::into_inner);
                kept.insert(emulator.as_os_str().to_owned(), loaded);
            }
        }

        /// Forgets that a probe failed.
        pub(crate) fn forget_failure(&self, emulator: &Path) -> Result<bool, Error> {
            let mut kept = self.failures.write().unwrap_or_else(PoisonError::into_inner);
            let kept = kept.remove(emulator.as_os_str()).is_some();
            Ok(self.store.remove(&self.store.failure_path(emulator))? || kept)
        }
    }
}
