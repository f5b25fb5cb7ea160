//! libvirt's domain XML to a typed guest and back.
//!
//! A driver that computes addresses or command lines needs types, not text, and must not lose what it does not
//! use. A [`Guest`] has both: typed devices with the facts that addresses depend on, and the elements that they
//! were read from. Reading is strict: an element or attribute that libvirt's format does not have is an error
//! with line, column and path, never ignored.
//!
//! ```
//! use capscache_domain::{Address, Disk, DiskBus, Guest, PciAddress};
//!
//! let mut guest = Guest::from_xml(
//!     "<domain type='kvm'>
//!        <os><type arch='x86_64' machine='q35'>hvm</type></os>
//!        <devices><disk type='file'><target dev='vda' bus='virtio'/></disk></devices>
//!      </domain>",
//! )?;
//! guest.devices[0].address = Some(Address::Pci(PciAddress::new(1, 0)));
//! assert!(guest.to_xml().contains(
//!     "<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>"
//! ));
//!
//! let error = Guest::from_xml("<domain type='kvm'>\n  <oss/>\n</domain>").unwrap_err();
//! assert_eq!((error.position.line, error.path.as_str()), (2, "/domain/oss"));
//! # Ok::<(), capscache_domain::ReadError>(())
//! ```
//!
//! The types in order of use: [`Guest`], with [`Os`], [`Features`], [`NumaCell`] and [`MaxMemory`]; [`Device`]
//! and [`DeviceKind`], with a struct for each kind; [`Address`], with a struct for each type; [`ReadError`];
//! [`Element`] for all that the typed fields do not hold. All but the elements serialize, in libvirt's own
//! words; a guest can be deserialized or built without XML.
//!
//! No text makes reading panic or use memory out of proportion to its length.

#![forbid(unsafe_code)]

mod address;
mod device;
mod error;
mod fields;
mod format;
mod guest;
mod parse;
mod read;
mod schema;
mod size;
mod tree;
mod value;
mod write;

pub use address::{
    Address, AddressType, CcidAddress, CcwAddress, DimmAddress, DriveAddress, IsaAddress,
    OutOfRange, PciAddress, SpaprVioAddress, UsbAddress, UsbPort, VirtioSerialAddress, Zpci,
};
pub use device::{
    Audio, AudioType, Channel, ChannelType, Console, ConsoleType, Controller, ControllerModel,
    ControllerType, Crypto, CryptoModel, CryptoType, Device, DeviceKind, Disk, DiskBus, DiskDevice,
    DiskModel, Emulator, Filesystem, FilesystemDriver, FilesystemType, Graphics, GraphicsType,
    Hostdev, HostdevMode, HostdevModel, HostdevProtocol, HostdevType, Hub, HubType, Input,
    InputBus, InputType, Interface, InterfaceType, Iommu, IommuModel, Kind, Lease, Memballoon,
    MemballoonModel, Memory, MemoryModel, Nvram, Panic, PanicModel, Parallel, Pstore,
    PstoreBackend, Redirdev, RedirdevBus, Redirfilter, Rng, Serial, SerialType, Shmem, ShmemModel,
    Smartcard, SmartcardMode, Sound, SoundModel, Tpm, TpmModel, Video, VideoModel, VirtioModel,
    Vsock, Watchdog, WatchdogModel,
};
pub use error::{Cause, Position, ReadError};
pub use guest::{DomainType, Features, Guest, MaxMemory, NumaCell, Os};
pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_NODES};
pub use read::Unknown;
pub use size::{bytes, kib};
pub use tree::{Attribute, Element, Node};
pub use value::{Hex, HexLong, Switch, YesNo};
