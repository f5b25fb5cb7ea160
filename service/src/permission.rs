//! Permissions of callers.
//!
//! Every user who can connect may read. The service runs a file only if no unprivileged user could have
//! written it, or for root and the service's own user.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use capscache::trust::{Untrusted, is_root_or_unmapped};
use capscache::{Cache, Escaped};
use capscache_watcher::check_probe;

/// Refuses an emulator that an unprivileged caller may not have probed; returns the reason.
///
/// Refused is an emulator that does not belong to root, and one whose probe would run a file that
/// another user than root and the service's own could have written: a file that a script names, a file
/// that the emulator ran and loaded when it was probed before. A script is also refused if its text
/// does not name all that it may run.
pub(crate) fn check(cache: &Cache, emulator: &Path) -> Result<(), String> {
    let shown = Escaped::new(emulator);
    let owner = fs::metadata(emulator).map(|status| status.uid());
    if owner.is_ok_and(|owner| !is_root_or_unmapped(owner)) {
        return Err(format!("{shown} does not belong to root"));
    }
    let entries = cache.entries().into_iter().flatten().flatten();
    let own = entries.filter(|entry| entry.emulator() == emulator);
    let ran_before: Vec<_> = own.flat_map(|entry| entry.depends_on()).collect();
    let names_all =
        check_probe(emulator, &ran_before).map_err(|Untrusted { path, distrust, .. }| {
            format!("{} {distrust}", Escaped::new(&path))
        })?;
    if !names_all {
        return Err(format!("{shown} is a script whose text does not name all that it runs"));
    }
    Ok(())
}
