//! Privileges of the caller.

use rustix::thread::{CapabilitySet, capabilities};

use crate::resources::ResourceError;
use crate::user::User;

/// Checks that a process may send any command to SCSI devices.
pub(super) fn check_raw_io(user: Option<&User>) -> Result<(), ResourceError> {
    let is_root = rustix::process::geteuid().is_root();
    match user {
        // The emulator of root keeps what root may do.
        None if is_root && has(CapabilitySet::SYS_RAWIO) => Ok(()),
        _ => Err(ResourceError::host(
            "a device of the guest sends any command (rawio='yes'), which only root's emulators may",
            "run as root without another user, or remove rawio",
        )),
    }
}

/// Returns whether a process may lock memory whatever its limit is, or this one may raise that.
pub(super) fn locks_memory(user: Option<&User>) -> bool {
    let is_root = user.is_none() && rustix::process::geteuid().is_root();
    has(CapabilitySet::SYS_RESOURCE) || (is_root && has(CapabilitySet::IPC_LOCK))
}

fn has(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}
