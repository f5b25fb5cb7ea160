//! The capabilities of a QEMU in libvirt's vocabulary: capability flags, and the `<qemuCaps>` XML of
//! libvirt's cache.
//!
//! [`flags`] and [`flag`] read an entry. [`QemuCaps`] is everything that libvirt keeps of an emulator:
//! derived from an entry, written as XML byte for byte as libvirt does, and read from it. [`DomainCaps`]
//! is what libvirt reports of one machine type of it: the `<domainCapabilities>` XML. [`Present`] has the
//! rules by which libvirt accepts a file, and [`seed`] fills its cache. All depend on the [`Release`] of
//! libvirt. `docs/libvirt.md` lists what is equal to libvirt and what differs.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod arch;
mod caps;
mod cpu_map;
mod derive;
mod domcaps;
mod expansion;
mod flags;
mod host;
mod hyperv;
mod installed;
pub mod names;
mod read;
mod release;
mod root;
pub mod seed;
mod table;
mod unknown;
mod validity;
mod values;
mod write;
mod xml;

pub use caps::{
    AcceleratorCaps, Cpu, CpuData, CpuProperty, CpuValue, Cpuid, EnlightenmentValues, Gic, HYPERV,
    HostCpu, Machine, Msr, QemuCaps, Sev, Sgx, SgxSection,
};
pub use cpu_map::{Comparison, CpuMap, CpuMapError, GuestCpu, Policy};
pub use derive::{CapsError, Host};
pub use domcaps::{
    CpuModes, CustomModel, DEFAULT_FIRMWARE, DescriptorError, Domain, DomainCaps, DomainError,
    Enumeration, Features, HostModel, Hyperv, LoaderFirmware, Mode, Presence, Section, SevGuests,
    SevSupport, Surroundings, Swtpm, VirtType,
};
pub use expansion::HostCpuView;
pub use flags::{Emulator, FlagSet, find, find_live, flag, flags, has};
pub use host::architecture;
pub use installed::Installed;
pub use release::{Release, UnknownRelease};
pub use table::{FLAGS, Flag, Source};
pub use unknown::UnknownFlag;
pub use validity::{Outdated, Present};
pub use xml::{MAX_XML_BYTES, XmlError};
