//! PCI devices of the host.

use capscache_domain::{Address, Kind};

use super::{Seen, on_off};
use crate::command::Setup;
use crate::command::args::Args;
use crate::command::host::interfaces::{mac, port};
use crate::command::host::rom;
use crate::command::{address, boot_order, pci_address};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::host::{Assigned, AssignedNetwork};
use crate::props::Props;
use crate::view::View;

/// Adds a device, unless it has no place in the guest.
pub(super) fn add(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    seen: &mut Seen,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    let source = view.child("source").ok_or_else(|| view.invalid("", "add <source>"))?;
    let host = pci_address::read(source)?;
    seen.add(view, format!("pci {host}"))?;
    let network = match device.typed.device.kind() {
        Kind::Interface => Some(AssignedNetwork { mac: mac(view)?, port: port(view)? }),
        _ => None,
    };
    let is_managed = view.yes_no("@managed")? == Some(true);
    view.one_of("driver@name", &["vfio"])?;
    let driver = view.text("driver@model").map(str::to_owned);
    args.assigned(Assigned { address: host.clone(), is_managed, driver, network });
    match device.address() {
        Some(Address::Unassigned) => return Ok(()),
        Some(Address::Pci(_)) => {}
        _ => return Err(view.invalid("address", "it must have a PCI address")),
    }
    // The device reaches the memory of the guest, which must stay where it is.
    args.setup(Setup::LockedMemory);
    let (display, ramfb) = seen.display(cx, view)?;
    let driver = if ramfb { "vfio-pci-nohotplug" } else { "vfio-pci" };
    cx.require_device(view, driver)?;
    let mut props = Props::device(driver).with("host", host).with("id", device.alias());
    props.set_some("bootindex", boot_order::index(cx, device)?);
    props.set_some("failover_pair_id", failover(view)?);
    props.set_some("display", display.map(on_off));
    props.set_some("ramfb", ramfb.then_some(true));
    address::add(cx, device, &mut props)?;
    rom::add(device, &mut props)?;
    args.pci_device(device, &props);
    Ok(())
}

/// Returns the alias of the interface that replaces the device while the guest migrates.
fn failover<'a>(view: View<'a>) -> Result<Option<&'a str>, Error> {
    if !view.has("teaming") {
        return Ok(None);
    }
    view.one_of("teaming@type", &["transient"])?;
    match (view.text("teaming@type"), view.text("teaming@persistent")) {
        (None, None) => Ok(None),
        (Some(_), Some(alias)) => Ok(Some(alias)),
        _ => Err(view.invalid("teaming", "add its type and the alias of the persistent interface")),
    }
}
