//! SCSI controllers.

use capscache_domain::{Address, ControllerModel};

use super::controller::Controller;
use crate::command::memory::iothreads;
use crate::command::virtio;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Returns the properties of a controller, without its address.
pub(super) fn props(cx: &Context<'_>, controller: &Controller<'_>) -> Result<Props, Error> {
    let view = controller.device.view;
    // The device, and the name of its type.
    let (driver, r#type) = match controller.model {
        Some(ControllerModel::VirtioScsi) => {
            return virtio_scsi(cx, controller, virtio::Interface::Default);
        }
        Some(ControllerModel::VirtioTransitional) => {
            return virtio_scsi(cx, controller, virtio::Interface::Transitional);
        }
        Some(ControllerModel::VirtioNonTransitional) => {
            return virtio_scsi(cx, controller, virtio::Interface::NonTransitional);
        }
        Some(ControllerModel::Lsilogic) => ("lsi", "lsi53c895a"),
        Some(ControllerModel::Ibmvscsi) => ("spapr-vscsi", "spapr-vscsi"),
        Some(ControllerModel::Lsisas1068) => ("mptsas1068", "mptsas1068"),
        Some(ControllerModel::Lsisas1078) => ("megasas", "megasas"),
        Some(ControllerModel::Vmpvscsi) => ("pvscsi", "pvscsi"),
        Some(ControllerModel::Am53c974) => ("am53c974", "am53c974"),
        Some(ControllerModel::Dc390) => ("dc-390", "dc390"),
        _ => {
            let what = "QEMU has no SCSI controller of this model; use virtio-scsi";
            return Err(view.unsupported("@model", what));
        }
    };
    cx.require_device(view, r#type)?;
    Ok(Props::device(driver).with("id", controller.device.alias()))
}

fn virtio_scsi(
    cx: &Context<'_>,
    controller: &Controller<'_>,
    interface: virtio::Interface,
) -> Result<Props, Error> {
    let (device, view) = (controller.device, controller.device.view);
    let mut props = virtio::device(cx, device, "virtio-scsi", interface)?;
    let positive = |place: &str| -> Result<Option<u32>, Error> {
        let number: Option<u32> = view.number(place)?;
        Ok(number.filter(|number| *number > 0))
    };
    let queues = positive("driver@queues")?;
    props.set_some("iothread", iothreads::of_driver(cx, view)?);
    props.set("id", device.alias());
    props.set_some("num_queues", queues);
    let mapping = iothreads::mapping(cx, view, queues)?;
    let has_thread = mapping.is_some() || props.get("iothread").is_some();
    if has_thread && device.address() == Some(&Address::VirtioMmio) {
        return Err(view.invalid("driver", "I/O threads need PCI or channel I/O; remove them"));
    }
    let can_map = |driver| cx.has_property(driver, "iothread-vq-mapping");
    if mapping.is_some() && !["virtio-scsi-pci", "virtio-scsi-ccw"].into_iter().any(can_map) {
        return Err(view.lacks("driver/iothreads", "threads for queues of virtio-scsi; use one"));
    }
    props.set_some("iothread-vq-mapping", mapping);
    props.set_some("cmd_per_lun", positive("driver@cmd_per_lun")?);
    props.set_some("max_sectors", positive("driver@max_sectors")?);
    props.set_some("ioeventfd", view.switch("driver@ioeventfd")?);
    Ok(props)
}
