//! PCI controllers.

use capscache_devaddr::Board;
use capscache_domain::{ControllerModel, ControllerType};

use super::controller::Controller;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Returns whether a controller is the root that the machine has.
pub(super) fn is_part_of_machine(cx: &Context<'_>, controller: &Controller<'_>) -> bool {
    match controller.model {
        Some(ControllerModel::PcieRoot) => true,
        Some(ControllerModel::PciRoot) => {
            let is_other_root = cx.machine.board == Board::Pseries && target_index(controller) != 0;
            controller.device.view.ignore(&["model@name", "target@index"]);
            !is_other_root
        }
        _ => false,
    }
}

fn target_index(controller: &Controller<'_>) -> u32 {
    controller.device.typed.controller().and_then(|c| c.target_index).unwrap_or(0)
}

/// Adds whether devices can be plugged into the root of i440fx.
pub(super) fn add_root_hotplug(
    cx: &Context<'_>,
    controller: &Controller<'_>,
    args: &mut Args,
) -> Result<(), Error> {
    let is_root = controller.r#type == ControllerType::Pci
        && controller.model == Some(ControllerModel::PciRoot)
        && controller.index == 0;
    if !is_root || cx.machine.board != Board::I440fx {
        return Ok(());
    }
    if let Some(hotplug) = controller.device.view.switch("target@hotplug")? {
        let hotplug = if hotplug { "on" } else { "off" };
        args.option("-global", format_args!("PIIX4_PM.acpi-root-pci-hotplug={hotplug}"));
    }
    Ok(())
}

/// Adds the size of the 64-bit hole of a root.
pub(super) fn add_hole(
    cx: &Context<'_>,
    controller: &Controller<'_>,
    args: &mut Args,
) -> Result<(), Error> {
    let view = controller.device.view;
    let host = match (controller.model, cx.machine.board) {
        (Some(ControllerModel::PciRoot), Board::I440fx) => "i440FX-pcihost",
        (Some(ControllerModel::PcieRoot), Board::Q35) => "q35-pcihost",
        _ => return Ok(()),
    };
    if let Some(kib) = view.kib("pcihole64")? {
        args.option("-global", format_args!("{host}.pci-hole64-size={kib}K"));
    }
    Ok(())
}

/// Returns the properties of a controller, without its address.
pub(super) fn props(cx: &Context<'_>, controller: &Controller<'_>) -> Result<Props, Error> {
    let (device, view) = (controller.device, controller.device.view);
    let driver = view.require("model@name")?;
    cx.require_device(view, driver)?;
    let mut props = Props::device(driver);
    let mut id = Props::default().with("id", device.alias());
    let number = |place| view.any_number::<u32>(place);
    let reserve = || -> Result<Option<u64>, Error> {
        let kib: Option<u64> = view.any_number("target@memReserve")?;
        Ok(kib.map(|kib| kib.saturating_mul(1024)))
    };
    match controller.model {
        Some(ControllerModel::PciBridge) => {
            props.set_some("chassis_nr", number("target@chassisNr")?);
            props.set_some("mem-reserve", reserve()?);
            props.append(id);
        }
        Some(ControllerModel::PciExpanderBus | ControllerModel::PcieExpanderBus) => {
            props.set_some("bus_nr", number("target@busNr")?);
            id.set_some("numa_node", view.number::<u32>("target/node")?);
            props.append(id);
        }
        Some(ControllerModel::PciRoot) => {
            props.set_some("index", number("target@index")?);
            id.set_some("numa_node", view.number::<u32>("target/node")?);
            props.append(id);
        }
        Some(ControllerModel::PcieRootPort) => {
            port(controller, &mut props, id)?;
            props.set_some("mem-reserve", reserve()?);
        }
        Some(ControllerModel::PcieSwitchDownstreamPort) => port(controller, &mut props, id)?,
        Some(
            ControllerModel::DmiToPciBridge
            | ControllerModel::PcieToPciBridge
            | ControllerModel::PcieSwitchUpstreamPort,
        ) => props.append(id),
        _ => return Err(view.invalid("@model", "it is not a model of PCI controllers")),
    }
    Ok(props)
}

fn port(controller: &Controller<'_>, props: &mut Props, id: Props) -> Result<(), Error> {
    let view = controller.device.view;
    props.set_some("port", view.any_number::<u32>("target@port")?);
    props.set_some("chassis", view.any_number::<u32>("target@chassis")?);
    props.append(id);
    props.set_some("hotplug", view.switch("target@hotplug")?);
    Ok(())
}
