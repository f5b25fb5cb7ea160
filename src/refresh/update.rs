//! Brings an entry up to date: a probe of all that it lacks, and of nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use capscache_format::{
    Accelerator, Entry, FactKey, FactKind, Group, Groups, InputKind, InputRef, Model, ModelError,
    Scope,
};
use capscache_probe::{Options, Probed, RanExecutable, note_failure, probe};
use rustix::fs::Stat;

use super::record::{Before, record_files, record_host};
use super::{LOCK_MARGIN, Refresher, cause, shortage};
use crate::capabilities::{Capabilities, Loaded, recorded_inputs};
use crate::error::{Error, chain};
use crate::file::{open_regular, signature};
use crate::inputs::{self, Kvm, host};
use crate::lookup::Lookup;
use crate::store::Bytes;

/// The number of probes of an emulator that is replaced while it is probed.
const MAX_ATTEMPTS: usize = 3;

impl Refresher {
    /// The entry with all `groups`: from disk, or from a probe for all that it lacks.
    pub(super) fn get_or_probe(
        self: &Arc<Self>,
        emulator: &Path,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        if let Some(hit) = filled(&self.entries.examine(emulator, false), groups) {
            return Ok(hit);
        }
        std::fs::metadata(emulator).map_err(Error::emulator(emulator))?;
        self.refuse_failed(emulator, groups)?;
        let target = plain_link(emulator);
        let shared = target.map(|target| self.share(emulator, &target, groups)).transpose()?;
        if let Some(shared) = shared.flatten() {
            return Ok(shared);
        }
        let path = self.entries.store.entry_path(emulator);
        let _lock = self.entries.store.lock(&path, self.settings.limits.probe + LOCK_MARGIN);
        let examined = self.entries.examine(emulator, false);
        if let Some(hit) = filled(&examined, groups) {
            return Ok(hit);
        }
        self.refuse_failed(emulator, groups)?;
        let older = match &examined {
            Ok(Lookup::Hit(entry) | Lookup::Stale { entry, .. }) => recorded_inputs(entry),
            _ => Vec::new(),
        };
        let attempt = self.attempt(emulator, &older);
        let result = self.update(emulator, examined, groups);
        match (&result, attempt) {
            (Ok(_), _) => drop(self.entries.forget_failure(emulator)),
            (Err(error), Some(attempt)) => self.remember(emulator, attempt, groups, error),
            (Err(_), None) => {}
        }
        result
    }

    /// Returns the remembered failure of an emulator as an error.
    fn refuse_failed(&self, emulator: &Path, groups: Groups) -> Result<(), Error> {
        match self.entries.failure(emulator) {
            Some(failure) if failure.groups.without(groups).is_core() => {
                Err(Error::Failed { path: emulator.to_owned(), failure })
            }
            _ => Ok(()),
        }
    }

    /// Probes for all that the examined entry lacks.
    fn update(
        &self,
        emulator: &Path,
        examined: Result<Lookup, Error>,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        let updated = match examined {
            Ok(Lookup::Hit(hit)) => self.fill(emulator, &hit, groups)?,
            Ok(Lookup::Stale { reason, entry }) if reason.scope == Scope::Host => {
                self.probe_host(emulator, &entry)?.filter(|updated| updated.has(groups))
            }
            // A stale, missing or damaged entry is probed as a whole.
            _ => None,
        };
        updated.map_or_else(|| self.probe(emulator, groups), Ok)
    }

    /// Probes for everything.
    fn probe(&self, emulator: &Path, groups: Groups) -> Result<Capabilities, Error> {
        let mut recorded = Vec::new();
        for tries_left in (0..MAX_ATTEMPTS).rev() {
            let before = Before::now(emulator, &self.entries.variables());
            let status = stat(emulator)?;
            let options = self.probe_options().groups(groups);
            // A state that is the same before and after the probe was the same during it; KVM may change
            // meanwhile.
            let kvm = self.entries.kvm();
            let Probed { mut model, ran, native_kvm, .. } = run(emulator, &options)?;
            let after = stat(emulator)?;
            let unchanged = signature(&status) == signature(&after) && kvm == self.entries.kvm();
            // An executable that a wrapper unpacks and removes again cannot be replaced.
            let is_replaced = was_removed(&ran) && ran.executable.path.exists();
            if !unchanged || is_replaced {
                continue;
            }
            let variables = self.entries.variables();
            let files = record_files(emulator, &after, &ran, &variables, before.began)?;
            let recorded_before = std::mem::replace(&mut recorded, files);
            let is_doubtful =
                |input: &_| before.is_doubtful(input, &ran.replaced, &recorded_before);
            if tries_left > 0 && recorded.iter().any(is_doubtful) {
                continue;
            }
            model.inputs.clone_from(&recorded);
            model.inputs.iter_mut().filter(|input| is_doubtful(input)).for_each(inputs::invalidate);
            model.inputs.push(host::record_memfd(&self.entries.host()));
            if native_kvm {
                note_closed(&kvm, &mut model, groups);
                let inputs = record_host(&kvm, &model, &self.entries.host());
                model.inputs.extend(inputs);
            }
            shortage::note(&mut model, !kvm.opens());
            return self.save(emulator, &model);
        }
        Err(Error::Changing { path: emulator.to_owned() })
    }

