//! The boot order of devices: `<boot order='N'/>` in a device, or `<boot dev='TYPE'/>` of the guest.

use std::collections::HashSet;

use capscache_devaddr::Family;
use capscache_domain::{DeviceKind, DiskDevice};

use crate::context::{Context, DeviceView};
use crate::error::Error;

/// Returns the position of a device in the boot order, from 1.
pub(super) fn index(cx: &Context<'_>, device: DeviceView<'_>) -> Result<Option<u32>, Error> {
    let own: Option<u32> = device.view.number("boot@order")?;
    match own {
        Some(0) => Err(device.view.invalid("boot@order", "the boot order starts at 1")),
        Some(order) => Ok(Some(order)),
        None => of_guest(cx, device),
    }
}

/// Returns the text by which the loader of s390 selects what it boots. It belongs to the machine in a QEMU whose devices
/// do not take it.
pub(super) fn loadparm(cx: &Context<'_>, device: DeviceView<'_>) -> Result<Option<String>, Error> {
    match cx.has_property("virtio-blk-ccw", "loadparm") {
        true => parameter(device),
        false => Ok(None),
    }
}

/// Returns the same text for a machine whose devices do not take it: that of the first device in the boot order.
pub(super) fn machine_loadparm(cx: &Context<'_>) -> Result<Option<String>, Error> {
    if cx.machine.family != Family::S390 || cx.has_property("virtio-blk-ccw", "loadparm") {
        return Ok(None);
    }
    let is_first = |device: &DeviceView<'_>| device.view.peek("boot@order") == Some("1");
    match cx.devices.iter().find(|device| is_first(device)) {
        Some(device) => parameter(*device),
        None => Ok(None),
    }
}

fn parameter(device: DeviceView<'_>) -> Result<Option<String>, Error> {
    let place = "boot@loadparm";
    let Some(text) = device.view.text(place) else { return Ok(None) };
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == ' ';
    match (1..=8).contains(&text.len()) && text.chars().all(is_valid) {
        true => Ok(Some(text.to_ascii_uppercase())),
        false => Err(device.view.invalid(place, "it must have 1 to 8 letters, digits or dots")),
    }
}

/// Returns the position of a device by the order of types: the first device of each has that of the type.
fn of_guest(cx: &Context<'_>, device: DeviceView<'_>) -> Result<Option<u32>, Error> {
    let Some(r#type) = type_of(device.kind()) else { return Ok(None) };
    let mut same = cx.devices.iter().filter(|other| type_of(other.kind()) == Some(r#type));
    if !same.next().is_some_and(|first| std::ptr::eq(first.typed, device.typed)) {
        return Ok(None);
    }
    let types = types(cx)?;
    // The last of several positions of a type counts.
    let position = types.iter().rposition(|other| *other == r#type);
    Ok(position.and_then(|position| u32::try_from(position + 1).ok()))
}

/// Returns the types of devices in their order: the disks, if the guest has no order at all.
fn types(cx: &Context<'_>) -> Result<Vec<&'static str>, Error> {
    let mut types = Vec::new();
    // libvirt ignores more than four of them.
    for boot in cx.domain.child("os").into_iter().flat_map(|os| os.children("boot")).take(4) {
        boot.require("@dev")?;
        types.extend(boot.one_of("@dev", &["fd", "hd", "cdrom", "network"])?);
    }
    let has_order = cx.devices.iter().any(|device| device.view.peek("boot@order").is_some());
    if types.is_empty() && !has_order {
        types.push("hd");
    }
    Ok(types)
}

/// Returns the type of a device in the boot order.
fn type_of(kind: &DeviceKind) -> Option<&'static str> {
    match kind {
        DeviceKind::Disk(disk) => Some(match disk.device {
            Some(DiskDevice::Floppy) => "fd",
            Some(DiskDevice::Cdrom) => "cdrom",
            _ => "hd",
        }),
        DeviceKind::Interface(_) => Some("network"),
        _ => None,
    }
}

/// Checks that devices have different positions, and only one of the two orders is used.
pub(super) fn check(cx: &Context<'_>) -> Result<(), Error> {
    let mut orders = HashSet::new();
    for device in &cx.devices {
        let Some(order) = device.view.peek("boot@order") else { continue };
        if !orders.insert(order) {
            let what = format!("another device has the boot order {order} too");
            return Err(device.view.invalid("boot@order", what));
        }
    }
    let types = types(cx)?;
    if !orders.is_empty() && !types.is_empty() {
        let what = "devices have a boot order too; remove one of the two";
        return Err(cx.domain.invalid("os/boot", what));
    }
    Ok(())
}
