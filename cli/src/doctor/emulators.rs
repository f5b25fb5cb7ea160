//! QEMU's emulators: those of this host, and their entries.

use std::path::PathBuf;

use anyhow::Result;
use capscache::discovery::find_emulators;
use capscache::{Escaped, Status};

use super::Check;
use crate::host;
use crate::session::join;
use crate::source::Source;

const PART: &str = "emulators";

/// The number of emulators that one finding names.
const SHOWN: usize = 3;

pub(super) fn check(source: &Result<Source>) -> Vec<Check> {
    let found = match source {
        Ok(source) => host::emulators(source),
        // Reported as that of the root.
        Err(_) if !find_emulators(&[]).is_empty() => return Vec::new(),
        Err(_) => Ok(Vec::new()),
    };
    match found {
        Ok(found) if found.is_empty() => {
            let remedy = "install QEMU: Debian's package is qemu-system, Fedora's qemu-kvm; for others, give their paths";
            vec![Check::failure(PART, host::NO_EMULATORS, remedy)]
        }
        Ok(found) => judge(&found),
        Err(error) => vec![Check::of_error(PART, &error)],
    }
}

/// Returns a check of all emulators, one of those without a valid entry, and one for each whose entry or probe is
/// broken.
fn judge(found: &[(PathBuf, Status)]) -> Vec<Check> {
    let valid = found.iter().filter(|(_, status)| matches!(status, Status::Valid)).count();
    let mut checks =
        vec![Check::ok(PART, format!("{} found, {valid} with a valid entry", found.len()))];
    let mut waiting = Vec::new();
    for (emulator, status) in found {
        let name = Escaped::new(emulator);
        let retry = || format!("`capscache warm {name}` probes it again");
        match status {
            Status::Valid => {}
            Status::Failed { reason, .. } => {
                checks.push(Check::failure(
                    PART,
                    format!("cannot probe {name}: {reason}"),
                    retry(),
                ));
            }
            Status::Damaged { path, found } | Status::Unreadable { path, found } => {
                let found =
                    format!("the entry of {name} cannot be used: {}: {found}", Escaped::new(path));
                checks.push(Check::failure(PART, found, retry()));
            }
            // Stale or missing.
            _ => {
                waiting.push(format!("{name} ({})", status.name()));
            }
        }
    }
    if !waiting.is_empty() {
        let shown = join(&waiting[..waiting.len().min(SHOWN)], ", ");
        let further = match waiting.len().saturating_sub(SHOWN) {
            0 => String::new(),
            number => format!(" and {number} more"),
        };
        let found = format!("the next lookup probes {shown}{further}");
        checks.push(Check::warning(PART, found, "`capscache warm --all` probes them now"));
    }
    checks
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_failed_probe_is_a_failure_and_a_missing_entry_a_warning() {
        let failed = Status::Failed {
            reason: "it says no".to_owned(),
            age: Duration::ZERO,
            retry_in: Duration::from_secs(9),
        };
        let found = [("/a", Status::Valid), ("/b", Status::Missing), ("/c", failed)];
        let found = found.map(|(path, status)| (PathBuf::from(path), status));
        let checks = judge(&found);
        let shown: Vec<_> =
            checks.iter().map(|check| (check.state, check.found.as_str())).collect();
        assert_eq!(
            shown,
            [
                (State::Ok, "3 found, 1 with a valid entry"),
                (State::Failure, "cannot probe /c: it says no"),
                (State::Warning, "the next lookup probes /b (missing)"),
            ]
        );
    }
}
