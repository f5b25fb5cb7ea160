//! Who may have what done.
//!
//! Everybody who can connect reads. The service never runs a file for somebody who could have
//! written it: it is run for root and for the service's own user, or if nobody but root could have.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use capscache::{Cache, is_root_or_unmapped};
use capscache_watcher::check_probe;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) uid: u32,
    /// Root, or the service's own user.
    pub(super) is_privileged: bool,
}

impl Caller {
    pub(super) fn new(uid: u32) -> Caller {
        let own = rustix::process::geteuid().as_raw();
        Caller { uid, is_privileged: uid == 0 || uid == own }
    }
}

/// Refuses, saying why, an emulator that does not belong to root, or with which something would be run
/// that somebody else than root and the service's own user could have written: what it names if it is
/// a script, and all that it ran and loaded when it was probed before. A script that may run what its text
/// does not tell is refused too.
pub(super) fn check(cache: &Cache, emulator: &Path) -> Result<(), String> {
    let owner = fs::metadata(emulator).map(|status| status.uid());
    if owner.is_ok_and(|owner| !is_root_or_unmapped(owner)) {
        return Err(format!("{} does not belong to root", emulator.display()));
    }
    let entries = cache.entries().into_iter().flatten().flatten();
    let own = entries.filter(|entry| entry.emulator() == emulator);
    let ran_before: Vec<_> = own.flat_map(|entry| entry.depends_on()).collect();
    let are_all = check_probe(emulator, &ran_before).map_err(|untrusted| untrusted.to_string())?;
    if !are_all {
        let emulator = emulator.display();
        return Err(format!("{emulator} is a script whose text does not tell all that it runs"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_are_privileged_and_nobody_else_is() {
        let own = rustix::process::geteuid().as_raw();
        assert!(Caller::new(0).is_privileged && Caller::new(own).is_privileged);
        assert!(!Caller::new(own + 1).is_privileged);
    }
}
