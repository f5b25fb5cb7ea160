//! The `<address>` element.

use super::{
    Address, AddressType, CcidAddress, CcwAddress, DimmAddress, DriveAddress, IsaAddress,
    PciAddress, SpaprVioAddress, UsbAddress, UsbPort, VirtioSerialAddress, Zpci,
};
use crate::error::{Cause, Fault};
use crate::fields::{Field, shorten};
use crate::tree::Element;
use crate::value;

impl Address {
    /// Reads an `<address>` element.
    pub(crate) fn read(element: &Element) -> Result<Address, Fault> {
        let Some(kind) = element.attribute("type") else {
            return Err(Fault::new(element.offset, "@type", Cause::Missing));
        };
        let Some(kind) = AddressType::from_word(kind) else {
            let found = shorten(kind);
            return Err(Fault::new(element.offset, "@type", Cause::AddressType { found }));
        };
        let get = |place, max: u32| limited(element, place, max);
        Ok(match kind {
            AddressType::Pci => Address::Pci(PciAddress {
                domain: get("@domain", 0xffff)?,
                bus: get("@bus", 0xff)?,
                slot: get("@slot", 31)?,
                function: get("@function", 7)?,
                multifunction: Field::read(element, "@multifunction")?,
                zpci: match element.child("zpci") {
                    Some(zpci) => {
                        let below = |fault: Fault| fault.below("/zpci");
                        Some(Zpci {
                            uid: Field::read(zpci, "@uid").map_err(below)?,
                            fid: Field::read(zpci, "@fid").map_err(below)?,
                        })
                    }
                    None => None,
                },
            }),
            AddressType::Drive => Address::Drive(DriveAddress {
                controller: decimal(element, "@controller")?,
                bus: decimal(element, "@bus")?,
                target: decimal(element, "@target")?,
                unit: decimal(element, "@unit")?,
            }),
            AddressType::VirtioSerial => Address::VirtioSerial(VirtioSerialAddress {
                controller: decimal(element, "@controller")?,
                bus: decimal(element, "@bus")?,
                port: decimal(element, "@port")?,
            }),
            AddressType::Ccid => Address::Ccid(CcidAddress {
                controller: decimal(element, "@controller")?,
                slot: decimal(element, "@slot")?,
            }),
            AddressType::Usb => {
                let port: Option<UsbPort> = Field::read(element, "@port")?;
                Address::Usb(UsbAddress {
                    bus: decimal(element, "@bus")?,
                    port: port.unwrap_or_default(),
                })
            }
            AddressType::SpaprVio => {
                Address::SpaprVio(SpaprVioAddress { reg: hexadecimal(element, "@reg")? })
            }
            AddressType::Ccw => {
                // All parts of the number are given, or none.
                let is_missing =
                    |place: &&str| element.attribute(place.trim_start_matches('@')).is_none();
                let mut missing = ["@cssid", "@ssid", "@devno"].into_iter().filter(is_missing);
                match (missing.clone().count(), missing.next()) {
                    (3, _) => Address::Ccw(CcwAddress::UNASSIGNED),
                    (_, Some(place)) => {
                        return Err(Fault::new(element.offset, place, Cause::Missing));
                    }
                    (_, None) => Address::Ccw(CcwAddress {
                        cssid: get("@cssid", 0xfe)?,
                        ssid: get("@ssid", 3)?,
                        devno: get("@devno", 0xffff)?,
                    }),
                }
            }
            AddressType::Isa => {
                let (iobase, irq) =
                    (hexadecimal(element, "@iobase")?, hexadecimal(element, "@irq")?);
                Address::Isa(IsaAddress { iobase, irq })
            }
            AddressType::Dimm => Address::Dimm(DimmAddress {
                slot: Field::read(element, "@slot")?,
                base: hexadecimal(element, "@base")?,
            }),
            AddressType::VirtioS390 => Address::VirtioS390,
            AddressType::VirtioMmio => Address::VirtioMmio,
            AddressType::Unassigned => Address::Unassigned,
        })
    }

