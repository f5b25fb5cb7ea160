//! Controllers.

use capscache_domain::{ControllerModel, ControllerType, Kind};

use super::controller::Controller;
use super::{models, pci, scsi, usb};
use crate::command::args::Args;
use crate::command::{address, virtio};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;

/// The types of controllers that are devices of QEMU, in the order of the command line.
const ORDER: &[ControllerType] = &[
    ControllerType::Pci,
    ControllerType::Usb,
    ControllerType::Scsi,
    ControllerType::Ide,
    ControllerType::Sata,
    ControllerType::VirtioSerial,
];

/// Adds controllers.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let controllers: Vec<_> = cx.of(Kind::Controller).filter_map(Controller::of).collect();
    models::check(&controllers)?;
    for r#type in ORDER {
        for controller in controllers.iter().filter(|controller| controller.r#type == *r#type) {
            pci::add_root_hotplug(cx, controller, args)?;
            if !is_part_of_machine(cx, controller) {
                add_controller(cx, controller, args)?;
            }
        }
    }
    let is_other = |r#type| {
        let later = matches!(r#type, ControllerType::Fdc | ControllerType::Ccid);
        !later && !ORDER.contains(&r#type)
    };
    match controllers.iter().find(|controller| is_other(controller.r#type)) {
        Some(other) => {
            let what = format!("QEMU has no controller of the type {}; remove it", other.r#type);
            Err(other.device.view.unsupported("@type", what))
        }
        None => Ok(()),
    }
}

/// Adds options of all controllers.
pub(in crate::command) fn add_globals(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    cx.of(Kind::Controller)
        .filter_map(Controller::of)
        .try_for_each(|controller| pci::add_hole(cx, &controller, args))
}

/// Adds controllers of smart cards.
pub(in crate::command) fn add_ccid(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for controller in cx.of(Kind::Controller).filter_map(Controller::of) {
        if controller.r#type == ControllerType::Ccid {
            add_controller(cx, &controller, args)?;
        }
    }
    Ok(())
}

/// Returns whether a controller is part of the machine, or only states that there is none.
fn is_part_of_machine(cx: &Context<'_>, controller: &Controller<'_>) -> bool {
    let is_first = controller.index == 0;
    match (controller.r#type, controller.model) {
        (ControllerType::Pci, _) => pci::is_part_of_machine(cx, controller),
        (ControllerType::Sata, _) => is_first && cx.machine.is_q35(),
        (ControllerType::Ide, _) => is_first && cx.machine.has_ide(),
        (ControllerType::Scsi, Some(ControllerModel::Ncr53c90)) => {
            is_first && cx.machine.has_builtin_scsi()
        }
        (ControllerType::Usb, Some(ControllerModel::None)) => true,
        _ => false,
    }
}

fn add_controller(
    cx: &Context<'_>,
    controller: &Controller<'_>,
    args: &mut Args,
) -> Result<(), Error> {
    let device = controller.device;
    let simple = |driver: &str, r#type: &str| -> Result<Props, Error> {
        cx.require_device(device.view, r#type)?;
        Ok(Props::device(driver).with("id", device.alias()))
    };
    let mut props = match controller.r#type {
        ControllerType::Pci => pci::props(cx, controller)?,
        ControllerType::Usb => usb::props(cx, controller)?,
        ControllerType::Scsi => scsi::props(cx, controller)?,
        ControllerType::Sata => simple("ahci", "ich9-ahci")?,
        ControllerType::Ccid => simple("usb-ccid", "usb-ccid")?,
        ControllerType::VirtioSerial => virtio_serial(cx, device)?,
        other => {
            let what = format!("QEMU has no other controller of the type {other}; remove it");
            return Err(device.view.unsupported("@type", what));
        }
    };
    address::add(cx, device, &mut props)?;
    args.pci_device(device, &props);
    Ok(())
}

fn virtio_serial(cx: &Context<'_>, device: DeviceView<'_>) -> Result<Props, Error> {
    let view = device.view;
    let interface = virtio::Interface::of(view.text("@model"));
    let mut props = virtio::device(cx, device, "virtio-serial", interface)?;
    props.set("id", device.alias());
    props.set_some("max_ports", view.number::<u32>("@ports")?);
    props.set_some("vectors", view.number::<u32>("@vectors")?);
    Ok(props)
}
