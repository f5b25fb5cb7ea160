//! The nodes that memory of a process is allocated on, and the limit of locked memory.

use capscache_domain::Guest;
use rustix::process::{Resource, getrlimit};

use super::privileges;
use crate::command::NodePolicy;
use crate::resources::ResourceError;
use crate::user::User;

/// The memory in KiB that an emulator locks beside that of its guest, at most.
const OVERHEAD_KIB: u64 = 1 << 20;

/// Checks that a process can choose the nodes of its memory.
pub(super) fn check_policy(policy: NodePolicy) -> Result<(), ResourceError> {
    match policy {
        NodePolicy::Bind | NodePolicy::Preferred | NodePolicy::Interleave => Ok(()),
        NodePolicy::Restrictive => Err(ResourceError::host(
            "memory is restricted to NUMA nodes by a control group, which is not supported",
            "use mode='strict' in <numatune>",
        )),
    }
}

/// Checks that a process may lock the memory of a guest.
pub(super) fn check_locked(guest: &Guest, user: Option<&User>) -> Result<(), ResourceError> {
    let limit = getrlimit(Resource::Memlock).maximum;
    let needed = guest.memory_kib.unwrap_or(0).saturating_add(OVERHEAD_KIB);
    match limit {
        Some(bytes) if bytes / 1024 < needed && !privileges::locks_memory(user) => {
            Err(ResourceError::host(
                format!(
                    "the guest locks its memory, of which this user may lock {} KiB only",
                    bytes / 1024
                ),
                format!("raise the hard limit of locked memory (ulimit -H -l) to {needed} KiB"),
            ))
        }
        _ => Ok(()),
    }
}
