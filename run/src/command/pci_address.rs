//! Addresses of PCI devices on the host.

use capscache_domain::PciAddress;

use crate::error::Error;
use crate::view::View;

/// Returns the address in a `<source>`, as in `0000:06:12.5`, with libvirt's limits (`virPCIDeviceAddressIsValid`).
pub(in crate::command) fn read(source: View<'_>) -> Result<String, Error> {
    let part = |name: &str, max: u32| {
        let place = format!("address@{name}");
        match source.any_number(&place)?.unwrap_or(0) {
            number if number <= max => Ok(number),
            _ => Err(source.invalid(&place, format!("it must be at most 0x{max:x}"))),
        }
    };
    let (domain, bus) = (part("domain", 0xffff)?, part("bus", 0xff)?);
    let (slot, function) = (part("slot", 0x1f)?, part("function", 7)?);
    Ok(PciAddress { domain, bus, slot, function, ..PciAddress::default() }.to_string())
}
