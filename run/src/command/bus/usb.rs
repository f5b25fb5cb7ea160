//! USB controllers.

use capscache_domain::{ControllerModel, ControllerType, Kind};

use super::controller::Controller;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Returns the properties of a controller, without its address.
pub(super) fn props(cx: &Context<'_>, controller: &Controller<'_>) -> Result<Props, Error> {
    let view = controller.device.view;
    let driver = driver(controller.model).ok_or_else(|| {
        view.unsupported("@model", "QEMU has no USB controller of this model; use qemu-xhci")
    })?;
    cx.require_device(view, driver)?;
    let mut props = Props::device(driver);
    if matches!(controller.model, Some(ControllerModel::NecXhci | ControllerModel::QemuXhci)) {
        let ports: Option<u32> = view.number("@ports")?;
        props.set_some("p2", ports);
        props.set_some("p3", ports);
    }
    // libvirt takes port 0 then, whatever the model is.
    if view.child("master").is_some_and(|master| master.is_added("startport")) {
        return Err(view.unsupported("master", "it names no port; add the attribute startport"));
    }
    match view.number::<u32>("master@startport")? {
        Some(port) => {
            let master = master(cx, controller.index).ok_or_else(|| {
                view.invalid("master", "no controller of its index has no master; add one")
            })?;
            props.set("masterbus", format!("{master}.0"));
            props.set("firstport", port);
        }
        None => props.set("id", controller.device.alias()),
    }
    Ok(props)
}

/// Returns the alias of the controller that others of its index belong to.
fn master<'a>(cx: &Context<'a>, index: u32) -> Option<&'a str> {
    let is_master = |controller: &Controller<'_>| {
        controller.r#type == ControllerType::Usb
            && controller.index == index
            && !controller.device.view.has("master")
    };
    let found = cx.of(Kind::Controller).filter_map(Controller::of).find(is_master);
    found.map(|controller| controller.device.alias())
}

fn driver(model: Option<ControllerModel>) -> Option<&'static str> {
    Some(match model? {
        ControllerModel::Piix3Uhci => "piix3-usb-uhci",
        ControllerModel::Piix4Uhci => "piix4-usb-uhci",
        ControllerModel::Ehci => "usb-ehci",
        ControllerModel::Ich9Ehci1 => "ich9-usb-ehci1",
        ControllerModel::Ich9Uhci1 => "ich9-usb-uhci1",
        ControllerModel::Ich9Uhci2 => "ich9-usb-uhci2",
        ControllerModel::Ich9Uhci3 => "ich9-usb-uhci3",
        ControllerModel::Vt82c686bUhci => "vt82c686b-usb-uhci",
        ControllerModel::PciOhci => "pci-ohci",
        ControllerModel::NecXhci => "nec-usb-xhci",
        ControllerModel::QemuXhci => "qemu-xhci",
        _ => return None,
    })
}
