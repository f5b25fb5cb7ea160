//! What a probe could not find out because this process was short of something: a fact about the prober,
//! not about the emulator.

#[cfg(feature = "probe")]
mod note;

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use capscache_format::{Escaped, Incomplete, Input};
use rustix::fs::OFlags;

use crate::context;
use crate::host::boot_seconds;
use crate::input::Stale;

#[cfg(feature = "probe")]
pub(crate) use self::note::{is_shown_in, note, record_for_failure};

/// How long incomplete answers serve, in seconds.
const SERVES_SECONDS: i64 = 60;

/// Whether a probe failed under the rights and limits that this process has now.
pub(crate) fn is_same_context(input: &Input) -> bool {
    let recorded = Incomplete::from_value(&input.value);
    recorded.is_some_and(|recorded| recorded.context == context::of_this_process())
}

/// Whether a file or directory can be opened for reading, or is not there at all.
fn opens(path: &Path) -> bool {
    // A pipe must not keep anybody waiting.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    match fs::File::options().read(true).custom_flags(flags).open(path) {
        Ok(_) => true,
        Err(error) => is_absent(&error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Why incomplete answers do not serve this process now; `None` if they do.
pub(crate) fn expired(input: &Input) -> Option<Stale> {
    let incomplete = Incomplete::from_value(&input.value);
    let found = match &incomplete {
        None => "no value of this release".to_owned(),
        Some(incomplete) => {
            let age = boot_seconds().saturating_sub(incomplete.at);
            // What is too old costs no look at the rights of this process.
            if !(0..SERVES_SECONDS).contains(&age) {
                format!("that was {age} s ago")
            } else if incomplete.context != context::of_this_process() {
                "a caller with other rights or limits".to_owned()
            } else {
                let opened = incomplete.unopened.iter().find(|path| opens(path))?;
                format!("{} can be opened", Escaped::new(opened))
            }
        }
    };
    let recorded = incomplete.map_or_else(String::new, |incomplete| incomplete.reason);
    let (input, scope, path) = (input.kind, input.scope, PathBuf::new());
    Some(Stale { input, scope, path, recorded, found })
}

#[cfg(test)]
mod tests {
    use capscache_format::{InputKind, Scope};

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
            let (kind, scope, value) =
                (InputKind::Incomplete, Scope::Binary, incomplete.to_value());
            let name = Vec::new();
            let input =
                Input { kind, scope, name, signature: None, sha256: None, value, racy: false };
            super::expired(&input).map(|stale| stale.found)
        };
        let own = context::of_this_process();
        assert_eq!(expired(0, &own, &[]), None);
        assert_eq!(expired(SERVES_SECONDS - 2, &own, &[]), None);
        assert!(expired(SERVES_SECONDS, &own, &[]).is_some_and(|found| found.contains("s ago")));
        assert!(expired(-1000, &own, &[]).is_some(), "recorded before a reboot");
        assert!(expired(0, "other", &[]).is_some_and(|found| found.contains("other rights")));
        let opened = expired(0, &own, &[directory.path()]).unwrap();
        assert!(opened.ends_with("can be opened"), "{opened}");
    }
}
