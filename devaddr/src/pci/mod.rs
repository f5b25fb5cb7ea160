//! Addresses on PCI and PCIe, and the controllers that provide them.

mod bus;
mod explain_errors;
mod finish;
mod fixed;
mod groups;
mod kind;
mod need;
mod places;
mod rules;
mod space;
mod zpci;

use std::collections::HashSet;

use capscache_domain::{Address, ControllerModel, ControllerType, DeviceKind, PciAddress, Switch};

use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::facts::Part;
use crate::machine::Root;
use crate::plan::Plan;

use bus::Bus;
use explain_errors::Trouble;
use kind::Need;
use space::Space;

/// Gives PCI devices their addresses, and adds the controllers that they need.
///
/// There are two passes. The first finds out which controllers are needed: every device takes a place, and buses are
/// added where none is free. The second assigns addresses with all controllers there, and controllers first.
pub(crate) fn assign(plan: &mut Plan<'_>) -> Result<(), Error> {
    rules::find_devices(plan)?;
    rules::check_certain(plan)?;
    let groups = groups::groups(plan);
    if plan.machine.root.is_none() {
        return refuse_addresses(plan, &groups);
    }
    check_functions(plan)?;
    if !plan.plugs {
        add_controllers(plan, &groups)?;
    }
    let mut space = space(plan, false)?;
    collect(plan, &mut space, &groups)?;
    fixed::place(plan, &mut space)?;
    places::place_all(plan, &mut space, &groups)?;
    zpci::assign(plan)?;
    finish::finish(plan)
}

/// Refuses PCI addresses on a machine without PCI. Where the guest names PCI controllers all the same, its addresses
/// are checked, and no others are assigned.
fn refuse_addresses(plan: &mut Plan<'_>, groups: &groups::Groups) -> Result<(), Error> {
    if plan.devices.controllers(ControllerType::Pci).next().is_some() {
        let mut space = space(plan, false)?;
        return collect(plan, &mut space, groups);
    }
    let is_pci =
        |id: &Id| matches!(plan.address(*id), Some(Address::Pci(address)) if !address.is_empty());
    let needs_pci = |id: &Id| {
        plan.machine.lacks_pci()
            && is_wanted(plan, *id)
            && !is_built_in(plan.kind(*id))
            && !need_of(plan, *id).is_none()
    };
    let refused = |id: &Id| is_pci(id) || needs_pci(id);
    match plan.devices.iter().map(|(id, _)| id).find(refused) {
        Some(id) => Err(Error::NoBus {
            device: plan.describe(id),
            machine: plan.machine.name.clone(),
            bus: "PCI bus",
            remedy: "use a device or an address of another bus, or another machine type",
        }),
        None => Ok(()),
    }
}

