//! Addresses as text, and their order.

use capscache_domain::{Address, CcwAddress};

/// The order of the devices on a bus: by address; then as in the guest.
pub(super) type Order = (u64, u64, u64, u64);

/// Returns the address in the notation of the module; `?` for a part that is still to be assigned.
pub(super) fn notation(address: &Address) -> String {
    match address {
        Address::Pci(pci) if pci.domain == 0 => {
            format!("{:02x}:{:02x}.{:x}", pci.bus, pci.slot, pci.function)
        }
        Address::Pci(pci) => pci.to_string(),
        Address::Drive(a) => format!("{}:{}:{}:{}", a.controller, a.bus, a.target, a.unit),
        Address::VirtioSerial(a) => format!("{}.{}", a.controller, a.port),
        Address::Ccid(a) => format!("{}.{}", a.controller, a.slot),
        Address::Usb(a) if a.port.ports().is_empty() => format!("{}-?", a.bus),
        Address::Usb(a) => format!("{}-{}", a.bus, a.port),
        Address::SpaprVio(a) => a.reg.map_or_else(|| "?".to_owned(), |reg| format!("0x{reg:08x}")),
        Address::Ccw(a) if *a == CcwAddress::UNASSIGNED => "?".to_owned(),
        Address::Ccw(a) => a.to_string(),
        Address::Isa(a) => {
            let iobase = a.iobase.map(|iobase| format!("0x{iobase:x}"));
            let irq = a.irq.map(|irq| format!("irq {irq}"));
            let parts: Vec<String> = iobase.into_iter().chain(irq).collect();
            if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
        }
        Address::Dimm(a) => a.slot.map_or_else(|| "?".to_owned(), |slot| slot.to_string()),
        Address::VirtioS390 | Address::VirtioMmio => "-".to_owned(),
        other => other.kind().to_string(),
    }
}

/// Returns the place of the address among those on its bus.
pub(super) fn order(address: &Address) -> Order {
    let wide = |a: u32, b: u32, c: u32, d: u32| (a.into(), b.into(), c.into(), d.into());
    match address {
        Address::Pci(a) => wide(a.domain, a.bus, a.slot, a.function),
        Address::Drive(a) => wide(a.controller, a.bus, a.target, a.unit),
        Address::VirtioSerial(a) => wide(a.controller, a.bus, a.port, 0),
        Address::Ccid(a) => wide(a.controller, a.slot, 0, 0),
        Address::Usb(a) => {
            let mut path = [0; 4];
            path.iter_mut().zip(a.port.ports()).for_each(|(to, port)| *to = *port);
            // An address without a port is last.
            let port = u32::from_be_bytes(path).wrapping_sub(1);
            wide(a.bus, port, 0, 0)
        }
        Address::SpaprVio(a) => (a.reg.unwrap_or(u64::MAX), 0, 0, 0),
        Address::Ccw(a) => wide(a.cssid, a.ssid, a.devno, 0),
        Address::Isa(a) => wide(a.iobase.unwrap_or(u32::MAX), a.irq.unwrap_or(0), 0, 0),
        Address::Dimm(a) => wide(a.slot.unwrap_or(u32::MAX), 0, 0, 0),
        _ => (0, 0, 0, 0),
    }
}
