//! The shared objects of the executable, through the files that change when one of them is replaced or another
//! one takes precedence: the loader's cache with the objects that were mapped, the list of preloaded objects,
//! and the directories that the loader searches beyond its cache.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capscache_format::{Evidence, Input};

use super::{
    Check, Compare, HostFacts, Present, build_id, file_list, record as record_input, short_hex,
};
use crate::file::{files_in, is_since, stat, stat_digest};
use crate::status::Dependency;

/// The loader's cache of libraries, below the root of a process.
pub(crate) const LOADER_CACHE: &str = "etc/ld.so.cache";

/// Compares shared objects.
pub(super) struct Libraries;

/// Records the objects that depend on `path`: on the loader's cache those in `objects`, on the list of
/// preloaded objects that list, on a directory those in `objects` and those that are in it.
pub(crate) fn record(path: &Path, objects: &[PathBuf], since: SystemTime) -> Input {
    // The signature first: a later change shows.
    let signature = stat(path).ok();
    let objects = present_objects(path, objects);
    let digest = Some(stat_digest(&objects));
    let builds = build_id::digest_of_builds(&objects);
    record_input(path, signature, digest, Evidence::Libraries { objects, builds }, since)
}

/// Records the loader's cache with the objects of an `older` entry, as far as a failure depends on them.
pub(crate) fn record_for_failure(older: &[Input], since: SystemTime) -> Input {
    let path = Path::new("/").join(LOADER_CACHE);
    let objects: BTreeSet<PathBuf> = older.iter().flat_map(objects).cloned().collect();
    let objects: Vec<PathBuf> = objects.into_iter().collect();
    let digest = Some(stats(&path, &objects));
    let evidence = Evidence::Libraries { objects, builds: None };
    record_input(&path, stat(&path).ok(), digest, evidence, since)
}

/// The recorded objects; none for an input of another kind.
fn objects(input: &Input) -> &[PathBuf] {
    match &input.evidence {
        Evidence::Libraries { objects, .. } => objects,
        _ => &[],
    }
}

/// The recorded objects and, of a directory, all objects that are in it now; sorted.
fn present_objects(path: &Path, recorded: &[PathBuf]) -> Vec<PathBuf> {
    let mut objects: BTreeSet<PathBuf> = recorded.iter().cloned().collect();
    match fs::metadata(path) {
        Ok(status) if status.is_dir() => {
            objects.extend(files_in(path).unwrap_or_default().into_iter().filter(|file| {
                let name = file.file_name().unwrap_or_default().as_bytes();
                name.windows(3).any(|part| part == b".so") || name == b"glibc-hwcaps"
            }));
        }
        Ok(_) if path.ends_with("ld.so.preload") => drop(objects.insert(path.to_owned())),
        _ => {}
    }
    objects.into_iter().collect()
}

fn stats(path: &Path, recorded: &[PathBuf]) -> [u8; 32] {
    stat_digest(&present_objects(path, recorded))
}

impl Compare for Libraries {
    fn full_check(&self, input: &Input, present: &Present<'_>) -> Check {
        let (path, objects) = (input.path(), objects(input));
        let stats = || Some(stats(path, objects));
        file_list::full_check(self, input, present, stats, |since| record(path, objects, since))
    }

    fn has_contents(&self, input: &Input) -> bool {
        matches!(input.evidence, Evidence::Libraries { builds: Some(_), .. })
    }

    fn has_changed_since(&self, input: &Input, began: SystemTime) -> bool {
        objects(input).iter().any(|object| is_since(object, began))
    }

    fn invalidate(&self, input: &mut Input) {
        (input.signature, input.sha256) = (None, None);
        input.evidence = Evidence::Libraries { objects: objects(input).to_vec(), builds: None };
    }

    fn holds_for_failure(&self, input: &Input, _: &HostFacts) -> bool {
        stat(input.path()).ok() == input.signature
            && input.sha256 == Some(stats(input.path(), objects(input)))
    }

    fn watched_paths(&self, input: &Input) -> Vec<Dependency> {
        let path = input.path().to_owned();
        // An object that is installed without the loader's cache shows in its directory only.
        let is_list = path.parent().is_some_and(|parent| parent.ends_with("etc"));
        let list = if is_list { Dependency::File } else { Dependency::Directory };
        let objects = objects(input).iter().cloned().map(Dependency::File);
        objects.chain([list(path)]).collect()
    }

    fn describe(&self, input: &Input) -> String {
        let objects = objects(input).len();
        let digest = |sha256| format!("{objects} objects, digest {}…", short_hex(sha256));
        input.sha256.as_ref().map_or_else(|| "nothing".to_owned(), digest)
    }
}
