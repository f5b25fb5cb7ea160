//! Addresses of devices on the buses of a guest.

mod xml;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::{Switch, Value, number, words};

/// The address of a device in the guest.
///
/// The names of the types and of their parts are libvirt's, also in JSON: `{"type": "pci", "slot": 3}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Address {
    /// On a PCI or PCIe bus.
    Pci(PciAddress),
    /// On an IDE, SATA, SCSI or floppy controller.
    Drive(DriveAddress),
    /// A port of a virtio-serial controller.
    VirtioSerial(VirtioSerialAddress),
    /// A slot of a smart-card controller.
    Ccid(CcidAddress),
    /// A port of a USB controller or hub.
    Usb(UsbAddress),
    /// A register on pseries' virtual I/O bus.
    SpaprVio(SpaprVioAddress),
    /// A channel device of s390.
    Ccw(CcwAddress),
    /// The former virtio transport of s390.
    VirtioS390,
    /// A virtio transport in memory, which the machine numbers itself.
    VirtioMmio,
    /// On the ISA bus.
    Isa(IsaAddress),
    /// A memory slot.
    Dimm(DimmAddress),
    /// The device has no address: it is not visible to the guest.
    Unassigned,
}

/// A part of an address that is greater than its largest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// The name of the part.
    pub part: &'static str,
    /// The value.
    pub found: u32,
    /// The largest value.
    pub max: u32,
}

impl Address {
    /// Returns the first part that is out of its range: of a PCI address (PCI Local Bus Specification 3.0) or of one on
    /// channel I/O. Addresses that were read from XML have none.
    pub fn out_of_range(&self) -> Option<OutOfRange> {
        let parts = match self {
            Address::Pci(a) => vec![
                ("domain", a.domain, 0xffff),
                ("bus", a.bus, 0xff),
                ("slot", a.slot, 31),
                ("function", a.function, 7),
            ],
            Address::Ccw(a) if *a != CcwAddress::UNASSIGNED => {
                vec![("cssid", a.cssid, 0xfe), ("ssid", a.ssid, 3), ("devno", a.devno, 0xffff)]
            }
            _ => Vec::new(),
        };
        let out = parts.into_iter().find(|(_, found, max)| found > max);
        out.map(|(part, found, max)| OutOfRange { part, found, max })
    }
}

macro_rules! part {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)+ }
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)+ }
    )+};
}

part! {
    /// An address on a PCI or PCIe bus.
    pub struct PciAddress {
        /// The domain; 0 on all machines.
        domain: u32,
        /// The index of the controller that provides the bus.
        bus: u32,
        /// The slot, at most 31.
        slot: u32,
        /// The function, at most 7.
        function: u32,
        /// On if other functions of the slot may be used; set on function 0.
        #[serde(skip_serializing_if = "Option::is_none")]
        multifunction: Option<Switch>,
        /// The identifiers of s390.
        #[serde(skip_serializing_if = "Option::is_none")]
        zpci: Option<Zpci>,
    }

    /// The identifiers of a PCI function on s390.
    pub struct Zpci {
        /// The user-defined identifier, from 1 to 65535.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
        /// The function identifier.
        #[serde(skip_serializing_if = "Option::is_none")]
        fid: Option<u32>,
    }

    /// An address on an IDE, SATA, SCSI or floppy controller.
    pub struct DriveAddress {
        /// The index of the controller.
        controller: u32,
        /// The bus of the controller.
        bus: u32,
        /// The target.
        target: u32,
        /// The unit.
        unit: u32,
    }

    /// A port of a virtio-serial controller.
    pub struct VirtioSerialAddress {
        /// The index of the controller.
        controller: u32,
        /// The bus; always 0.
        bus: u32,
        /// The port; 0 is for a console.
        port: u32,
    }

    /// A slot of a smart-card controller.
    pub struct CcidAddress {
        /// The index of the controller.
        controller: u32,
        /// The slot.
        slot: u32,
    }

    /// A port of a USB controller or of a hub.
    pub struct UsbAddress {
        /// The index of the controller.
        bus: u32,
        /// The port, and the ports of hubs on the way to it: `1.2`. Empty if it is still to be assigned.
        port: UsbPort,
    }

    /// A register on pseries' virtual I/O bus.
    pub struct SpaprVioAddress {
        /// The register.
        #[serde(skip_serializing_if = "Option::is_none")]
        reg: Option<u64>,
    }

    /// A channel device of s390.
    pub struct CcwAddress {
        /// The channel subsystem: 0xfe for virtual devices.
        cssid: u32,
        /// The subchannel set.
        ssid: u32,
        /// The device number.
        devno: u32,
    }

    /// An address on the ISA bus.
    pub struct IsaAddress {
        /// The first port.
        #[serde(skip_serializing_if = "Option::is_none")]
        iobase: Option<u32>,
        /// The interrupt.
        #[serde(skip_serializing_if = "Option::is_none")]
        irq: Option<u32>,
    }

    /// A memory slot.
    pub struct DimmAddress {
        /// The slot.
        #[serde(skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
        /// The physical address.
        #[serde(skip_serializing_if = "Option::is_none")]
        base: Option<u64>,
    }
}

/// The ports on the way to a USB device, from the controller outwards: at most four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsbPort {
    path: [u8; 4],
}

impl UsbPort {
    /// Creates a path of ports; `None` if it has more than four or one is 0.
    pub fn new(ports: &[u8]) -> Option<UsbPort> {
        if ports.contains(&0) {
            return None;
        }
        let mut path = [0; 4];
        path.get_mut(..ports.len())?.copy_from_slice(ports);
        Some(UsbPort { path })
    }

