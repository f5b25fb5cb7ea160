//! Models of controllers, each of which belongs to a type.

use capscache_domain::ControllerType;

use super::controller::Controller;
use crate::command::virtio;
use crate::error::Error;

/// Refuses models of other types.
pub(super) fn check(controllers: &[Controller<'_>]) -> Result<(), Error> {
    for controller in controllers {
        let view = controller.device.view;
        view.number::<u32>("@index")?;
        let models = of_type(controller.r#type);
        if view.peek("@model").is_some_and(|model| !models.contains(&model)) {
            let what = match models {
                [] => format!("a controller of the type {} has no model", controller.r#type),
                _ => format!("use one of {}", models.join(" ")),
            };
            return Err(view.invalid("@model", what));
        }
    }
    Ok(())
}

/// Returns libvirt's models of a type.
fn of_type(r#type: ControllerType) -> &'static [&'static str] {
    match r#type {
        ControllerType::Pci => &[
            "pci-root",
            "pcie-root",
            "pci-bridge",
            "dmi-to-pci-bridge",
            "pcie-to-pci-bridge",
            "pcie-root-port",
            "pcie-switch-upstream-port",
            "pcie-switch-downstream-port",
            "pci-expander-bus",
            "pcie-expander-bus",
        ],
        ControllerType::Scsi => &[
            "auto",
            "buslogic",
            "lsilogic",
            "lsisas1068",
            "vmpvscsi",
            "ibmvscsi",
            "virtio-scsi",
            "lsisas1078",
            "virtio-transitional",
            "virtio-non-transitional",
            "ncr53c90",
            "dc390",
            "am53c974",
        ],
        ControllerType::Usb => &[
            "piix3-uhci",
            "piix4-uhci",
            "ehci",
            "ich9-ehci1",
            "ich9-uhci1",
            "ich9-uhci2",
            "ich9-uhci3",
            "vt82c686b-uhci",
            "pci-ohci",
            "nec-xhci",
            "qusb1",
            "qusb2",
            "qemu-xhci",
            "none",
        ],
        ControllerType::Ide => &["piix3", "piix4", "ich6"],
        ControllerType::VirtioSerial => virtio::MODELS,
        _ => &[],
    }
}
