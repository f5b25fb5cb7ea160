//! Checks of the PCI controllers that a guest names.

use capscache_domain::{Address, Controller, ControllerModel};

use crate::devices::Id;
use crate::error::Error;
use crate::machine::{Board, Family, MAX_TARGET_INDEX};
use crate::plan::Plan;

/// Checks that a PCI controller can be on this machine, and that its options belong to its model.
pub(super) fn check(
    plan: &Plan<'_>,
    id: Id,
    index: u32,
    model: Option<ControllerModel>,
) -> Result<(), Error> {
    let Some(controller) = plan.devices.controller(id) else { return Ok(()) };
    let wrong = |(cause, remedy): (String, &str)| {
        Err(Error::Controller { controller: plan.describe(id), cause, remedy: remedy.to_owned() })
    };
    let Some(model) = model else {
        return wrong(("a PCI controller must name its model".into(), "name one"));
    };
    let is_root = matches!(model, ControllerModel::PciRoot | ControllerModel::PcieRoot);
    if is_root && let Some(address @ Address::Pci(_)) = plan.address(id) {
        return Err(Error::WrongAddressType {
            device: plan.describe(id),
            address: address.to_string(),
            expected: "no address",
        });
    }
    let fault = machine_fault(plan, index, model)
        .or_else(|| node_fault(plan, index, controller, model))
        .or_else(|| option_fault(plan, controller, model))
        .or_else(|| range_fault(controller))
        .or_else(|| name_fault(controller, model));
    match fault {
        Some(fault) => wrong(fault),
        None => Ok(()),
    }
}

type Fault = (String, &'static str);

fn machine_fault(plan: &Plan<'_>, index: u32, model: ControllerModel) -> Option<Fault> {
    let machine = &plan.machine.name;
    let board = plan.machine.board;
    match model {
        ControllerModel::PciRoot | ControllerModel::PcieRoot
            if index != 0 && !plan.machine.has_many_roots() =>
        {
            let cause = format!("machine {machine} has only one PCI root, of index 0");
            Some((cause, "use index 0"))
        }
        ControllerModel::PciExpanderBus if board != Board::I440fx => {
            let cause = format!("machine {machine} cannot have conventional expanders");
            Some((cause, "use pcie-expander-bus"))
        }
        ControllerModel::PcieExpanderBus
            if board != Board::Q35
                && (plan.machine.family, board) != (Family::Arm, Board::Virt) =>
        {
            Some((format!("machine {machine} cannot have PCIe expanders"), "remove it"))
        }
        _ => None,
    }
}

fn node_fault(
    plan: &Plan<'_>,
    index: u32,
    controller: &Controller,
    model: ControllerModel,
) -> Option<Fault> {
    let is_extra_root = model == ControllerModel::PciRoot && index > 0;
    let has_node = is_extra_root
        || matches!(model, ControllerModel::PciExpanderBus | ControllerModel::PcieExpanderBus);
    match (controller.node, controller.target_index) {
        (Some(_), _) if !has_node => {
            Some(("its bus cannot belong to a NUMA node".into(), "remove the node"))
        }
        (Some(node), _) if !plan.nodes.contains(&node) => {
            let nodes = crate::error::list_nodes(&plan.nodes);
            let cause = format!("there is no NUMA node {node}: the guest has {nodes}");
            Some((cause, "add the node to the guest, or use another one"))
        }
        (_, Some(target)) if (target == 0) != (index == 0) => Some((
            "the controller of index 0 is the one of target index 0".into(),
            "use another target index",
        )),
        _ => None,
    }
}

/// Finds an option of another model.
fn option_fault(plan: &Plan<'_>, c: &Controller, model: ControllerModel) -> Option<Fault> {
    let is = |models: &[ControllerModel]| models.contains(&model);
    let ports = [ControllerModel::PcieRootPort, ControllerModel::PcieSwitchDownstreamPort];
    let expanders = [ControllerModel::PciExpanderBus, ControllerModel::PcieExpanderBus];
    let has_hotplug = is(&ports)
        || is(&[
            ControllerModel::PciRoot,
            ControllerModel::PciBridge,
            ControllerModel::PcieToPciBridge,
        ]);
    let options = [
        ("chassisNr", c.chassis_nr.is_some(), is(&[ControllerModel::PciBridge])),
        ("chassis", c.chassis.is_some(), is(&ports)),
        ("port", c.port.is_some(), is(&ports)),
        ("busNr", c.bus_nr.is_some(), is(&expanders)),
        (
            "index",
            c.target_index.is_some(),
            is(&[ControllerModel::PciRoot]) && plan.machine.board == Board::Pseries,
        ),
        ("hotplug", c.hotplug.is_some(), has_hotplug),
    ];
    let wrong = options.iter().find(|(_, is_given, is_valid)| *is_given && !is_valid)?;
    Some((format!("its model has no option {}", wrong.0), "remove the option"))
}

/// Finds an option out of range.
fn range_fault(c: &Controller) -> Option<Fault> {
    let options = [
        ("chassisNr", c.chassis_nr, 1, 255),
        ("chassis", c.chassis, 0, 255),
        ("port", c.port.map(|port| port.0), 0, 255),
        ("busNr", c.bus_nr, 1, 254),
        ("target index", c.target_index, 0, MAX_TARGET_INDEX),
    ];
    let out = |(_, value, first, last): &&(_, Option<u32>, u32, u32)| {
        value.is_some_and(|value| value < *first || value > *last)
    };
    let (name, _, first, last) = options.iter().find(out)?;
    Some((format!("{name} is not from {first} to {last}"), "use another number"))
}

/// Returns QEMU's devices for a model of PCI controllers.
pub(crate) fn device_names(model: ControllerModel) -> &'static [&'static str] {
    match model {
        ControllerModel::PciRoot => &["spapr-pci-host-bridge"],
        ControllerModel::PciBridge => &["pci-bridge"],
        ControllerModel::DmiToPciBridge => &["i82801b11-bridge"],
        ControllerModel::PcieToPciBridge => &["pcie-pci-bridge"],
        ControllerModel::PcieRootPort => &["pcie-root-port", "ioh3420"],
        ControllerModel::PcieSwitchUpstreamPort => &["x3130-upstream"],
        ControllerModel::PcieSwitchDownstreamPort => &["xio3130-downstream"],
        ControllerModel::PciExpanderBus => &["pxb"],
        ControllerModel::PcieExpanderBus => &["pxb-pcie"],
        _ => &[],
    }
}

/// Finds a device of QEMU that implements another model.
fn name_fault(controller: &Controller, model: ControllerModel) -> Option<Fault> {
    let names = device_names(model);
    let name = controller.model_name.as_deref()?;
    (!names.contains(&name))
        .then(|| (format!("{name} does not implement {model}"), "leave the name out"))
}