    /// The ports, from the controller outwards.
    pub fn ports(&self) -> &[u8] {
        let length = self.path.iter().position(|port| *port == 0).unwrap_or(self.path.len());
        &self.path[..length]
    }

    /// Parses `1` or `1.2.3`.
    pub fn parse(text: &str) -> Option<UsbPort> {
        let mut path = [0; 4];
        for (index, port) in text.split('.').enumerate() {
            *path.get_mut(index)? = number::<u8>(port).filter(|port| *port > 0)?;
        }
        Some(UsbPort { path })
    }
}

impl fmt::Display for UsbPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, port) in self.ports().iter().enumerate() {
            write!(f, "{}{port}", if index > 0 { "." } else { "" })?;
        }
        Ok(())
    }
}

impl Serialize for UsbPort {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UsbPort {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<UsbPort, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("a USB port is up to four numbers with dots");
        if text.is_empty() {
            Ok(UsbPort::default())
        } else {
            UsbPort::parse(&text).ok_or_else(wrong)
        }
    }
}

#[cfg(feature = "json-schema")]
impl schemars::JsonSchema for UsbPort {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UsbPort".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Up to four port numbers from 1 to 255, with dots between them.",
            "type": "string",
            "pattern": r"^([0-9]+(\.[0-9]+){0,3})?$",
        })
    }
}

impl Value for UsbPort {
    const EXPECTED: &'static str = "up to four port numbers from 1 to 255, with dots between them";

    fn parse(text: &str) -> Option<UsbPort> {
        UsbPort::parse(text)
    }

    fn format(&self) -> String {
        self.to_string()
    }
}

words! {
    /// The type of an [`Address`].
    pub enum AddressType {
        Pci = "pci",
        Drive = "drive",
        VirtioSerial = "virtio-serial",
        Ccid = "ccid",
        Usb = "usb",
        SpaprVio = "spapr-vio",
        Ccw = "ccw",
        VirtioS390 = "virtio-s390",
        VirtioMmio = "virtio-mmio",
        Isa = "isa",
        Dimm = "dimm",
        Unassigned = "unassigned",
    }
}

impl PciAddress {
    /// Creates an address of function 0.
    pub fn new(bus: u32, slot: u32) -> PciAddress {
        PciAddress { bus, slot, ..PciAddress::default() }
    }

    /// Returns true if domain, bus and slot are 0, which libvirt takes for an address still to be assigned.
    pub fn is_empty(&self) -> bool {
        self.domain == 0 && self.bus == 0 && self.slot == 0
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.slot, self.function)
    }
}

impl fmt::Display for DriveAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DriveAddress { controller, bus, target, unit } = self;
        write!(f, "controller {controller} bus {bus} target {target} unit {unit}")
    }
}

impl fmt::Display for CcwAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}.{:04x}", self.cssid, self.ssid, self.devno)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Pci(pci) => write!(f, "PCI {pci}"),
            Address::Drive(drive) => drive.fmt(f),
            Address::VirtioSerial(a) => {
                write!(f, "virtio-serial controller {} port {}", a.controller, a.port)
            }
            Address::Ccid(a) => write!(f, "ccid controller {} slot {}", a.controller, a.slot),
            Address::Usb(a) => write!(f, "USB bus {} port {}", a.bus, a.port),
            Address::SpaprVio(a) => write!(f, "spapr-vio reg 0x{:x}", a.reg.unwrap_or(0)),
            Address::Ccw(a) => write!(f, "ccw {a}"),
            Address::Isa(a) => match (a.iobase, a.irq) {
                (Some(iobase), Some(irq)) => write!(f, "ISA iobase 0x{iobase:x} irq 0x{irq:x}"),
                (Some(iobase), None) => write!(f, "ISA iobase 0x{iobase:x}"),
                (None, Some(irq)) => write!(f, "ISA irq 0x{irq:x}"),
                (None, None) => f.write_str("ISA"),
            },
            Address::Dimm(a) => write!(f, "memory slot {}", a.slot.unwrap_or(0)),
            Address::VirtioS390 | Address::VirtioMmio | Address::Unassigned => {
                f.write_str(self.kind().as_str())
            }
        }
    }
}

impl Address {
    /// The type.
    pub fn kind(&self) -> AddressType {
        match self {
            Address::Pci(_) => AddressType::Pci,
            Address::Drive(_) => AddressType::Drive,
            Address::VirtioSerial(_) => AddressType::VirtioSerial,
            Address::Ccid(_) => AddressType::Ccid,
            Address::Usb(_) => AddressType::Usb,
            Address::SpaprVio(_) => AddressType::SpaprVio,
            Address::Ccw(_) => AddressType::Ccw,
            Address::VirtioS390 => AddressType::VirtioS390,
            Address::VirtioMmio => AddressType::VirtioMmio,
            Address::Isa(_) => AddressType::Isa,
            Address::Dimm(_) => AddressType::Dimm,
            Address::Unassigned => AddressType::Unassigned,
        }
    }

    /// Returns the PCI address, if it is one.
    pub fn pci(&self) -> Option<&PciAddress> {
        match self {
            Address::Pci(pci) => Some(pci),
            _ => None,
        }
    }
}

impl CcwAddress {
    /// An address of which only the type is given.
    pub const UNASSIGNED: CcwAddress = CcwAddress { cssid: u32::MAX, ssid: 0, devno: 0 };
}
