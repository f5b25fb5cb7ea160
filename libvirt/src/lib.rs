//! What a QEMU can do in libvirt's words: its capability flags, and the `<qemuCaps>` XML of its cache.
//!
//! [`flags`] and [`flag`] answer from a view of an entry. [`QemuCaps`] is all that libvirt keeps of an
//! emulator: made from an entry, written as XML byte for byte as libvirt does, and read from it.
//! `docs/libvirt.md` says what is the same and what differs.

#![forbid(unsafe_code)]

mod arch;
mod caps;
mod derive;
mod flags;
mod read;
mod table;
mod write;

pub use caps::{
    AcceleratorCaps, Cpu, CpuData, CpuProperty, CpuValue, Cpuid, Gic, HYPERV, HostCpu, Machine,
    Msr, QemuCaps, Sev, Sgx, SgxSection,
};
pub use derive::{CapsError, HostCpuView, Surroundings};
pub use flags::{Emulator, FlagSet, UnknownFlag, find, find_live, flag, flags, has};
pub use read::{MAX_XML_BYTES, XmlError};
pub use table::{FLAGS, Flag, RELEASE, Source};
