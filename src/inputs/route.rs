//! The route from a wrapper to the executable: scripts, interpreters, links, candidates on `PATH`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capscache_format::{Escaped, Evidence, Input};

use super::executable::{compare_content, describe_file};
use super::{Check, Compare, HostFacts, Kvm, Present, differs, find, record as record_input};
use crate::file::{is_program, stat};
use crate::status::Dependency;

use super::{environment, wrapper};
use crate::file::sha256_of;

/// Compares both kinds of route.
pub(super) struct Routes;

/// The size in bytes beyond which a file on the route is compared by its time stamps alone.
const LARGEST_ROUTE_BYTES: u64 = 64 << 20;

/// Records a file on the route, present or not.
pub(crate) fn record(path: &Path, since: SystemTime) -> Input {
    let signature = stat(path).ok();
    let is_small = signature.is_some_and(|signature| signature.size <= LARGEST_ROUTE_BYTES);
    let sha256 = is_small.then(|| sha256_of(path).ok()).flatten();
    record_input(path, signature, sha256, Evidence::Route, since)
}

/// Records a directory on `PATH` in which commands were not found.
fn record_search(directory: &Path, commands: Vec<OsString>, since: SystemTime) -> Input {
    let signature = stat(directory).ok();
    record_input(directory, signature, None, Evidence::Search { commands }, since)
}

/// Records the environment of an emulator and, if it is a wrapper, all files that it resolves through, apart
/// from the executable.
pub(crate) fn record_wrapper(
    emulator: &Path,
    executable: &Path,
    variables: &[(OsString, OsString)],
    since: SystemTime,
) -> Vec<Input> {
    let mut routes = wrapper::routes(emulator, variables);
    routes.files.remove(executable);
    let files = routes.files.iter().map(|path| record(path, since));
    let all = files.chain(record_searches(&routes, since));
    all.chain(environment::record(&routes, variables)).collect()
}

/// Records the same as [`record_wrapper`] without any content, before a probe that may fail.
pub(crate) fn record_before_probe(
    emulator: &Path,
    variables: &[(OsString, OsString)],
    since: SystemTime,
) -> Vec<Input> {
    let routes = wrapper::routes(emulator, variables);
    let file = |path: &PathBuf| record_input(path, stat(path).ok(), None, Evidence::Route, since);
    let files = routes.files.iter().map(file);
    let all = files.chain(environment::record(&routes, variables));
    all.chain(record_searches(&routes, since)).collect()
}

fn record_searches(
    routes: &wrapper::Routes,
    since: SystemTime,
) -> impl Iterator<Item = Input> + use<'_> {
    routes.searched.iter().map(move |(directory, commands)| {
        record_search(directory, commands.iter().cloned().collect(), since)
    })
}

/// Returns the files that probing an emulator without an entry may run: the emulator and, if it is a script,
/// the files and directories that its text names, and the paths at which one of its commands would be found
/// first. Of scripts that name more files, only the first hundreds.
///
/// The second value is true if the list is complete: for an emulator that is not a script, and for a script
/// of plain commands with literal words. Other scripts may run files that their text does not name.
pub fn files_that_may_run(emulator: &Path) -> (Vec<Dependency>, bool) {
    let routes = wrapper::routes(emulator, &wrapper::environment(&[]));
    let searched = routes
        .searched
        .iter()
        .flat_map(|(directory, names)| names.iter().map(|name| directory.join(name)));
    let paths = std::iter::once(emulator.to_owned()).chain(routes.files);
    let files = paths.chain(searched).map(Dependency::File);
    let all = files.chain(routes.directories.into_iter().map(Dependency::Directory));
    (all.collect(), !routes.is_incomplete)
}

/// The paths that were not found in a directory.
fn absent_paths<'a>(
    directory: &'a Path,
    commands: &'a [OsString],
) -> impl Iterator<Item = PathBuf> + use<'a> {
    commands.iter().map(move |command| directory.join(command))
}

impl Routes {
    fn check_search(&self, input: &Input, commands: &[OsString], since: SystemTime) -> Check {
        match absent_paths(input.path(), commands).find(|command| is_program(command)) {
            Some(found) => {
                let found = Escaped::new(&found).to_string();
                differs(input, "nothing of that name".to_owned(), found)
            }
            None => Check::Moved(record_search(input.path(), commands.to_vec(), since)),
        }
    }
}

impl Compare for Routes {
    fn full_check(&self, input: &Input, present: &Present<'_>) -> Check {
        let Some(found) = find(input, present) else { return Check::Same };
        if let Evidence::Search { commands } = &input.evidence {
            return self.check_search(input, commands, found.since);
        }
        match (input.signature, input.sha256, &found.signature) {
            (None, _, Ok(found)) => {
                differs(input, "nothing".to_owned(), format!("{} bytes", found.size))
            }
            (None, _, Err(_)) => Check::Same,
            (Some(_), None, _) if found.is_unchanged => Check::Same,
            (Some(_), None, _) => {
                let recorded = "a file with other time stamps".to_owned();
                differs(input, recorded, "one that changed".to_owned())
            }
            (Some(_), Some(_), _) => compare_content(input, found),
        }
    }

    fn holds_for_failure(&self, input: &Input, host: &HostFacts) -> bool {
        if let Evidence::Search { .. } = input.evidence {
            let present = Present { host, kvm: &Kvm::now, thorough: false };
            return !matches!(self.full_check(input, &present), Check::Differs(_));
        }
        stat(input.path()).ok() == input.signature
    }

    fn watched_paths(&self, input: &Input) -> Vec<Dependency> {
        match &input.evidence {
            Evidence::Search { commands } => {
                absent_paths(input.path(), commands).map(Dependency::File).collect()
            }
            _ => vec![Dependency::File(input.path().to_owned())],
        }
    }

    fn describe(&self, input: &Input) -> String {
        describe_file(input)
    }
}
