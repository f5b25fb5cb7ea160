//! The order in which libvirt visits devices where their kinds share numbers.

use capscache_domain::Kind;

use crate::devices::Id;
use crate::plan::Plan;

/// Kinds of devices in the order in which channel devices, zPCI identifiers and USB ports are numbered.
const VISITED: &[Kind] = &[
    Kind::Disk,
    Kind::Interface,
    Kind::Sound,
    Kind::Hostdev,
    Kind::Video,
    Kind::Controller,
    Kind::Smartcard,
    Kind::Serial,
    Kind::Parallel,
    Kind::Channel,
    Kind::Console,
    Kind::Input,
    Kind::Filesystem,
    Kind::Watchdog,
    Kind::Memballoon,
    Kind::Rng,
    Kind::Nvram,
    Kind::Hub,
    Kind::Shmem,
    Kind::Tpm,
    Kind::Panic,
    Kind::Memory,
    Kind::Redirdev,
    Kind::Iommu,
    Kind::Vsock,
    Kind::Crypto,
    Kind::Pstore,
];

/// The devices in the order in which their kinds share numbers.
pub(crate) fn visited(plan: &Plan<'_>) -> Vec<Id> {
    VISITED.iter().flat_map(|kind| plan.devices.of(*kind).iter().copied()).collect()
}
