//! Numbers of controllers, and controllers that devices need.

use std::collections::{HashMap, HashSet};

use capscache_domain::{
    Address, CcidAddress, ControllerModel, ControllerType, DeviceKind, DiskBus, HostdevType, Kind,
};

use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::plan::Plan;
use crate::virtio::is_virtio_port;

/// The largest index of a controller: each up to it may be added.
pub(super) const MAX_INDEX: u32 = 1023;

/// Numbers the controllers that have no index, and checks that no index is there twice.
pub(super) fn number(plan: &mut Plan<'_>) -> Result<(), Error> {
    let ids = plan.devices.ids(Kind::Controller);
    let mut used: HashSet<(ControllerType, u32)> = HashSet::new();
    for id in &ids {
        if let Some(controller) = plan.devices.controller(*id) {
            used.extend(controller.index.map(|index| (controller.r#type, index)));
        }
    }
    // All lower indexes of a type are used.
    let mut next: HashMap<ControllerType, u32> = HashMap::new();
    for (position, id) in ids.iter().enumerate() {
        let Some(controller) = plan.devices.controller(*id) else { continue };
        if controller.index.is_some() {
            continue;
        }
        let r#type = controller.r#type;
        let joined = is_usb2(controller.model).then(|| join(plan, &ids, position)).flatten();
        let index = joined.unwrap_or_else(|| {
            let next = next.entry(r#type).or_default();
            while used.contains(&(r#type, *next)) {
                *next += 1;
            }
            *next
        });
        if index > MAX_INDEX && joined.is_none() {
            return Err(index_too_great(plan, *id, index));
        }
        used.insert((r#type, index));
        if let Some(controller) = plan.devices.controller_mut(*id) {
            controller.index = Some(index);
        }
    }
    check_unique(plan, &ids)
}

/// Returns the index of the USB 2 controller before this one, if this one completes it.
fn join(plan: &Plan<'_>, ids: &[Id], position: usize) -> Option<u32> {
    let controller = plan.devices.controller(*ids.get(position)?)?;
    let before = ids[..position].iter().rev().filter_map(|id| plan.devices.controller(*id));
    let mut before = before.filter(|other| other.r#type == ControllerType::Usb);
    let index = before.next().filter(|other| is_usb2(other.model))?.index?;
    let mut all = plan.devices.controllers(ControllerType::Usb);
    let is_complete = all.any(|(_, o)| o.index == Some(index) && o.model == controller.model);
    (!is_complete).then_some(index)
}

/// Returns true for the parts of a USB 2 controller, which share an index and a slot.
pub(crate) fn is_usb2(model: Option<ControllerModel>) -> bool {
    matches!(
        model,
        Some(
            ControllerModel::Ich9Ehci1
                | ControllerModel::Ich9Uhci1
                | ControllerModel::Ich9Uhci2
                | ControllerModel::Ich9Uhci3
        )
    )
}

fn index_too_great(plan: &Plan<'_>, id: Id, value: u32) -> Error {
    let device = plan.describe(id);
    Error::TooGreat { device, what: "its index", value, limit: MAX_INDEX }
}

fn check_unique(plan: &Plan<'_>, ids: &[Id]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for id in ids {
        let Some(controller) = plan.devices.controller(*id) else { continue };
        let index = controller.index.unwrap_or(0);
        if index > MAX_INDEX {
            return Err(index_too_great(plan, *id, index));
        }
        // The companions of a USB controller have its index.
        let companion = match controller.model {
            Some(
                ControllerModel::Ich9Uhci1
                | ControllerModel::Ich9Uhci2
                | ControllerModel::Ich9Uhci3,
            ) => controller.master_startport,
            _ => None,
        };
        if !seen.insert((controller.r#type, index, companion)) {
            return Err(Error::DuplicateController { controller: plan.describe(*id), index });
        }
    }
    Ok(())
}

/// Adds the controllers that devices are on.
pub(super) fn add_needed(plan: &mut Plan<'_>) -> Result<(), Error> {
    let buses = [
        (DiskBus::Scsi, ControllerType::Scsi),
        (DiskBus::Fdc, ControllerType::Fdc),
        (DiskBus::Ide, ControllerType::Ide),
        (DiskBus::Sata, ControllerType::Sata),
    ];
    for (bus, r#type) in buses {
        let on_bus = |id: &Id| match plan.kind(*id) {
            DeviceKind::Disk(disk) if disk.bus == Some(bus) => {
                drive_controller(plan, *id).map(|index| (index, *id))
            }
            _ => None,
        };
        let last = plan.devices.of(Kind::Disk).iter().filter_map(on_bus).max();
        if let Some((last, id)) = last {
            add_up_to(plan, r#type, id, last, None)?;
        }
    }
    add_virtio_serial(plan)?;
    place_smartcards(plan)?;
    add_for_scsi_hostdevs(plan)
}

fn drive_controller(plan: &Plan<'_>, id: Id) -> Option<u32> {
    match plan.address(id) {
        Some(Address::Drive(drive)) => Some(drive.controller),
        _ => None,
    }
}

/// Checks the controller of a device's address, which may be added.
fn check_controller(plan: &Plan<'_>, id: Id, value: u32) -> Result<(), Error> {
    if value <= MAX_INDEX {
        return Ok(());
    }
    let device = plan.describe(id);
    Err(Error::TooGreat { device, what: "the controller of its address", value, limit: MAX_INDEX })
}

/// Adds the controllers up to the one that a device is on.
fn add_up_to(
    plan: &mut Plan<'_>,
    r#type: ControllerType,
    id: Id,
    last: u32,
    model: Option<ControllerModel>,
) -> Result<(), Error> {
    check_controller(plan, id, last)?;
    for index in 0..=last {
        plan.ensure_controller(r#type, index, model, Why::NeededByDevice);
    }
    Ok(())
}

fn add_virtio_serial(plan: &mut Plan<'_>) -> Result<(), Error> {
    let ports = plan.devices.of(Kind::Channel).iter().chain(plan.devices.of(Kind::Console));
    let index = |id: &Id| match plan.address(*id) {
        Some(Address::VirtioSerial(address)) => (address.controller, *id),
        _ => (0, *id),
    };
    let indexes: Vec<(u32, Id)> =
        ports.filter(|id| is_virtio_port(plan.kind(**id))).map(index).collect();
    for (index, id) in indexes {
        check_controller(plan, id, index)?;
        plan.ensure_controller(ControllerType::VirtioSerial, index, None, Why::NeededByDevice);
    }
    Ok(())
}

/// Gives smart cards the next slot of controller 0, and adds their controllers.
fn place_smartcards(plan: &mut Plan<'_>) -> Result<(), Error> {
    let slot_after = |id: &Id| match plan.address(*id) {
        Some(Address::Ccid(a)) if a.controller == 0 => a.slot.checked_add(1),
        _ => None,
    };
    // One more than the greatest.
    let mut next = plan.devices.of(Kind::Smartcard).iter().filter_map(slot_after).max();
    for id in plan.devices.ids(Kind::Smartcard) {
        let controller = match plan.address(id) {
            Some(Address::Ccid(address)) => address.controller,
            Some(_) => continue,
            None => {
                let slot = next.unwrap_or(0);
                next = slot.checked_add(1).or(next);
                let address = Address::Ccid(CcidAddress { controller: 0, slot });
                plan.place(id, address, Why::LowestNumber);
                0
            }
        };
        check_controller(plan, id, controller)?;
        plan.ensure_controller(ControllerType::Ccid, controller, None, Why::NeededByDevice);
    }
    Ok(())
}

/// Adds SCSI controllers for devices of the host, of the model of the controller that is full.
fn add_for_scsi_hostdevs(plan: &mut Plan<'_>) -> Result<(), Error> {
    let mut last = None;
    let mut model = None;
    for id in plan.devices.of(Kind::Hostdev) {
        let DeviceKind::Hostdev(hostdev) = plan.kind(*id) else { continue };
        if hostdev.r#type != HostdevType::Scsi {
            continue;
        }
        let Some(controller) = drive_controller(plan, *id) else { continue };
        if last.is_none_or(|(last, _)| controller > last) {
            last = Some((controller, *id));
            let found = plan.devices.find_controller(ControllerType::Scsi, controller);
            model = found.and_then(|id| plan.devices.controller(id)?.model).or(model);
        }
    }
    match last {
        Some((last, id)) => add_up_to(plan, ControllerType::Scsi, id, last, model),
        None => Ok(()),
    }
}
