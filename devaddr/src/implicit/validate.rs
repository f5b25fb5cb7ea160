//! Refusals of what libvirt does not permit for single devices, and of what its rules leave open.

use std::collections::HashSet;

use capscache_domain::{
    Controller, ControllerModel, ControllerType, Device, DeviceKind, Disk, DiskBus, DiskDevice,
    Input, InputBus, InputType, Iommu, IommuModel, Kind, Memory, Panic, PanicModel, Video,
    VideoModel, Watchdog, WatchdogModel, YesNo,
};

use crate::devices::Id;
use crate::error::Error;
use crate::machine::{Board, Family};
use crate::plan::Plan;
use crate::target::disk_index;

type Fault = (String, &'static str);

/// Refuses NUMA cells of the same id.
pub(super) fn check_nodes(plan: &Plan<'_>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    match plan.nodes.iter().find(|node| !seen.insert(**node)) {
        Some(node) => Err(Error::DuplicateNode { node: *node }),
        None => Ok(()),
    }
}

/// Checks each device of a guest by the rules of its kind.
pub(super) fn check(plan: &Plan<'_>) -> Result<(), Error> {
    for (id, device) in plan.devices.iter() {
        let fault = match &device.device {
            DeviceKind::Disk(disk) => disk_fault(disk),
            DeviceKind::Input(input) => input_fault(input),
            DeviceKind::Video(video) => video_fault(plan, id, video),
            DeviceKind::Panic(panic) => panic_fault(plan, panic),
            DeviceKind::Watchdog(watchdog) => watchdog_fault(plan, watchdog),
            DeviceKind::Memory(memory) => memory_fault(memory),
            DeviceKind::Iommu(iommu) => iommu_fault(plan, iommu),
            DeviceKind::Controller(controller) => {
                if let Some((cause, remedy)) = controller_fault(plan, device, controller) {
                    let (controller, remedy) = (plan.describe(id), remedy.to_owned());
                    return Err(Error::Controller { controller, cause, remedy });
                }
                None
            }
            _ => None,
        };
        if let Some((cause, remedy)) = fault {
            return Err(Error::Conflict { device: plan.describe(id), cause, remedy });
        }
    }
    Ok(())
}

fn disk_fault(disk: &Disk) -> Option<Fault> {
    let is_floppy = disk.device == Some(DiskDevice::Floppy);
    if is_floppy != (disk.bus == Some(DiskBus::Fdc)) {
        let bus = disk.bus.map_or("no bus", DiskBus::as_str);
        let cause = match is_floppy {
            true => format!("a floppy drive cannot be on {bus}"),
            false => "only a floppy drive can be on fdc".to_owned(),
        };
        return Some((cause, "use another bus"));
    }
    if is_floppy != disk.dev.starts_with("fd") {
        let cause = format!("{} is not a name of such a device", disk.dev);
        return Some((cause, "name floppy drives fda, fdb, …, and others sda, vda, …"));
    }
    if disk.dev.ends_with(|c: char| c.is_ascii_digit()) {
        let cause = format!("{} is the name of a partition", disk.dev);
        return Some((cause, "use the name of a whole disk"));
    }
    // The index also orders disks that need no address of their name.
    disk_index(&disk.dev).is_none().then(|| {
        (
            format!("{} is not a name of a disk", disk.dev),
            "name it as in sda, sdb, … or vda, vdb, …",
        )
    })
}

