//! Pictures of a guest: its buses, what is on them, and the addresses.
//!
//! [`tree`] draws for a terminal, [`svg`] for a document. Both show a guest as it is, with or without addresses, and
//! whether or not the addresses agree with each other: a device on a bus that no controller provides is shown on that
//! bus, and a bridge that leads to itself is shown once. Both take time and space in proportion to the guest.
//!
//! ```
//! use capscache_devaddr::picture::tree;
//! use capscache_domain::{Address, Device, Disk, Guest, PciAddress};
//!
//! let mut guest = Guest::new("x86_64", "pc");
//! let address = Address::Pci(PciAddress::new(0, 3));
//! guest.devices.push(Device::with_address(Disk::new("vda".into()), address));
//! assert_eq!(tree(&guest), "\
//! guest  (x86_64 pc)
//! └─ PCI bus 0  (no controller)
//!    └─ 00:03.0  disk vda
//! ");
//! ```
//!
//! # Notation of addresses
//!
//! | bus | shown | is |
//! |---|---|---|
//! | PCI | `00:02.1`, `0001:00:02.1` | bus, slot and function as `lspci` writes them, with the domain if it is not 0 |
//! | USB | `0-1.2` | controller, then the ports, as Linux names a USB device |
//! | IDE, SATA, SCSI, floppy | `0:0:1:3` | controller, bus, target and unit |
//! | virtio-serial, CCID | `0.3` | controller and port |
//! | channel I/O | `fe.0.0001` | the channel subsystem, the subchannel set and the device number |
//! | spapr-vio | `0x30000000` | the register |
//! | ISA | `0x3f8 irq 4` | the first port and the interrupt |
//! | memory | `0` | the slot |

mod name;
mod notation;
mod svg;
#[cfg(test)]
mod tests;
mod topology;
mod tree;

pub use svg::svg;
pub use tree::tree;
