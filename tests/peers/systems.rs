//! Systems with releases of libvirt, which `make test-peers` makes with `fixtures/roots.sh`.

use std::path::{Path, PathBuf};

use test_support::rights::{can_change_user, can_mount};

/// The systems: libvirt 9.0, 11.3, and the newest there is.
const SYSTEMS: [&str; 3] = ["libvirt-bookworm", "libvirt-trixie", "libvirt-sid"];

/// Exit code of the scripts in `fixtures` where the command does not run in a system.
pub(crate) const DOES_NOT_RUN: i32 = 77;

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
