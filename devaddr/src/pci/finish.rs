//! Consequences of addresses: names and numbers of PCI controllers, and shared slots.

use std::collections::HashSet;

use capscache_domain::{
    Address, Controller, ControllerModel, ControllerType, Hex, PciAddress, Switch,
};

use crate::devices::Id;
use crate::error::Error;
use crate::facts::Part;
use crate::implicit::device_names;
use crate::machine::{Board, MAX_TARGET_INDEX};
use crate::plan::Plan;

/// Completes the options of PCI controllers, and marks slots with several functions.
pub(super) fn finish(plan: &mut Plan<'_>) -> Result<(), Error> {
    mark_shared_slots(plan);
    let ids: Vec<Id> = plan.devices.controllers(ControllerType::Pci).map(|(id, _)| id).collect();
    for id in ids {
        finish_controller(plan, id)?;
    }
    Ok(())
}

/// Sets `multifunction` on function 0 of each slot with another function in use.
fn mark_shared_slots(plan: &mut Plan<'_>) {
    let slot = |a: &PciAddress| (a.domain, a.bus, a.slot);
    let on_pci = plan.devices.iter().filter_map(|(_, device)| device.address.as_ref()?.pci());
    let shared: HashSet<_> = on_pci.filter(|a| a.function > 0).map(slot).collect();
    if shared.is_empty() {
        return;
    }
    let firsts: Vec<Id> = plan
        .devices
        .iter()
        .filter(|(_, device)| match &device.address {
            Some(Address::Pci(a)) => a.function == 0 && shared.contains(&slot(a)),
            _ => false,
        })
        .map(|(id, _)| id)
        .collect();
    for id in firsts {
        if let Some(Address::Pci(address)) = &mut plan.devices.get_mut(id).address {
            address.multifunction.get_or_insert(Switch::On);
        }
    }
}

fn finish_controller(plan: &mut Plan<'_>, id: Id) -> Result<(), Error> {
    let Some(controller) = plan.devices.controller(id) else { return Ok(()) };
    let (model, index) = (controller.model, controller.index.unwrap_or(0));
    let address = match plan.address(id) {
        Some(Address::Pci(address)) => address.clone(),
        _ => PciAddress::default(),
    };
    let is_pseries = plan.machine.board == Board::Pseries;
    let name = name(plan, model);
    let bus_nr = match (model, controller.bus_nr) {
        (Some(ControllerModel::PciExpanderBus | ControllerModel::PcieExpanderBus), None) => {
            Some(free_bus_number(plan, id)?)
        }
        (_, given) => given,
    };
    let target_index = match (model, controller.target_index) {
        (Some(ControllerModel::PciRoot), None) if is_pseries => {
            Some(free_target_index(plan, id, index)?)
        }
        (_, given) => given,
    };
    if model == Some(ControllerModel::PciBridge) && index <= address.bus {
        return Err(Error::Controller {
            controller: plan.describe(id),
            cause: format!("its index is not greater than that of its own bus, {}", address.bus),
            remedy: "give it a greater index".to_owned(),
        });
    }
    let Some(controller) = plan.devices.controller_mut(id) else { return Ok(()) };
    set(controller, name, index, &address);
    controller.bus_nr = bus_nr;
    controller.target_index = target_index;
    Ok(())
}

fn set(controller: &mut Controller, name: Option<&str>, index: u32, address: &PciAddress) {
    if let Some(name) = name {
        controller.model_name.get_or_insert_with(|| name.to_owned());
    }
    match controller.model {
        Some(ControllerModel::PciBridge) => {
            controller.chassis_nr.get_or_insert(index);
        }
        Some(ControllerModel::PcieRootPort) => {
            controller.chassis.get_or_insert(index);
            controller.port.get_or_insert(Hex((address.slot << 3) + address.function));
        }
        Some(ControllerModel::PcieSwitchDownstreamPort) => {
            controller.chassis.get_or_insert(index);
            controller.port.get_or_insert(Hex(address.slot));
        }
        _ => {}
    }
}

/// QEMU's device for a PCI controller; `None` for the root, which is part of the machine.
fn name(plan: &Plan<'_>, model: Option<ControllerModel>) -> Option<&'static str> {
    let model = model?;
    let mut names = device_names(model).iter().copied();
    match model {
        ControllerModel::PciRoot if plan.machine.board != Board::Pseries => None,
        // Its successor is older than some emulators.
        ControllerModel::PcieRootPort if !plan.facts.has(Part::PcieRootPort) => names.nth(1),
        _ => names.next(),
    }
}

/// Returns a bus number for an expander below the lowest one: libvirt leaves room for a bridge within it. If the
/// expander was added for a NUMA node, there is room for the buses below it, too.
fn free_bus_number(plan: &Plan<'_>, id: Id) -> Result<u32, Error> {
    let controllers = || plan.devices.controllers(ControllerType::Pci);
    let lowest = controllers().filter_map(|(_, c)| c.bus_nr).min().unwrap_or(256).min(256);
    let below = match plan.port_nodes.get(&id) {
        Some(node) => plan.port_nodes.values().filter(|other| *other == node).count(),
        None => 1,
    };
    let below = u32::try_from(below).unwrap_or(u32::MAX);
    let number = lowest.checked_sub(below.saturating_add(1)).filter(|number| *number > 0);
    number.ok_or_else(|| Error::NoFreeSlot {
        device: plan.describe(id),
        place: format!("bus number below {lowest}"),
        remedy: "give the other expanders greater bus numbers",
    })
}

fn free_target_index(plan: &Plan<'_>, id: Id, index: u32) -> Result<u32, Error> {
    if index == 0 {
        return Ok(0);
    }
    let controllers = plan.devices.controllers(ControllerType::Pci);
    let used: HashSet<u32> = controllers.filter_map(|(_, c)| c.target_index).collect();
    (1..=MAX_TARGET_INDEX).find(|target| !used.contains(target)).ok_or_else(|| Error::NoFreeSlot {
        device: plan.describe(id),
        place: "target index of a host bridge".to_owned(),
        remedy: "a guest has at most 31 host bridges: remove devices",
    })
}