/// Returns true for the IDE controller that a board has itself.
fn is_built_in(kind: &DeviceKind) -> bool {
    matches!(kind, DeviceKind::Controller(c) if c.r#type == ControllerType::Ide && c.index == Some(0))
}

/// Adds the controllers for which there will be devices.
fn add_controllers(plan: &mut Plan<'_>, groups: &groups::Groups) -> Result<(), Error> {
    let last_given = last_index(plan);
    let mut space = space(plan, true)?;
    collect(plan, &mut space, groups)?;
    fixed::place(plan, &mut space)?;
    // An almost full conventional bus gets a bridge while there is a slot for it.
    let has_slot = || !space.buses.iter().all(Bus::is_full);
    if plan.policy.spare.is_none() && plan.machine.root == Some(Root::Pci) && has_slot() {
        let spare = space.take_next(Need::CONVENTIONAL, 0, None);
        spare.map_err(|problem| {
            Trouble::spare(Need::CONVENTIONAL, None, problem).into_error(plan)
        })?;
    }
    places::place_all(plan, &mut space, groups)?;
    let spare_from = space.buses.len();
    keep_spare(plan, &mut space, last_given)?;
    for index in 1.. {
        // Controllers that are added may need further ones.
        let Some(bus) = space.buses.get(index).cloned() else { break };
        let why = if index >= spare_from && bus.model == ControllerModel::PcieRootPort {
            Why::SpareSlot
        } else {
            Why::NoFreeSlotLeft
        };
        let spare = plan
            .policy
            .spare
            .filter(|spare| index >= spare_from && *spare > u32::from(plan.policy.expanders));
        add_controller(plan, &mut space, index, &bus, why).map_err(|error| {
            match (spare, error) {
                // Devices have their places: the controllers of fewer spare slots would have them, too.
                (Some(count), Error::NoFreeSlot { .. }) => Error::TooManySpare { count },
                (_, error) => error,
            }
        })?;
    }
    Ok(())
}

/// Takes the slots that stay free.
fn keep_spare(plan: &Plan<'_>, space: &mut Space, last_given: u32) -> Result<(), Error> {
    let mut need = if plan.machine.has_pcie() { Need::EXPRESS } else { Need::CONVENTIONAL };
    let count = match plan.policy.spare {
        Some(spare) => {
            need.hotplug = Some(true);
            need.node = plan.policy.places_by_node().then_some(None);
            spare
        }
        // A guest that leaves its PCIe controllers to libvirt gets a port for a device that is added later.
        None => {
            let has_added = last_given == 0 && space.buses.len() > 1;
            u32::from(has_added && plan.machine.has_pcie())
        }
    };
    // Of `least` slots, the policy cannot have fewer.
    let mut take = |need: Need, least: u32| {
        let taken = space.take_next(need, 0, None);
        let spare = plan.policy.spare.filter(|spare| *spare > least);
        taken.map_err(|problem| Trouble::spare(need, spare, problem).into_error(plan))
    };
    for _ in 0..count {
        take(need, 0)?;
    }
    if plan.policy.expanders {
        for node in plan.nodes.iter().copied() {
            for _ in 0..plan.policy.spare.unwrap_or(1).max(1) {
                // The bus of a conventional expander is not hotpluggable.
                let hotplug = need.hotplug.filter(|_| plan.machine.has_pcie());
                take(Need { node: Some(Some(node)), hotplug, ..need }, 1)?;
            }
        }
    }
    Ok(())
}

/// Adds the controller of a bus, if there is none, and takes a place for it.
fn add_controller(
    plan: &mut Plan<'_>,
    space: &mut Space,
    index: usize,
    bus: &Bus,
    why: Why,
) -> Result<(), Error> {
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    if plan.devices.find_controller(ControllerType::Pci, number).is_some() {
        return Ok(());
    }
    let id = plan.add_controller(ControllerType::Pci, number, Some(bus.model), why);
    let has_node = matches!(
        bus.model,
        ControllerModel::PciExpanderBus
            | ControllerModel::PcieExpanderBus
            | ControllerModel::PciRoot
    );
    if let Some(node) = bus.node {
        plan.port_nodes.insert(id, node);
        if let Some(controller) = plan.devices.controller_mut(id).filter(|_| has_node) {
            controller.node = Some(node);
        }
    }
    if bus.model == ControllerModel::PcieRootPort
        && !bus.is_hotpluggable
        && let Some(controller) = plan.devices.controller_mut(id)
    {
        controller.hotplug = Some(Switch::Off);
    }
    let need = need_of(plan, id);
    if !need.is_none() {
        let mut taken = space.take_next(need, 0, None);
        if taken.is_err() && bus.model == ControllerModel::PciExpanderBus {
            // It has the slot of a device that is placed after it, for which there must be another one.
            let node = plan.policy.places_by_node().then_some(None);
            taken = space.take_next(Need { node, ..Need::CONVENTIONAL }, 0, None);
        }
        let taken = taken.map_err(|problem| Trouble::next(id, need, problem).into_error(plan))?;
        if bus.model == ControllerModel::PcieToPciBridge && plan.policy.changes_hotplug() {
            plan.bridge_buses.insert(id, taken.bus);
        }
    }
    Ok(())
}

/// The largest index of a PCI controller.
fn last_index(plan: &Plan<'_>) -> u32 {
    let controllers = plan.devices.controllers(ControllerType::Pci);
    controllers.filter_map(|(_, controller)| controller.index).max().unwrap_or(0)
}

/// Creates the empty buses of the guest's controllers; an index between them gets the usual model.
fn space(plan: &Plan<'_>, grows: bool) -> Result<Space, Error> {
    let has_many_roots = plan.machine.has_many_roots();
    let mut space = Space::new(grows);
    space.has_many_roots = has_many_roots;
    space.has_pcie_to_pci = plan.facts.has(Part::PciePciBridge);
    space.has_pcie = plan.machine.has_pcie();
    let usual = match plan.machine.root {
        _ if has_many_roots => ControllerModel::PciRoot,
        Some(Root::Pcie) => ControllerModel::PcieRootPort,
        _ => ControllerModel::PciBridge,
    };
    let count = last_index(plan) as usize + 1;
    if count > space::MAX_BUSES {
        return Err(index_too_great(plan));
    }
    space.buses = vec![Bus::new(usual, true); count];
    for (_, controller) in plan.devices.controllers(ControllerType::Pci) {
        let index = controller.index.unwrap_or(0) as usize;
        if let (Some(bus), Some(model)) = (space.buses.get_mut(index), controller.model) {
            *bus = Bus::new(model, controller.hotplug != Some(Switch::Off));
        }
    }
    if plan.policy.places_by_node() {
        set_nodes(plan, &mut space);
    }
    if has_many_roots && let Some(first) = space.buses.first_mut() {
        // Devices of the host never share the first host bridge with others.
        first.is_locked = true;
    }
    Ok(space)
}

/// The error of the PCI controller whose index is the largest.
fn index_too_great(plan: &Plan<'_>) -> Error {
    let controllers = plan.devices.controllers(ControllerType::Pci);
    let last = controllers.max_by_key(|(_, controller)| controller.index);
    let (device, value) = match last {
        Some((id, controller)) => (plan.describe(id), controller.index.unwrap_or(0)),
        None => ("a PCI controller".to_owned(), 0),
    };
    let limit = u32::try_from(space::MAX_BUSES - 1).unwrap_or(u32::MAX);
    Error::TooGreat { device, what: "its index", value, limit }
}

/// Finds the NUMA node of each bus: that of its controller, or of the bus that its controller is on.
fn set_nodes(plan: &Plan<'_>, space: &mut Space) {
    let mut parents: Vec<(usize, usize)> = Vec::new();
    for (id, controller) in plan.devices.controllers(ControllerType::Pci) {
        let index = controller.index.unwrap_or(0) as usize;
        let node = controller.node.or_else(|| plan.port_nodes.get(&id).copied());
        match (node, plan.address(id)) {
            (None, Some(Address::Pci(address))) => parents.push((index, address.bus as usize)),
            (node, _) => {
                if let Some(bus) = space.buses.get_mut(index) {
                    bus.node = node;
                }
            }
        }
    }
    // A bus is usually above those of greater index; if not, further rounds find its node.
    parents.sort_unstable();
    for _ in 0..parents.len() {
        let mut is_done = true;
        for (index, parent) in &parents {
            let node = space.buses.get(*parent).and_then(|bus| bus.node);
            if let Some(bus) = space.buses.get_mut(*index)
                && bus.node != node
            {
                bus.node = node;
                is_done = false;
            }
        }
        if is_done {
            break;
        }
    }
}

/// Takes the places of devices that have an address.
fn collect(plan: &mut Plan<'_>, space: &mut Space, groups: &groups::Groups) -> Result<(), Error> {
    for id in crate::order::visited(plan) {
        let Some(Address::Pci(address)) = plan.address(id) else { continue };
        if address.is_empty() || fixed::is_in_chipset(plan, id, address) {
            continue;
        }
        let mut need = need_of(plan, id);
        if need.is_none() {
            need = Need { kinds: Need::CONVENTIONAL.kinds, ..Need::NONE };
        }
        match space.take(address, need, groups.of(id)) {
            Ok(bus) => {
                space.set_parent(plan.devices.controller(id), bus);
                if let Some(Address::Pci(address)) = &mut plan.devices.get_mut(id).address {
                    address.bus = bus;
                }
            }
            Err(problem) => {
                // A place that is suggested instead must not be one of the board.
                fixed::occupy(plan, space);
                return Err(Trouble::at(id, address, need, problem).explain(plan, space));
            }
        }
    }
    Ok(())
}

/// Refuses given addresses on a slot whose function 0 no device has.
fn check_functions(plan: &Plan<'_>) -> Result<(), Error> {
    // A guest of s390 finds each function by its identifier.
    if plan.machine.has_zpci {
        return Ok(());
    }
    let addresses = || {
        plan.devices.iter().filter_map(|(id, device)| match &device.address {
            Some(Address::Pci(address)) if !address.is_empty() => Some((id, address)),
            _ => None,
        })
    };
    let slot = |a: &PciAddress| (a.domain, a.bus, a.slot);
    let with_zero: HashSet<_> =
        addresses().filter(|(_, a)| a.function == 0).map(|(_, a)| slot(a)).collect();
    for (id, address) in addresses() {
        if address.function > 0
            && !with_zero.contains(&slot(address))
            && !fixed::has_function_zero(plan, address)
            && !is_companion(plan, id)
        {
            return Err(Error::FunctionZeroMissing {
                device: plan.describe(id),
                address: format!("PCI {address}"),
            });
        }
    }
    Ok(())
}

/// Returns true for a part of a USB 2 controller, whose other parts may still get their addresses.
fn is_companion(plan: &Plan<'_>, id: Id) -> bool {
    plan.devices.controller(id).is_some_and(|c| crate::implicit::is_usb2(c.model))
}

pub(crate) fn need_of(plan: &Plan<'_>, id: Id) -> Need {
    let need = need::need(plan.kind(id), plan.machine.has_pcie());
    if plan.policy.changes_slots() { rules::apply(plan, id, need) } else { need }
}

/// Returns true if a device still needs a PCI address, if it is on PCI at all.
fn is_wanted(plan: &Plan<'_>, id: Id) -> bool {
    match plan.address(id) {
        None => true,
        Some(Address::Pci(address)) => address.is_empty(),
        Some(_) => false,
    }
}
