//! The `<address>` element.

use super::{
    Address, AddressType, CcidAddress, CcwAddress, DimmAddress, DriveAddress, IsaAddress,
    PciAddress, SpaprVioAddress, UsbAddress, UsbPort, VirtioSerialAddress, Zpci,
};
use crate::error::{Cause, Fault};
use crate::fields::{Field, shorten};
use crate::tree::Element;
use crate::value::Hex;

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
                controller: get("@controller", u32::MAX)?,
                bus: get("@bus", u32::MAX)?,
                target: get("@target", u32::MAX)?,
                unit: get("@unit", u32::MAX)?,
            }),
            AddressType::VirtioSerial => Address::VirtioSerial(VirtioSerialAddress {
                controller: get("@controller", u32::MAX)?,
                bus: get("@bus", u32::MAX)?,
                port: get("@port", u32::MAX)?,
            }),
            AddressType::Ccid => Address::Ccid(CcidAddress {
                controller: get("@controller", u32::MAX)?,
                slot: get("@slot", u32::MAX)?,
            }),
            AddressType::Usb => {
                let port: Option<UsbPort> = Field::read(element, "@port")?;
                Address::Usb(UsbAddress {
                    bus: get("@bus", u32::MAX)?,
                    port: port.unwrap_or_default(),
                })
            }
            AddressType::SpaprVio => {
                Address::SpaprVio(SpaprVioAddress { reg: Field::read(element, "@reg")? })
            }
            AddressType::Ccw if element.attribute("devno").is_none() => {
                // All parts of the number are given, or none.
                let part =
                    element.attributes.iter().find(|a| ["cssid", "ssid"].contains(&&*a.name));
                if let Some(part) = part {
                    return Err(Fault::new(part.offset, "@devno", Cause::Missing));
                }
                Address::Ccw(CcwAddress::UNASSIGNED)
            }
            AddressType::Ccw => Address::Ccw(CcwAddress {
                cssid: get("@cssid", 0xfe)?,
                ssid: get("@ssid", 3)?,
                devno: get("@devno", 0xffff)?,
            }),
            AddressType::Isa => {
                let iobase: Option<Hex> = Field::read(element, "@iobase")?;
                let irq: Option<Hex> = Field::read(element, "@irq")?;
                Address::Isa(IsaAddress { iobase: iobase.map(|h| h.0), irq: irq.map(|h| h.0) })
            }
            AddressType::Dimm => Address::Dimm(DimmAddress {
                slot: Field::read(element, "@slot")?,
                base: Field::read(element, "@base")?,
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
