//! Addresses on IDE, SATA, SCSI and floppy controllers.

use std::collections::HashMap;

use capscache_domain::{
    Address, ControllerModel, ControllerType, DeviceKind, DiskBus, DriveAddress, HostdevType, Kind,
};

use crate::devices::Id;
use crate::error::Error;
use crate::machine::Board;
use crate::plan::Plan;
use crate::target::SCSI_UNITS;

/// Checks that drives are on places that their controllers have, and that no two are on the same one.
pub(crate) fn check(plan: &Plan<'_>) -> Result<(), Error> {
    let mut used: HashMap<(DiskBus, &DriveAddress), Id> = HashMap::new();
    for id in plan.devices.of(Kind::Disk).iter().chain(plan.devices.of(Kind::Hostdev)) {
        let Some(Address::Drive(address)) = plan.address(*id) else { continue };
        let bus = match plan.kind(*id) {
            DeviceKind::Disk(disk) => disk.bus,
            DeviceKind::Hostdev(h) if h.r#type == HostdevType::Scsi => Some(DiskBus::Scsi),
            _ => None,
        };
        let Some(bus) = bus else { continue };
        check_range(plan, *id, bus, address)?;
        if let Some(other) = used.insert((bus, address), *id) {
            let mut units = 0..SCSI_UNITS;
            let free = units.find(|unit| {
                let candidate = DriveAddress { unit: *unit, ..address.clone() };
                let is_own = bus == DiskBus::Scsi && *unit == 7;
                !is_own && !used.contains_key(&(bus, &candidate))
            });
            return Err(Error::AddressInUse {
                device: plan.describe(*id),
                address: address.to_string(),
                occupant: plan.describe(other),
                free: free.map(|unit| format!("unit {unit}").into()),
            });
        }
    }
    let mut floppies = plan.devices.controllers(ControllerType::Fdc);
    match floppies.next().filter(|_| plan.machine.board == Board::Pseries) {
        Some((id, _)) => Err(Error::Controller {
            controller: plan.describe(id),
            cause: format!("machine {} has no floppy controller", plan.machine.name),
            remedy: "use another bus".to_owned(),
        }),
        None => check_ide(plan),
    }
}

/// Refuses buses and targets that a controller does not have.
fn check_range(plan: &Plan<'_>, id: Id, bus: DiskBus, address: &DriveAddress) -> Result<(), Error> {
    let (controller, has_bus, has_target, range) = match bus {
        DiskBus::Fdc => {
            ("a floppy controller", address.bus == 0, address.target == 0, "bus 0 and target 0")
        }
        DiskBus::Ide => ("an IDE controller", true, address.target == 0, "target 0"),
        DiskBus::Sata => {
            ("a SATA controller", address.bus == 0, address.target == 0, "bus 0 and target 0")
        }
        DiskBus::Scsi => {
            let controller = plan.devices.find_controller(ControllerType::Scsi, address.controller);
            let model = controller.and_then(|id| plan.devices.controller(id)?.model);
            let has_target = model != Some(ControllerModel::Lsilogic) || address.target == 0;
            match has_target {
                true => ("a SCSI controller", address.bus == 0, true, "bus 0"),
                false => ("an lsilogic controller", true, false, "target 0"),
            }
        }
        _ => return Ok(()),
    };
    if has_bus && has_target {
        return Ok(());
    }
    Err(Error::OutOfRange {
        device: plan.describe(id),
        address: address.to_string(),
        controller: controller.to_owned(),
        range: format!("only {range}"),
        free: None,
    })
}

/// Refuses IDE controllers that no board has.
fn check_ide(plan: &Plan<'_>) -> Result<(), Error> {
    for (id, controller) in plan.devices.controllers(ControllerType::Ide) {
        let cause = match controller.index {
            _ if !plan.machine.has_ide() => {
                format!("machine {} has no IDE controller", plan.machine.name)
            }
            Some(index) if index > 0 => {
                format!("machine {} has only one IDE controller", plan.machine.name)
            }
            _ => continue,
        };
        return Err(Error::Controller {
            controller: plan.describe(id),
            cause,
            remedy: "use another bus".to_owned(),
        });
    }
    Ok(())
}