    /// Returns the `<address>` element as libvirt formats it.
    pub(crate) fn to_element(&self) -> Element {
        let mut element = Element::new("address");
        element.set("type", self.kind().as_str());
        let mut set = |name: &str, value: String| element.set(name, value);
        match self {
            // An address still to be assigned has only its type.
            Address::Pci(a) => {
                if !a.is_empty() || a.function > 0 || a.multifunction.is_some() {
                    set("domain", format!("0x{:04x}", a.domain));
                    set("bus", format!("0x{:02x}", a.bus));
                    set("slot", format!("0x{:02x}", a.slot));
                    set("function", format!("0x{:x}", a.function));
                }
                if let Some(multifunction) = a.multifunction {
                    set("multifunction", multifunction.to_string());
                }
                if let Some(zpci) = &a.zpci {
                    let mut child = Element::new("zpci");
                    if let Some(uid) = zpci.uid {
                        child.set("uid", format!("0x{uid:04x}"));
                    }
                    if let Some(fid) = zpci.fid {
                        child.set("fid", format!("0x{fid:08x}"));
                    }
                    element.push(child);
                }
            }
            Address::Drive(a) => {
                set("controller", a.controller.to_string());
                set("bus", a.bus.to_string());
                set("target", a.target.to_string());
                set("unit", a.unit.to_string());
            }
            Address::VirtioSerial(a) => {
                set("controller", a.controller.to_string());
                set("bus", a.bus.to_string());
                set("port", a.port.to_string());
            }
            Address::Ccid(a) => {
                set("controller", a.controller.to_string());
                set("slot", a.slot.to_string());
            }
            Address::Usb(a) => {
                set("bus", a.bus.to_string());
                if !a.port.ports().is_empty() {
                    set("port", a.port.to_string());
                }
            }
            Address::SpaprVio(a) => {
                if let Some(reg) = a.reg {
                    set("reg", format!("0x{reg:08x}"));
                }
            }
            Address::Ccw(a) => {
                if *a != CcwAddress::UNASSIGNED {
                    set("cssid", format!("0x{:x}", a.cssid));
                    set("ssid", format!("0x{:x}", a.ssid));
                    set("devno", format!("0x{:04x}", a.devno));
                }
            }
            Address::Isa(a) => {
                if let Some(iobase) = a.iobase {
                    set("iobase", format!("0x{iobase:x}"));
                }
                if let Some(irq) = a.irq {
                    set("irq", format!("0x{irq:x}"));
                }
            }
            Address::Dimm(a) => {
                if let Some(slot) = a.slot {
                    set("slot", slot.to_string());
                }
                if let Some(base) = a.base {
                    set("base", format!("0x{base:x}"));
                }
            }
            Address::VirtioS390 | Address::VirtioMmio | Address::Unassigned => {}
        }
        element
    }
}

/// Reads a decimal number; 0 if it is missing.
fn decimal(element: &Element, place: &str) -> Result<u32, Fault> {
    let name = place.trim_start_matches('@');
    let attribute = element.attributes.iter().find(|a| a.name == name);
    match attribute.filter(|a| a.value.contains(['x', 'X'])) {
        Some(a) => Err(wrong(a.offset, place, &a.value, "a decimal number")),
        None => limited(element, place, u32::MAX),
    }
}

/// Reads a number that is hexadecimal even without `0x`.
fn hexadecimal<N: TryFrom<u64>>(element: &Element, place: &str) -> Result<Option<N>, Fault> {
    let name = place.trim_start_matches('@');
    let Some(a) = element.attributes.iter().find(|a| a.name == name) else { return Ok(None) };
    let number = value::hexadecimal(&a.value).and_then(|number| N::try_from(number).ok());
    number.map(Some).ok_or_else(|| wrong(a.offset, place, &a.value, "a hexadecimal number"))
}

fn wrong(offset: u32, place: &str, found: &str, expected: &'static str) -> Fault {
    Fault::new(offset, place, Cause::Value { found: shorten(found), expected })
}

/// Reads a number that is at most `max`; 0 if it is missing.
fn limited(element: &Element, place: &str, max: u32) -> Result<u32, Fault> {
    let value: Option<u32> = Field::read(element, place)?;
    let value = value.unwrap_or(0);
    if value > max {
        let name = place.trim_start_matches('@');
        let attribute = element.attributes.iter().find(|a| a.name == name);
        let found = attribute.map_or_else(String::new, |a| shorten(&a.value));
        let expected = match max {
            0xff => "a number up to 0xff",
            0xffff => "a number up to 0xffff",
            0xfe => "a number up to 0xfe",
            31 => "a number up to 31",
            7 => "a number up to 7",
            _ => "a smaller number",
        };
        let at = attribute.map_or(element.offset, |a| a.offset);
        return Err(Fault::new(at, place, Cause::Value { found, expected }));
    }
    Ok(value)
}
