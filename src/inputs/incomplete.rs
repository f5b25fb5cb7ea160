//! Answers that are missing because the prober lacked memory, processes, descriptors, processor time or
//! permissions: a fact about the prober, not about the emulator.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use capscache_format::{Escaped, Evidence, Incomplete, Input, InputKind, Scope};

use super::host::boot_seconds;
use super::{Check, Compare, FastCheck, HostFacts, Present, context_digest};
use crate::file::open_nonblocking;
use crate::status::Stale;

/// The time during which incomplete answers serve, in seconds.
const TTL_SECONDS: i64 = 60;

/// Compares the time and the prober of incomplete answers.
pub(super) struct IncompleteAnswers;

/// Records missing answers of this process, as of now.
pub(crate) fn record(scope: Scope, reason: String, unopened: Vec<PathBuf>) -> Input {
    let (at, context) = (boot_seconds(), context_digest());
    let incomplete = Incomplete { at, context, reason: reason.replace('\n', " "), unopened };
    super::record_state(scope, Evidence::Incomplete(incomplete))
}

/// Records the rights and limits under which a probe fails.
pub(crate) fn record_for_failure() -> Input {
    record(Scope::Binary, String::new(), Vec::new())
}

/// Returns whether a file or directory is absent or can be opened for reading.
pub(crate) fn opens(path: &Path) -> bool {
    match open_nonblocking(path, fs::File::options().read(true)) {
        Ok(_) => true,
        Err(error) => is_absent(&error),
    }
}

/// Returns whether an error means that a file is absent.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The reason why incomplete answers do not serve this process now; `None` if they do.
pub(super) fn expired(incomplete: &Incomplete) -> Option<Stale> {
    let age = boot_seconds().saturating_sub(incomplete.at);
    // The age first: of an old one the rights of this process need not be examined.
    let found = if !(0..TTL_SECONDS).contains(&age) {
        format!("that was {age} s ago")
    } else if incomplete.context != context_digest() {
        "a caller with other rights or limits".to_owned()
    } else {
        let opened = incomplete.unopened.iter().find(|path| opens(path))?;
        format!("{} can be opened", Escaped::new(opened))
    };
    let (input, scope, path) = (InputKind::Incomplete, Scope::Binary, PathBuf::new());
    Some(Stale { input, scope, path, recorded: incomplete.reason.clone(), found })
}

impl Compare for IncompleteAnswers {
    fn fast_checks(&self, input: &Input, _: &HostFacts) -> Option<Vec<FastCheck>> {
        match &input.evidence {
            Evidence::Incomplete(incomplete) => {
                Some(vec![FastCheck::Incomplete(Box::new(incomplete.clone()))])
            }
            _ => None,
        }
    }

    fn full_check(&self, input: &Input, _: &Present<'_>) -> Check {
        let Evidence::Incomplete(incomplete) = &input.evidence else {
            return super::differs_in_kind(input);
        };
        match expired(incomplete) {
            Some(stale) => Check::Differs(Stale { scope: input.scope, ..stale }),
            None => Check::Same,
        }
    }

    fn holds_for_failure(&self, input: &Input, _: &HostFacts) -> bool {
        // A caller with other rights or limits may succeed.
        match &input.evidence {
            Evidence::Incomplete(incomplete) => incomplete.context == context_digest(),
            _ => false,
        }
    }

    fn describe(&self, input: &Input) -> String {
        match &input.evidence {
            Evidence::Incomplete(incomplete) => incomplete.reason.clone(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_answers_serve_the_same_caller_for_a_minute_and_until_a_module_opens() {
        let directory = tempfile::tempdir().unwrap();
        let expired = |age: i64, context: &str, unopened: &[&Path]| {
            let incomplete = Incomplete {
                at: boot_seconds() - age,
                context: context.to_owned(),
                reason: "no memory".to_owned(),
                unopened: unopened.iter().map(PathBuf::from).collect(),
            };
            super::expired(&incomplete).map(|stale| stale.found)
        };
        let own = context_digest();
        assert_eq!(expired(0, &own, &[]), None);
        assert_eq!(expired(TTL_SECONDS - 2, &own, &[]), None);
        assert!(expired(TTL_SECONDS, &own, &[]).is_some_and(|found| found.contains("s ago")));
        assert!(expired(-1000, &own, &[]).is_some(), "recorded before a reboot");
        assert!(expired(0, "other", &[]).is_some_and(|found| found.contains("other rights")));
        let opened = expired(0, &own, &[directory.path()]).unwrap();
        assert!(opened.ends_with("can be opened"), "{opened}");
    }
}