    /// Probes for the facts of the host, beside the facts of the binary that an entry has; `None` if the
    /// entry has no others, or if another executable ran than the entry's.
    fn probe_host(
        &self,
        emulator: &Path,
        old: &Capabilities,
    ) -> Result<Option<Capabilities>, Error> {
        if old.accelerators().all(Accelerator::needs_host) {
            return Ok(None);
        }
        for _ in 0..MAX_ATTEMPTS {
            let mut whole = self.model_of(emulator, old)?;
            whole.drop_host_facts();
            // A state that is the same before and after the probe was the same during it.
            let kvm = self.entries.kvm();
            if kvm.opens() {
                let has_models = old.groups().contains(Group::CpuModels);
                let groups = if has_models { Groups::CPU_MODELS } else { Groups::CORE };
                let options = self.probe_options().binary(false).groups(groups);
                match probe(emulator, &options) {
                    Ok(probed) if recorded_sha256(old) != Some(&probed.ran.sha256) => {
                        return Ok(None);
                    }
                    Ok(probed) => {
                        whole
                            .replace(&probed.model)
                            .map_err(|source| too_many(emulator, source))?;
                    }
                    Err(error) => {
                        note_failure(&mut whole, true, groups, Accelerator::Kvm, &chain(&error));
                    }
                }
            }
            if kvm != self.entries.kvm() {
                continue;
            }
            note_closed(&kvm, &mut whole, old.groups());
            let of_host = record_host(&kvm, &whole, &self.entries.host());
            let of_binary = old.0.inputs().iter().filter(|input| {
                input.scope == Scope::Binary && input.kind() != InputKind::Incomplete
            });
            whole.inputs = of_binary.cloned().chain(of_host).collect();
            shortage::note(&mut whole, !kvm.opens());
            return self.save(emulator, &whole).map(Some);
        }
        Err(Error::Changing { path: emulator.to_owned() })
    }

    /// Probes for the groups that an entry lacks, beside those that it has; `None` if another executable
    /// ran than the entry's.
    fn fill(
        &self,
        emulator: &Path,
        hit: &Capabilities,
        groups: Groups,
    ) -> Result<Option<Capabilities>, Error> {
        let lacking = groups.without(hit.groups());
        let ran_under_kvm = hit.accelerators().any(|accelerator| accelerator == Accelerator::Kvm);
        let options = self.probe_options().core(false).groups(lacking).kvm(ran_under_kvm);
        let Probed { mut model, ran, .. } = run(emulator, &options)?;
        if recorded_sha256(hit) != Some(&ran.sha256) {
            return Ok(None);
        }
        model.inputs = hit.0.inputs().to_vec();
        model.inputs.retain(|input| input.kind() != InputKind::Incomplete);
        let mut whole = self.model_of(emulator, hit)?;
        whole.replace(&model).map_err(|source| too_many(emulator, source))?;
        if lacking.contains(Group::CpuModels) {
            for accelerator in hit.accelerators() {
                let (group, kind) = (Group::CpuModels, FactKind::CpuModels);
                if whole.get(FactKey { group, accelerator, kind }).is_none() {
                    let reason = "the emulator did not run under it when its models were queried";
                    note_failure(&mut whole, false, Groups::CPU_MODELS, accelerator, reason);
                }
            }
        }
        shortage::note(&mut whole, !self.entries.kvm().opens());
        let is_incomplete = whole.inputs.iter().any(|input| input.kind() == InputKind::Incomplete);
        if is_incomplete && hit.incomplete().is_none() {
            // Other callers go on with the complete entry.
            return self.keep_incomplete(emulator, &whole).map(Some);
        }
        self.save(emulator, &whole).map(Some)
    }

