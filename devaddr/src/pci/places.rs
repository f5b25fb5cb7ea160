//! The order in which devices take PCI places.

use capscache_domain::{
    Address, Controller, ControllerModel, ControllerType, DeviceKind, DiskBus, HostdevType,
    InterfaceType, Kind, PciAddress, Switch,
};

use super::explain_errors::Trouble;
use super::groups::Groups;
use super::kind::Kinds;
use super::space::Space;
use super::{is_built_in, is_companion, is_wanted, need_of};
use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::implicit::is_usb2;
use crate::plan::Plan;

/// Places all devices that need a PCI address and have none. The first pass keeps no addresses.
pub(super) fn place_all(
    plan: &mut Plan<'_>,
    space: &mut Space,
    groups: &Groups,
) -> Result<(), Error> {
    for id in order(plan) {
        if !is_wanted(plan, id) {
            continue;
        }
        if is_companion(plan, id) {
            place_companion(plan, space, id)?;
        } else {
            place_next(plan, space, id, groups)?;
        }
    }
    Ok(())
}

/// The devices that may need a place, in the order in which they take one.
fn order(plan: &Plan<'_>) -> Vec<Id> {
    let mut order = Vec::new();
    let mut add = |kind: Kind, wanted: &dyn Fn(&DeviceKind) -> bool| {
        order.extend(plan.devices.of(kind).iter().filter(|id| wanted(plan.kind(**id))).copied());
    };
    let is_host_interface = |kind: &DeviceKind| matches!(kind, DeviceKind::Interface(i) if i.r#type == InterfaceType::Hostdev);
    let is_pci_controller = |kind: &DeviceKind| matches!(kind, DeviceKind::Controller(c) if c.r#type == ControllerType::Pci);
    let any = |_: &DeviceKind| true;
    add(Kind::Controller, &is_pci_controller);
    add(Kind::Filesystem, &any);
    add(Kind::Interface, &|kind| !is_host_interface(kind));
    add(Kind::Sound, &any);
    add(Kind::Controller, &|kind| !is_pci_controller(kind) && !is_built_in(kind));
    add(Kind::Disk, &|kind| matches!(kind, DeviceKind::Disk(d) if d.bus == Some(DiskBus::Virtio)));
    // Interfaces that are devices of the host are placed with those.
    add(Kind::Interface, &is_host_interface);
    add(
        Kind::Hostdev,
        &|kind| matches!(kind, DeviceKind::Hostdev(h) if !matches!(h.r#type, HostdevType::Usb | HostdevType::Scsi)),
    );
    let others = [
        Kind::Memballoon,
        Kind::Rng,
        Kind::Watchdog,
        Kind::Video,
        Kind::Shmem,
        Kind::Input,
        Kind::Serial,
        Kind::Iommu,
        Kind::Vsock,
        Kind::Memory,
        Kind::Crypto,
        Kind::Panic,
        Kind::Pstore,
    ];
    for kind in others {
        add(kind, &any);
    }
    order
}

/// Places a device at the lowest free place that fits it.
fn place_next(
    plan: &mut Plan<'_>,
    space: &mut Space,
    id: Id,
    groups: &Groups,
) -> Result<(), Error> {
    let need = need_of(plan, id);
    if need.is_none() {
        return Ok(());
    }
    let found = match plan.bridge_buses.get(&id) {
        Some(bus) => {
            let address = PciAddress::new(*bus, 0);
            space.take(&address, need, groups.of(id)).map(|_| address)
        }
        None => space.take_next(need, groups.of(id), None),
    };
    let mut address = found.map_err(|problem| Trouble::next(id, need, problem).into_error(plan))?;
    space.set_parent(plan.devices.controller(id), address.bus);
    if !space.grows {
        if let Some(Address::Pci(given)) = plan.address(id) {
            address.zpci = given.zpci.clone();
            address.multifunction = given.multifunction;
        }
        let why = match need.node {
            Some(Some(_)) => Why::NearNode,
            _ if need.packs && need.kinds.has_any(Kinds::ENDPOINTS) => Why::Packed,
            _ => Why::LowestFree,
        };
        plan.place(id, Address::Pci(address), why);
    }
    Ok(())
}

/// Places a part of a USB 2 controller on the slot of the other parts.
fn place_companion(plan: &mut Plan<'_>, space: &mut Space, id: Id) -> Result<(), Error> {
    let Some(controller) = plan.devices.controller(id) else { return Ok(()) };
    let (index, model) = (controller.index, controller.model);
    let (function, multifunction) = match model {
        Some(ControllerModel::Ich9Ehci1) => (7, None),
        Some(ControllerModel::Ich9Uhci2) => (1, None),
        Some(ControllerModel::Ich9Uhci3) => (2, None),
        _ => (0, Some(Switch::On)),
    };
    let need = need_of(plan, id);
    let part = |(other, c): (Id, &Controller)| match plan.address(other) {
        Some(Address::Pci(a)) if c.index == index && is_usb2(c.model) && !a.is_empty() => {
            Some(a.clone())
        }
        _ => None,
    };
    let placed = plan.devices.controllers(ControllerType::Usb).find_map(part);
    match placed {
        Some(other) => {
            let address =
                PciAddress { function, multifunction, ..PciAddress::new(other.bus, other.slot) };
            if let Err(problem) = space.take(&address, need, 0) {
                return Err(Trouble::at(id, &address, need, problem).explain(plan, space));
            }
            plan.place(id, Address::Pci(address), Why::Companion);
        }
        None => {
            let found = space.take_next(need, 0, Some(function));
            let address =
                found.map_err(|problem| Trouble::next(id, need, problem).into_error(plan))?;
            if !space.grows {
                let address = PciAddress { multifunction, ..address };
                plan.place(id, Address::Pci(address), Why::LowestFree);
            }
        }
    }
    Ok(())
}
