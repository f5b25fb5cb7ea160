//! Permissions of callers.
//!
//! Every user who can connect may read. The service runs a file only if no unprivileged user could have
//! written it, or for root and the service's own user.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use capscache::trust::is_root_or_unmapped;
use capscache::{Cache, Escaped};
use capscache_watcher::check_probe;

/// The user at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    /// Root, or the service's own user.
    pub(crate) is_privileged: bool,
}

impl Caller {
    pub(crate) fn new(uid: u32) -> Caller {
        let own = rustix::process::geteuid().as_raw();
        Caller { uid, is_privileged: uid == 0 || uid == own }
    }
}

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
        check_probe(emulator, &ran_before).map_err(|untrusted| untrusted.to_string())?;
    if !names_all {
        return Err(format!("{shown} is a script whose text does not name all that it runs"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_own_user_are_privileged() {
        let own = rustix::process::geteuid().as_raw();
        assert!(Caller::new(0).is_privileged && Caller::new(own).is_privileged);
        assert!(!Caller::new(own + 1).is_privileged);
    }
}
