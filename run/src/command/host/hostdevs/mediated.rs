//! Mediated devices of the host.

use capscache_domain::Address;

use super::{Seen, on_off};
use crate::command::Setup;
use crate::command::args::Args;
use crate::command::{address, boot_order};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;
use crate::uuid;

/// Adds a device.
pub(super) fn add(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    seen: &mut Seen,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    // It concerns devices that are bound to a driver.
    view.ignore(&["@managed"]);
    view.require("@model")?;
    let model = view.one_of("@model", &["vfio-pci", "vfio-ccw", "vfio-ap"])?.unwrap_or_default();
    let place = "source/address@uuid";
    let uuid = uuid::format(view.require(place)?);
    let uuid = uuid.ok_or_else(|| view.invalid(place, "it is not a UUID"))?;
    // A second matrix would replace the first.
    let source = if model == "vfio-ap" { "vfio-ap".to_owned() } else { format!("mdev {uuid}") };
    seen.add(view, source)?;
    let is_valid = match model {
        "vfio-pci" => matches!(device.address(), Some(Address::Pci(_))),
        "vfio-ccw" => matches!(device.address(), Some(Address::Ccw(_))),
        _ => device.address().is_none(),
    };
    if !is_valid {
        return Err(view.invalid("address", format!("{model} cannot have this address")));
    }
    // libvirt has no device of s390 for a mediated one.
    if matches!(device.address(), Some(Address::Pci(pci)) if pci.zpci.is_some()) {
        return Err(view.unsupported("address", "mediated PCI devices of s390 are not supported"));
    }
    // The device reaches the memory of the guest, which must stay where it is.
    args.setup(Setup::LockedMemory);
    let (display, ramfb) = match model {
        "vfio-pci" => {
            let (display, ramfb) = seen.display(cx, view)?;
            (Some(display.unwrap_or(false)), ramfb)
        }
        _ => (None, false),
    };
    let driver = if ramfb { "vfio-pci-nohotplug" } else { model };
    cx.require_device(view, driver)?;
    let mut props = Props::device(driver)
        .with("id", device.alias())
        .with("sysfsdev", format!("/sys/bus/mdev/devices/{uuid}"));
    props.set_some("display", display.map(on_off));
    props.set_some("ramfb", ramfb.then_some(true));
    if model == "vfio-ccw" {
        props.set_some("bootindex", boot_order::index(cx, device)?);
        props.set_some("loadparm", boot_order::loadparm(cx, device)?);
    } else if view.has("boot") {
        return Err(view.invalid("boot", format!("a guest cannot boot from {model}")));
    }
    address::add(cx, device, &mut props)?;
    args.device(&props);
    Ok(())
}
