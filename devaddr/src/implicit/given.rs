//! Completion of what a guest names before its devices are sorted, and checks after.

use std::collections::HashSet;

use capscache_domain::{
    Controller, ControllerModel, ControllerType, Device, DeviceKind, DiskBus, DiskDevice,
    HostdevType, Kind, MemballoonModel, VideoModel, YesNo,
};

use crate::devices::Id;
use crate::error::Error;
use crate::plan::Plan;
use crate::target::disk_bus;

/// Completes what the order of devices depends on: companions of USB 2 controllers. A balloon that the guest does not
/// have has no address.
pub(crate) fn prepare(devices: &mut [Device]) {
    for device in devices {
        match &mut device.device {
            DeviceKind::Controller(controller) => {
                let first_port = controller.model.and_then(first_port);
                controller.master_startport = controller.master_startport.or(first_port);
            }
            DeviceKind::Memballoon(balloon) if balloon.model == MemballoonModel::None => {
                device.address = None;
            }
            _ => {}
        }
    }
}

/// Completes the buses of disks by their names. The order of disks is that of the buses that were given.
pub(super) fn complete_buses(plan: &mut Plan<'_>) {
    for id in plan.devices.ids(Kind::Disk) {
        if let DeviceKind::Disk(disk) = &mut plan.devices.get_mut(id).device
            && disk.bus.is_none()
        {
            disk.bus = match disk.device {
                Some(DiskDevice::Floppy) => Some(DiskBus::Fdc),
                _ => disk_bus(&disk.dev),
            };
        }
    }
}

/// Returns the first of the ports that a companion has of its USB 2 controller.
pub(super) fn first_port(model: ControllerModel) -> Option<u32> {
    match model {
        ControllerModel::Ich9Uhci1 => Some(0),
        ControllerModel::Ich9Uhci2 => Some(2),
        ControllerModel::Ich9Uhci3 => Some(4),
        _ => None,
    }
}

/// Checks that names and roles that must be unique are.
pub(super) fn check(plan: &Plan<'_>) -> Result<(), Error> {
    let mut names = HashSet::new();
    for id in plan.devices.of(Kind::Disk) {
        let DeviceKind::Disk(disk) = plan.kind(*id) else { continue };
        if !names.insert(disk.dev.as_str()) {
            let what = format!("the name {}", disk.dev);
            return Err(Error::Duplicate { device: plan.describe(*id), what });
        }
    }
    let is_primary = |id: &&_| match plan.kind(**id) {
        DeviceKind::Video(video) => video.primary == Some(YesNo::Yes),
        _ => false,
    };
    if let Some(second) = plan.devices.of(Kind::Video).iter().filter(is_primary).nth(1) {
        let what = "the role of the primary video device".to_owned();
        return Err(Error::Duplicate { device: plan.describe(*second), what });
    }
    let mut panics = HashSet::new();
    for id in plan.devices.of(Kind::Panic) {
        let DeviceKind::Panic(panic) = plan.kind(*id) else { continue };
        if !panics.insert(panic.model) {
            let what = "the model of the panic notifier".to_owned();
            return Err(Error::Duplicate { device: plan.describe(*id), what });
        }
    }
    let mut hosts = HashSet::new();
    for id in plan.devices.of(Kind::Hostdev) {
        let DeviceKind::Hostdev(h) = plan.kind(*id) else { continue };
        let identity = |part: &str| {
            let source = plan.devices.get(*id).element().child("source")?;
            source.child(part)?.attribute("id")
        };
        let by_product = (identity("vendor"), identity("product"));
        if h.host_bus.is_none() && h.uuid.is_none() && by_product == (None, None) {
            continue;
        }
        let by_product = if h.host_bus.is_some() { (None, None) } else { by_product };
        let source = (
            h.r#type,
            (h.host_domain.unwrap_or_default(), h.host_bus, h.host_slot.unwrap_or_default()),
            (h.host_function.unwrap_or_default(), h.host_device),
            (&h.uuid, &h.adapter, h.host_target, h.host_unit, by_product),
        );
        if !hosts.insert(source) {
            let what = "the device of the host".to_owned();
            return Err(Error::Duplicate { device: plan.describe(*id), what });
        }
    }
    check_video(plan)?;
    check_companions(plan)?;
    let without_uuid = |id: &&Id| matches!(plan.kind(**id), DeviceKind::Hostdev(h) if h.r#type == HostdevType::Mdev && h.uuid.is_none());
    match plan.devices.of(Kind::Hostdev).iter().find(without_uuid) {
        Some(id) => Err(Error::Conflict {
            device: plan.describe(*id),
            cause: "the address of its source has no UUID".to_owned(),
            remedy: "add one",
        }),
        None => Ok(()),
    }
}

/// Refuses other video devices beside the one that says that there is none.
fn check_video(plan: &Plan<'_>) -> Result<(), Error> {
    let videos = plan.devices.of(Kind::Video);
    let is_none = |id: &&Id| matches!(plan.kind(**id), DeviceKind::Video(v) if v.model == Some(VideoModel::None));
    match videos.iter().find(is_none) {
        Some(id) if videos.len() > 1 => Err(Error::Conflict {
            device: plan.describe(*id),
            cause: "it says that the guest has no video device, and there are others".to_owned(),
            remedy: "remove it, or the others",
        }),
        _ => Ok(()),
    }
}

/// Refuses further USB controllers in a guest that says that there is none.
pub(super) fn check_disabled(plan: &Plan<'_>) -> Result<(), Error> {
    let usb = || plan.devices.controllers(ControllerType::Usb);
    let other = usb().find(|(_, c)| c.model != Some(ControllerModel::None)).or(usb().nth(1));
    match other {
        Some((id, _)) if plan.devices.is_usb_disabled() => Err(Error::Conflict {
            device: plan.describe(id),
            cause: "USB is disabled for this guest".to_owned(),
            remedy: "remove it, or the USB controller of model none",
        }),
        _ => Ok(()),
    }
}

/// Refuses companions of a USB 2 controller that is not there.
fn check_companions(plan: &Plan<'_>) -> Result<(), Error> {
    let usb = || plan.devices.controllers(ControllerType::Usb);
    for (id, companion) in usb().filter(|(_, c)| c.master_startport.is_some()) {
        let is_master =
            |(_, c): &(_, &Controller)| c.index == companion.index && c.master_startport.is_none();
        if !usb().any(|controller| is_master(&controller)) {
            return Err(Error::Conflict {
                device: plan.describe(id),
                cause: "the controller whose ports it shares is not there".to_owned(),
                remedy: "add an ich9-ehci1 of the same index",
            });
        }
    }
    Ok(())
}
