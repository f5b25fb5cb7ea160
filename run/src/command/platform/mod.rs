//! Devices of the platform, and small devices of virtio.

pub(super) mod balloon;
pub(super) mod crypto;
pub(super) mod nvram;
pub(super) mod panics;
pub(super) mod pstore;
pub(super) mod rngs;
pub(super) mod shmem;
pub(super) mod vsock;
pub(super) mod watchdogs;
