//! Directories in which the executable searches for QEMU's modules.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capscache_format::{Evidence, Input};

use super::{
    Check, Compare, HostFacts, Present, build_id, file_list, record as record_input, short_hex,
};
use crate::file::{files_in, is_since, stat, stat_digest};
use crate::status::Dependency;

/// Compares directories of modules.
pub(super) struct Modules;

/// Records a directory of modules, present or not.
pub(crate) fn record(directory: &Path, since: SystemTime) -> Input {
    // The signature first: a later change shows.
    let signature = stat(directory).ok();
    let files = signature.and_then(|_| files_in(directory).ok());
    let digest = files.as_deref().map(stat_digest);
    let contents = files.and_then(|files| build_id::digest_of_contents(&files));
    record_input(directory, signature, digest, Evidence::Modules { contents }, since)
}

/// Records a directory as far as a failure depends on it.
pub(crate) fn record_for_failure(directory: &Path) -> Input {
    let evidence = Evidence::Modules { contents: None };
    let signature = stat(directory).ok();
    record_input(directory, signature, stats(directory), evidence, SystemTime::now())
}

/// A digest of what `stat` returns for each file in a directory; `None` where it cannot be read.
fn stats(directory: &Path) -> Option<[u8; 32]> {
    Some(stat_digest(&files_in(directory).ok()?))
}

impl Compare for Modules {
    fn full_check(&self, input: &Input, present: &Present<'_>) -> Check {
        let path = input.path();
        file_list::full_check(self, input, present, || stats(path), |since| record(path, since))
    }

    fn holds_for_failure(&self, input: &Input, _: &HostFacts) -> bool {
        stat(input.path()).ok() == input.signature && stats(input.path()) == input.sha256
    }

    fn has_contents(&self, input: &Input) -> bool {
        matches!(input.evidence, Evidence::Modules { contents: Some(_) })
    }

    fn has_changed_since(&self, input: &Input, began: SystemTime) -> bool {
        let modules = files_in(input.path()).unwrap_or_default();
        modules.iter().map(PathBuf::as_path).chain([input.path()]).any(|path| is_since(path, began))
    }

    fn invalidate(&self, input: &mut Input) {
        (input.signature, input.sha256) = (None, None);
        input.evidence = Evidence::Modules { contents: None };
    }

    fn watched_paths(&self, input: &Input) -> Vec<Dependency> {
        vec![Dependency::Directory(input.path().to_owned())]
    }

    fn describe(&self, input: &Input) -> String {
        let digest = |sha256| format!("files with digest {}…", short_hex(sha256));
        input.sha256.as_ref().map_or_else(|| "nothing".to_owned(), digest)
    }
}