    /// Copies the entry of the emulator that a link leads to: one file, one probe. `None` if that runs
    /// another executable.
    fn share(
        self: &Arc<Self>,
        emulator: &Path,
        target: &Path,
        groups: Groups,
    ) -> Result<Option<Capabilities>, Error> {
        // An emulator that does not run by its own name may run by that of the link.
        let capabilities = match self.get_with(target, groups) {
            Ok(capabilities) if capabilities.executable() == target => capabilities,
            Ok(_) | Err(Error::Probe { .. } | Error::Failed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut model = self.model_of(target, &capabilities)?;
        for input in &mut model.inputs {
            if input.kind() == InputKind::Emulator {
                input.name = emulator.as_os_str().as_encoded_bytes().to_vec();
            }
        }
        self.save(emulator, &model).map(Some)
    }

    fn model_of(&self, emulator: &Path, entry: &Entry<Bytes>) -> Result<Model, Error> {
        let damaged =
            |source| Error::Format { path: self.entries.store.entry_path(emulator), source };
        entry.to_model().map_err(damaged)
    }

    /// Writes an entry and opens it; an entry that cannot be written is kept in this process.
    fn save(&self, emulator: &Path, model: &Model) -> Result<Capabilities, Error> {
        let bytes = model.encode().map_err(|source| too_many(emulator, source))?;
        let (store, path) = (&self.entries.store, self.entries.store.entry_path(emulator));
        let written = refuse_over_limit(&path, &bytes).and_then(|()| store.write(&path, &bytes));
        let loaded = match written.and_then(|()| store.read(&path)) {
            Ok(Some(stored)) => Loaded::new(stored, &self.entries.host()),
            Ok(None) => {
                let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
                self.not_persisted(bytes, &path, Error::entry("read", &path)(gone))?
            }
            Err(error) => self.not_persisted(bytes, &path, error)?,
        };
        Ok(self.entries.keep(emulator, loaded))
    }

    /// Keeps incomplete answers in this process only.
    fn keep_incomplete(&self, emulator: &Path, model: &Model) -> Result<Capabilities, Error> {
        let bytes = model.encode().map_err(|source| too_many(emulator, source))?;
        let error = Error::Incomplete { path: emulator.to_owned() };
        let path = self.entries.store.entry_path(emulator);
        Ok(self.entries.keep(emulator, self.not_persisted(bytes, &path, error)?))
    }

    fn not_persisted(&self, bytes: Vec<u8>, path: &Path, error: Error) -> Result<Loaded, Error> {
        let entry = Entry::open(Bytes::in_memory(bytes))
            .map_err(|source| Error::Format { path: path.to_owned(), source })?;
        Ok(Loaded::not_persisted(entry, error, &self.entries.host()))
    }
}

/// Refuses to write a file beyond the limit of this process: SIGXFSZ would end it.
pub(super) fn refuse_over_limit(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|limit| u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit) {
        let too_large = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
        return Err(Error::entry("write", path)(too_large));
    }
    Ok(())
}

/// The entry of a hit that has all `groups`.
fn filled(examined: &Result<Lookup, Error>, groups: Groups) -> Option<Capabilities> {
    match examined {
        Ok(Lookup::Hit(hit)) if hit.has(groups) => Some(hit.clone()),
        _ => None,
    }
}

fn run(emulator: &Path, options: &Options) -> Result<Probed, Error> {
    probe(emulator, options).map_err(|source| cause::probe_error(emulator, source))
}

fn too_many(emulator: &Path, source: ModelError) -> Error {
    Error::Model { path: emulator.to_owned(), source: Arc::new(source) }
}

fn stat(emulator: &Path) -> Result<Stat, Error> {
    rustix::fs::stat(emulator).map_err(std::io::Error::from).map_err(Error::emulator(emulator))
}

/// The target of a link to a program of the same name; `None` for a script. Under another name a program may
/// be another one (`argv[0]`).
fn plain_link(emulator: &Path) -> Option<PathBuf> {
    let target = std::fs::canonicalize(emulator).ok()?;
    if target == emulator || target.file_name() != emulator.file_name() {
        return None;
    }
    let mut magic = [0; 4];
    std::io::Read::read_exact(&mut open_regular(&target).ok()?, &mut magic).ok()?;
    (magic == *b"\x7fELF").then_some(target)
}

/// Records that KVM is present and this process may not open it: the capabilities under it are unknown.
fn note_closed(kvm: &Kvm, model: &mut Model, groups: Groups) {
    if kvm.is_present() && !kvm.opens() {
        let reason = "/dev/kvm cannot be opened by the user who probed";
        note_failure(model, true, groups, Accelerator::Kvm, reason);
    }
}

/// The recorded digest of the executable.
fn recorded_sha256(entry: &Entry<Bytes>) -> Option<&[u8; 32]> {
    entry.input(InputKind::Executable).and_then(InputRef::sha256)
}

/// Returns whether the executable has no name any more: it was replaced or removed meanwhile.
fn was_removed(ran: &RanExecutable) -> bool {
    rustix::fs::fstat(&ran.executable.file).is_ok_and(|status| status.st_nlink == 0)
}
