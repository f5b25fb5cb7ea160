//! The ROM of a PCI device.

use capscache_domain::Address;

use crate::context::DeviceView;
use crate::error::Error;
use crate::props::Props;

/// Adds the properties of the element `<rom>` of a device.
pub(super) fn add(device: DeviceView<'_>, props: &mut Props) -> Result<(), Error> {
    let Some(rom) = device.view.child("rom") else { return Ok(()) };
    let (enabled, bar, file) = (rom.yes_no("@enabled")?, rom.switch("@bar")?, rom.text("@file"));
    if (enabled, bar, file) == (None, None, None) {
        return Ok(());
    }
    if !matches!(device.address(), Some(Address::Pci(_))) {
        return Err(rom.invalid("", "only devices on PCI have a ROM"));
    }
    if enabled == Some(false) {
        if bar.is_some() || file.is_some() {
            return Err(rom.invalid("@enabled", "a ROM that is off has no bar and no file"));
        }
        props.set("romfile", "");
        return Ok(());
    }
    props.set_some("rombar", bar.map(u32::from));
    props.set_some("romfile", file);
    Ok(())
}