fn input_fault(input: &Input) -> Option<Fault> {
    let (r#type, bus) = (input.r#type, input.bus?);
    let is_valid = match (bus, r#type) {
        (InputBus::Xen | InputBus::Parallels, _) => false,
        (bus, InputType::Evdev) => bus == InputBus::None,
        (bus, InputType::Passthrough) => bus == InputBus::Virtio,
        (InputBus::Ps2, r#type) => matches!(r#type, InputType::Mouse | InputType::Keyboard),
        _ => true,
    };
    (!is_valid).then(|| (format!("a {type} cannot be on bus {bus}"), "use another bus"))
}

fn video_fault(plan: &Plan<'_>, id: Id, video: &Video) -> Option<Fault> {
    let model = video.model?;
    if matches!(model, VideoModel::Xen | VideoModel::Vbox | VideoModel::Parallels | VideoModel::Gop)
    {
        return Some((format!("QEMU has no video device of model {model}"), "use another model"));
    }
    let can_be_second = matches!(model, VideoModel::Qxl | VideoModel::Virtio | VideoModel::None);
    let videos = plan.devices.of(Kind::Video);
    let is_primary =
        |id: &Id| matches!(plan.kind(*id), DeviceKind::Video(v) if v.primary == Some(YesNo::Yes));
    let primary = videos.iter().copied().find(is_primary).or(videos.first().copied());
    (!can_be_second && primary != Some(id))
        .then(|| (format!("a {model} can only be the primary video device"), "use qxl or virtio"))
}

fn panic_fault(plan: &Plan<'_>, panic: &Panic) -> Option<Fault> {
    let family = plan.machine.family;
    let is_valid = match panic.model? {
        PanicModel::Isa | PanicModel::Hyperv => family == Family::X86,
        PanicModel::Pseries => plan.machine.board == Board::Pseries,
        PanicModel::S390 => family == Family::S390,
        _ => true,
    };
    (!is_valid).then(|| {
        let cause = format!("machine {} has no such panic notifier", plan.machine.name);
        (cause, "use another model")
    })
}

fn watchdog_fault(plan: &Plan<'_>, watchdog: &Watchdog) -> Option<Fault> {
    (watchdog.model == WatchdogModel::Itco && plan.machine.board != Board::Q35).then(|| {
        (format!("machine {} has no itco watchdog", plan.machine.name), "use another model")
    })
}

fn iommu_fault(plan: &Plan<'_>, iommu: &Iommu) -> Option<Fault> {
    let is_arm = (plan.machine.family, plan.machine.board) == (Family::Arm, Board::Virt);
    let is_valid = match iommu.model {
        IommuModel::Intel => plan.machine.board == Board::Q35,
        IommuModel::Smmuv3 => is_arm,
        IommuModel::Virtio => is_arm || plan.machine.board == Board::Q35,
        // Later releases of libvirt have it, on PCI.
        _ => false,
    };
    let cause = || format!("machine {} has no {} IOMMU", plan.machine.name, iommu.model);
    (!is_valid).then(|| (cause(), "use another model"))
}

/// Finds a physical address that does not fit the blocks of virtio-mem.
fn memory_fault(memory: &Memory) -> Option<Fault> {
    let base = memory.base?.0;
    let block = memory.block_bytes()?;
    (block > 0 && base % block != 0).then(|| {
        let cause = format!("its address 0x{base:x} is not a multiple of its block size");
        (cause, "use a multiple of the block size, or leave the address out")
    })
}

/// Options of `<driver>` that only virtio-scsi has.
const VIRTIO_SCSI_OPTIONS: &[&str] = &["queues", "cmd_per_lun", "max_sectors", "ioeventfd"];

fn controller_fault(plan: &Plan<'_>, device: &Device, c: &Controller) -> Option<Fault> {
    let is_virtio_scsi = c.r#type == ControllerType::Scsi
        && matches!(
            c.model,
            Some(
                ControllerModel::VirtioScsi
                    | ControllerModel::VirtioTransitional
                    | ControllerModel::VirtioNonTransitional
            )
        );
    if let Some(driver) = device.element().child("driver").filter(|_| !is_virtio_scsi)
        && let Some(option) = VIRTIO_SCSI_OPTIONS.iter().find(|o| driver.attribute(o).is_some())
    {
        return Some((format!("only virtio-scsi has the option {option}"), "remove the option"));
    }
    match (c.r#type, c.model) {
        (ControllerType::Usb, Some(model @ (ControllerModel::Qusb1 | ControllerModel::Qusb2))) => {
            Some((format!("QEMU has no USB controller of model {model}"), "use another model"))
        }
        (ControllerType::Usb, Some(model)) if c.ports.is_some() => {
            let has_ports = matches!(model, ControllerModel::NecXhci | ControllerModel::QemuXhci);
            (!has_ports)
                .then(|| (format!("the ports of a {model} are fixed"), "leave their number out"))
        }
        (ControllerType::Pci, Some(model)) if device.element().child("pcihole64").is_some() => {
            let has_hole = matches!(
                (plan.machine.board, model),
                (Board::I440fx, ControllerModel::PciRoot) | (Board::Q35, ControllerModel::PcieRoot)
            );
            (!has_hole).then(|| {
                (
                    "only the PCI root of i440fx and q35 has pcihole64".to_owned(),
                    "remove the option",
                )
            })
        }
        _ => None,
    }
}
