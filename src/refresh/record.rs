//! Records the inputs that the answers of a probe depend on.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capscache_format::{
    Accelerator, Evidence, Fact, FactKey, FactKind, Group, Input, Model, Scope, Signature, Variable,
};
use capscache_probe::RanExecutable;
use rustix::fs::Stat;

use super::library_path;
use crate::error::Error;
use crate::file::{sha256_of, stat, time_of_change};
use crate::inputs::{
    HostFacts, Kvm, LOADER_CACHE, environment, executable, host, libraries, may_differ_from_probe,
    modules, route, wrapper,
};

/// The state before a probe, with which the inputs are compared after it.
pub(super) struct Before {
    /// The [`time_of_change`] at which the probe began.
    pub(super) began: SystemTime,
    routes: Vec<(PathBuf, Option<Signature>)>,
}

impl Before {
    /// Takes the state of an emulator and of the files that it resolves through as a wrapper.
    pub(super) fn now(emulator: &Path, variables: &[Variable]) -> Before {
        let began = time_of_change();
        let files = wrapper::routes(emulator, variables).files.into_iter();
        let routes = files.map(|path| {
            let signature = stat(&path).ok();
            (path, signature)
        });
        Before { began, routes: routes.collect() }
    }

    /// Returns whether an input that was recorded after the probe may have been another one during it.
    /// `replaced`: objects that were mapped and replaced meanwhile.
    pub(super) fn is_doubtful(
        &self,
        input: &Input,
        replaced: &[PathBuf],
        recorded_before: &[Input],
    ) -> bool {
        match input.evidence {
            Evidence::Route => !self.routes.contains(&(input.path().to_owned(), input.signature)),
            Evidence::Libraries { .. } if !replaced.is_empty() => true,
            _ => may_differ_from_probe(input, self.began, recorded_before),
        }
    }
}

/// Records the files that the answers of a probe depend on, which began at the [`time_of_change`] `began`.
///
/// # Errors
/// [`Error::Emulator`] for an emulator that can no longer be read.
pub(super) fn record_files(
    emulator: &Path,
    status: &Stat,
    ran: &RanExecutable,
    variables: &[Variable],
    began: SystemTime,
) -> Result<Vec<Input>, Error> {
    let path = &ran.executable.path;
    let runs = rustix::fs::fstat(&ran.executable.file).map_err(std::io::Error::from);
    let runs = runs.map_err(Error::emulator(emulator))?;
    let is_same = |status: &Stat| (status.st_dev, status.st_ino) == (runs.st_dev, runs.st_ino);
    let emulator_sha256 = match is_same(status) {
        true => ran.sha256,
        false => sha256_of(emulator).map_err(Error::emulator(emulator))?,
    };
    // In another mount namespace any other file, such as a module, may be another one too.
    let is_reachable = !ran.executable.has_own_mounts
        && rustix::fs::stat(path).is_ok_and(|status| is_same(&status));
    let evidence =
        Evidence::Executable { environment: environment::sorted(&ran.executable.environment) };
    let executable = match is_reachable {
        true => executable::record_file(path, &runs, ran.sha256, evidence, began),
        false => executable::record_unreachable(path, ran.sha256, evidence),
    };
    let named = Evidence::Emulator;
    let mut inputs =
        vec![executable::record_file(emulator, status, emulator_sha256, named, began), executable];
    inputs.extend(ran.executable.interpreter.iter().map(|path| route::record(path, began)));
    inputs.extend(route::record_wrapper(emulator, path, variables, began));
    inputs.extend(ran.module_directories.iter().map(|path| modules::record(path, began)));
    for list in [LOADER_CACHE, library_path::PRELOAD] {
        let is_cache = list == LOADER_CACHE;
        let objects: &[PathBuf] = if is_cache { &ran.objects } else { &[] };
        inputs.push(libraries::record(&ran.executable.root.join(list), objects, began));
    }
    for directory in library_path::searched_directories(ran) {
        let inside = ran.objects.iter().filter(|object| object.parent() == Some(&directory));
        let inside: Vec<PathBuf> = inside.cloned().collect();
        inputs.push(libraries::record(&directory, &inside, began));
    }
    Ok(inputs)
}

/// Records the inputs that the facts of the host depend on.
pub(super) fn record_host(kvm: &Kvm, model: &Model, facts: &HostFacts) -> [Input; 3] {
    let (group, accelerator, kind) = (Group::Core, Accelerator::Kvm, FactKind::Ran);
    let failed = model.get(FactKey { group, accelerator, kind }) == Some(Fact::Refused);
    [
        kvm.record(failed && kvm.opens()),
        host::record_kernel(Scope::Host, facts),
        host::record_cpu(facts),
    ]
}
