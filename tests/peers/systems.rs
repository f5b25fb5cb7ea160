//! Systems with releases of libvirt, which `make test-peers` makes with `fixtures/roots.sh`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::rights::{can_change_user, can_mount};

/// The systems: libvirt 9.0, 11.3, and the newest there is.
const SYSTEMS: [&str; 3] = ["libvirt-bookworm", "libvirt-trixie", "libvirt-sid"];

/// Exit code of the scripts in `fixtures` where the command does not run in a system.
const DOES_NOT_RUN: i32 = 77;

/// Runs a script of `fixtures` in a system; returns its output. `None`, with a report, if the command does not run there.
pub(crate) fn run_in<W: AsRef<OsStr>>(
    system: &Path,
    script: &str,
    into: &Path,
    words: impl IntoIterator<Item = W>,
) -> Option<String> {
    let mut command =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(script));
    command.arg(system).arg(env!("CARGO_BIN_EXE_capscache")).arg(into);
    let output = command.args(words).output().unwrap();
    if output.status.code() == Some(DOES_NOT_RUN) {
        println!(
            "SKIPPED: the command does not run in {}: its C library is older",
            system.display()
        );
        return None;
    }
    let log = || fs::read_to_string(into.join("log")).unwrap_or_default();
    assert!(output.status.success(), "{output:?} {}", log());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Returns the name and the directory of each system; reports a skip for those that are not there.
pub(crate) fn systems() -> Vec<(&'static str, PathBuf)> {
    if !can_change_user() || !can_mount() {
        println!("SKIPPED: not root, or no mounts can be made: no release of libvirt is run");
        return Vec::new();
    }
    let roots = std::env::var_os("ROOTS").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("../fixture-roots"),
        PathBuf::from,
    );
    let is_made = |(_, system): &(&str, PathBuf)| {
        let is_made = system.is_dir();
        if !is_made {
            println!("SKIPPED: no {}; `make test-peers` makes it, as root", system.display());
        }
        is_made
    };
    SYSTEMS.map(|name| (name, roots.join(name))).into_iter().filter(is_made).collect()
}
