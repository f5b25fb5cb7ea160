//! The emulator, by the path that was given, and the executable that runs.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use capscache_format::{Evidence, Input};

use super::{
    Check, Compare, FastCheck, Found, HostFacts, Kvm, Present, differs, find, record, short_hex,
    stat_check,
};
use crate::error::chain;
use crate::file::signature;
use crate::file::{sha256_of, stat};
use crate::status::Dependency;

/// Compares emulators and executables.
pub(super) struct Executables;

/// Records a file by its signature and its digest.
pub(crate) fn record_file(
    path: &Path,
    status: &rustix::fs::Stat,
    sha256: [u8; 32],
    evidence: Evidence,
    since: SystemTime,
) -> Input {
    record(path, Some(signature(status)), Some(sha256), evidence, since)
}

/// Records an executable in another mount namespace, where nothing can be compared with it.
pub(crate) fn record_unreachable(path: &Path, sha256: [u8; 32], evidence: Evidence) -> Input {
    record(path, None, Some(sha256), evidence, SystemTime::UNIX_EPOCH)
}

/// Records an emulator before a probe that may fail; `None` if there is no file.
pub(crate) fn record_before_probe(emulator: &Path, since: SystemTime) -> Option<Input> {
    let signature = stat(emulator).ok()?;
    let mut input = record(emulator, Some(signature), None, Evidence::Emulator, since);
    if input.racy {
        input.sha256 = sha256_of(emulator).ok();
    }
    Some(input)
}

impl Compare for Executables {
    fn fast_checks(&self, input: &Input, _: &HostFacts) -> Option<Vec<FastCheck>> {
        input.signature?;
        stat_check(input)
    }

    fn full_check(&self, input: &Input, present: &Present<'_>) -> Check {
        let Some(recorded) = input.signature else {
            let recorded = "a file that is gone, or in another mount namespace";
            return differs(input, recorded.to_owned(), "no way to compare it".to_owned());
        };
        let Some(found) = find(input, present) else { return Check::Same };
        match found.signature {
            // A file of another size has another content, and need not be read.
            Ok(signature) if signature.size != recorded.size && input.path().is_file() => {
                differs(input, self.describe(input), format!("{} bytes", signature.size))
            }
            _ => compare_content(input, found),
        }
    }

    fn holds_for_failure(&self, input: &Input, host: &HostFacts) -> bool {
        // Of an emulator that changed just before the probe, the content decides.
        let present = Present { host, kvm: &Kvm::now, thorough: false };
        !matches!(self.full_check(input, &present), Check::Differs(_))
    }

    fn watched_paths(&self, input: &Input) -> Vec<Dependency> {
        // The path of a file in another mount namespace has no meaning here.
        let is_reachable = input.signature.is_some()
            || input.sha256.is_none()
            || matches!(input.evidence, Evidence::Emulator);
        let path = is_reachable.then(|| Dependency::File(input.path().to_owned()));
        path.into_iter().collect()
    }

    fn describe(&self, input: &Input) -> String {
        describe_file(input)
    }
}

/// Compares a file by its content. Of two signatures, before and after reading, the older one is recorded:
/// a change between them shows in the next check.
pub(super) fn compare_content(input: &Input, found: Found) -> Check {
    let read = || {
        found.signature?;
        let signature = stat(input.path())?;
        let evidence = input.evidence.clone();
        let sha256 = Some(sha256_of(input.path())?);
        Ok::<_, io::Error>(record(input.path(), Some(signature), sha256, evidence, found.since))
    };
    match read() {
        Ok(again) if again.sha256 == input.sha256 => {
            Check::Moved(Input { scope: input.scope, ..again })
        }
        Ok(again) => differs(input, describe_file(input), describe_file(&again)),
        Err(error) => differs(input, "a file".to_owned(), chain(&error)),
    }
}

/// The content of a file in a few words.
pub(super) fn describe_file(input: &Input) -> String {
    match (&input.sha256, input.signature) {
        (Some(sha256), Some(signature)) => {
            format!("SHA-256 {}… of {} bytes", short_hex(sha256), signature.size)
        }
        (Some(sha256), None) => format!("files with digest {}…", short_hex(sha256)),
        (None, _) => "nothing".to_owned(),
    }
}
