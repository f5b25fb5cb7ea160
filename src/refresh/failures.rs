//! Remembers failed probes, with the inputs that they depend on.

use std::path::Path;
use std::time::{Instant, SystemTime};

use capscache_format::{Entry, Evidence, FailureRecord, Groups, Input, InputKind, Model, Scope};
use capscache_probe::module_directories_of;

use super::update::refuse_over_limit;
use super::{Refresher, cause};
use crate::capabilities::Loaded;
use crate::error::{Error, chain};
use crate::file::{is_program, sha256_of, stat, time_of_change};
use crate::inputs::{
    self, Kvm, executable, host, incomplete, libraries, may_differ_from_probe, modules, route,
};
use crate::store::Bytes;

/// A probe that may fail: the inputs of its failure, recorded before it.
pub(super) struct Attempt {
    began: SystemTime,
    /// The end of the time for the probe and all that is recorded about it.
    deadline: Instant,
    inputs: Vec<Input>,
}

impl Refresher {
    /// Records, before a probe, the inputs that decide whether another one is worth trying should it fail:
    /// the emulator, the files that it names if it is a script, KVM and the kernel, the files that it is
    /// loaded with and, from an `older` entry, its modules and shared objects. `None` if there is no emulator.
    pub(super) fn attempt(&self, emulator: &Path, older: &[Input]) -> Option<Attempt> {
        let (began, since) = (time_of_change(), SystemTime::now());
        let deadline = Instant::now() + self.settings.limits.probe;
        let mut inputs = vec![executable::record_before_probe(emulator, since)?];
        inputs.extend(route::record_before_probe(emulator, &self.entries.variables(), since));
        inputs.push(libraries::record_for_failure(older, since));
        let directories = older.iter().filter(|input| input.kind() == InputKind::Modules);
        inputs.extend(directories.map(|input| modules::record_for_failure(input.path())));
        inputs.push(incomplete::record_for_failure());
        inputs.push(Kvm::record_before_probe(since));
        inputs.push(host::record_kernel(Scope::Binary, &self.entries.host()));
        Some(Attempt { began, deadline, inputs })
    }

    /// Remembers that a probe failed. An error that may be one of this process is not remembered, nor is a
    /// failure of which an input changed meanwhile.
    pub(super) fn remember(
        &self,
        emulator: &Path,
        attempt: Attempt,
        groups: Groups,
        error: &Error,
    ) {
        let reason = match error {
            Error::Probe { source, .. } if cause::is_transient(source) => return,
            Error::Probe { source, .. } => chain(&**source),
            Error::Model { source, .. } => chain(&**source),
            _ => return,
        };
        let (Some(cause), Some(inputs)) =
            (error.cause(), self.inputs_of_failure(emulator, attempt))
        else {
            return;
        };
        let (at, reason) = (host::boot_seconds(), reason.replace('\n', " "));
        let mut model = Model::default();
        model.inputs = inputs;
        model.failure = Some(FailureRecord { at, groups, cause, reason });
        let Ok(bytes) = model.encode() else { return };
        let (store, path) = (&self.entries.store, self.entries.store.failure_path(emulator));
        let written = refuse_over_limit(&path, &bytes).and_then(|()| store.write(&path, &bytes));
        if written.is_err() {
            let Ok(entry) = Entry::open(Bytes::in_memory(bytes)) else { return };
            let failure = Loaded::in_memory(entry, &self.entries.host());
            self.entries.keep_failure(emulator, failure);
        }
    }

    /// The inputs of a failure; `None` if any of them changed since before the probe.
    ///
    /// Inputs that take long to find are recorded only now: the digest, and the directories in which the
    /// emulator, or a program that it names as a script, searches for modules.
    fn inputs_of_failure(&self, emulator: &Path, attempt: Attempt) -> Option<Vec<Input>> {
        let Attempt { began, deadline, mut inputs } = attempt;
        let mut directories = Vec::new();
        for program in &mut inputs {
            if !matches!(program.evidence, Evidence::Emulator | Evidence::Route) {
                continue;
            }
            let path = program.path().to_owned();
            directories.extend(module_directories_of(&path, deadline).unwrap_or_default());
            if program.kind() == InputKind::Route && !is_program(&path) {
                // Such as a log that a wrapper writes: its state after the probe counts.
                program.signature = stat(&path).ok();
            } else if path == emulator && program.sha256.is_none() {
                program.sha256 = sha256_of(emulator).ok();
            }
        }
        let is_modules = |input: &&Input| input.kind() == InputKind::Modules;
        let recorded: Vec<_> = inputs.iter().filter(is_modules).map(Input::path).collect();
        directories.retain(|directory| !recorded.contains(&&**directory));
        directories.sort();
        directories.dedup();
        for directory in directories {
            let modules = modules::record_for_failure(&directory);
            if may_differ_from_probe(&modules, began, &[]) {
                return None;
            }
            inputs.push(modules);
        }
        let host = self.entries.host();
        let holds = inputs.iter().all(|input| inputs::holds_for_failure(input, &host));
        holds.then_some(inputs)
    }
}
