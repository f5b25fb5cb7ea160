//! Addresses of a QEMU guest's devices: libvirt's rules, and policies beyond them.
//!
//! A driver that describes a guest leaves it to libvirt to choose buses, slots and controllers, or copies its rules.
//! [`assign`] does what libvirt 11.3 does, without a hypervisor: it adds the devices that a guest has without saying
//! so, the controllers that its devices need, and gives each of them an address. It is pure: no I/O, no process, and
//! the same guest always gets the same addresses.
//!
//! ```
//! use capscache_devaddr::{Facts, Policy, assign};
//! use capscache_domain::{Disk, DiskBus, Guest};
//!
//! let mut guest = Guest::new("x86_64", "q35");
//! guest.add(Disk { bus: Some(DiskBus::Virtio), ..Disk::new("vda".to_owned()) });
//!
//! let report = assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default())?;
//! let disk = guest.devices[0].address.as_ref();
//! assert_eq!(disk.map(ToString::to_string).as_deref(), Some("PCI 0000:02:00.0"));
//! assert_eq!(report.lines(&guest)[0], "disk vda at PCI 0000:02:00.0: the lowest free slot that accepts it");
//! # Ok::<(), capscache_devaddr::Error>(())
//! ```
//!
//! [`add`], [`plug`] and [`remove`] change one device of a guest whose devices have addresses, and move no other.
//!
//! The types in order of use: [`Facts`] about the emulator, from an entry of the cache or
//! [built in](Facts::built_in); [`Policy`]; [`assign`]; [`Report`] with a [`Reason`] for each device; [`Error`],
//! which names the device, the address, what is there, and what would fit.

#![forbid(unsafe_code)]

mod assign;
mod bits;
mod ccw;
mod check;
mod describe;
mod devices;
mod dimm;
mod document;
mod drive;
mod error;
mod explain;
mod facts;
mod implicit;
mod incremental;
mod machine;
mod mmio;
mod order;
mod pci;
pub mod picture;
mod plan;
mod policy;
mod spapr_vio;
mod target;
mod usb;
mod virtio;
mod virtio_serial;

pub use assign::assign;
pub use describe::describe;
pub use document::Document;
pub use error::Error;
pub use explain::{Reason, Report, Why};
pub use facts::{Facts, Source};
pub use incremental::{add, plug, remove};
pub use machine::{Board, Family, Machine, Root};
pub use policy::{Definition, DevicePolicy, Policy, SlotKind};
pub use target::disk_index;
