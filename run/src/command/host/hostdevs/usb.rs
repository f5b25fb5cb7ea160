//! USB devices of the host.

use super::Seen;
use crate::command::args::Args;
use crate::command::{address, boot_order};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// Adds a device.
pub(super) fn add(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    seen: &mut Seen,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    cx.require_device(view, "usb-host")?;
    let source = view.child("source").ok_or_else(|| view.invalid("", "add <source>"))?;
    // libvirt detaches USB devices always.
    view.ignore(&["@managed"]);
    source.one_of("@startupPolicy", &["mandatory"])?;
    let (bus, number) = find(cx, source)?;
    if (bus, number) == (0, 0) {
        return Err(source.invalid("", "the device has no bus and no number"));
    }
    seen.add(view, format!("usb {bus} {number}"))?;
    let mut props = Props::device("usb-host");
    if cx.has_property("usb-host", "hostdevice") {
        props.set("hostdevice", format!("/dev/bus/usb/{bus:03}/{number:03}"));
    } else {
        props.set_some("hostbus", Some(bus).filter(|bus| *bus > 0));
        props.set_some("hostaddr", Some(number).filter(|number| *number > 0));
    }
    props.set("id", device.alias());
    props.set_some("bootindex", boot_order::index(cx, device)?);
    add_resets(cx, source, &mut props)?;
    address::add(cx, device, &mut props)?;
    args.device(&props);
    Ok(())
}

/// Returns the bus and the number of the device on the host.
fn find(cx: &Context<'_>, source: View<'_>) -> Result<(u32, u32), Error> {
    let require = |place| -> Result<u32, Error> {
        source.require(place)?;
        Ok(source.any_number(place)?.unwrap_or(0))
    };
    if source.has("address") {
        return Ok((require("address@bus")?, require("address@device")?));
    }
    let (vendor, product) = (require("vendor@id")?, require("product@id")?);
    (cx.host.usb_device)(vendor, product)
        .ok_or_else(|| source.unsupported("", "the host does not have exactly one such device"))
}

fn add_resets(cx: &Context<'_>, source: View<'_>, props: &mut Props) -> Result<(), Error> {
    let place = "@guestReset";
    let Some(resets) = source.one_of(place, &["off", "uninitialized", "on"])? else {
        return Ok(());
    };
    if !cx.has_property("usb-host", "guest-resets-all") {
        return Err(source.lacks(place, "the property guest-resets-all of usb-host; remove it"));
    }
    props.set("guest-reset", resets != "off");
    if resets != "off" {
        props.set("guest-resets-all", resets == "on");
    }
    Ok(())
}
