//! Memory, virtual CPUs, and NUMA.

mod backend;
mod backing;
mod bitmap;
mod cells;
mod hmat;
mod sizes;
mod tuning;

pub(super) mod complete;
pub(super) mod iothreads;
pub(super) mod modules;
pub(super) mod numa;
pub(super) mod pinning;
pub(super) mod ram;
pub(super) mod shared;
pub(super) mod smp;
