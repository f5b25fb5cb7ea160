//! Requirements of each device for its PCI slot.

use capscache_domain::{
    ControllerModel, ControllerType, DeviceKind, DiskBus, DiskModel, FilesystemDriver,
    HostdevModel, HostdevType, InputBus, InterfaceType, IommuModel, MemballoonModel, MemoryModel,
    PanicModel, SerialType, SoundModel, VideoModel, VirtioModel, WatchdogModel,
};

use super::kind::Need;

/// Returns the requirements of a device; `has_pcie` is whether the machine has a PCIe root.
pub(super) fn need(kind: &DeviceKind, has_pcie: bool) -> Need {
    let conventional = Need::CONVENTIONAL;
    let express = if has_pcie { Need::EXPRESS } else { Need::CONVENTIONAL };
    // A transitional device has I/O ports, which only conventional slots have.
    let virtio = |model: Option<VirtioModel>| match model {
        Some(VirtioModel::Transitional) => conventional,
        _ => express,
    };
    match kind {
        DeviceKind::Controller(controller) => match (controller.r#type, controller.model) {
            (ControllerType::Pci, Some(model)) => Need::of_controller(model, controller.index),
            (ControllerType::Sata | ControllerType::Ide, _) => conventional,
            (ControllerType::Usb, model) => match model {
                Some(ControllerModel::NecXhci | ControllerModel::QemuXhci) => express,
                Some(ControllerModel::None | ControllerModel::Qusb1 | ControllerModel::Qusb2) => {
                    Need::NONE
                }
                _ => conventional,
            },
            (ControllerType::Scsi, model) => match model {
                None | Some(ControllerModel::Ncr53c90) => Need::NONE,
                Some(ControllerModel::VirtioScsi | ControllerModel::VirtioNonTransitional) => {
                    express
                }
                _ => conventional,
            },
            (ControllerType::VirtioSerial, model) => match model {
                Some(ControllerModel::VirtioTransitional) => conventional,
                _ => express,
            },
            _ => Need::NONE,
        },
        DeviceKind::Filesystem(filesystem) => match filesystem.driver {
            None
            | Some(
                FilesystemDriver::Path | FilesystemDriver::Handle | FilesystemDriver::Virtiofs,
            ) => virtio(filesystem.model),
            _ => Need::NONE,
        },
        DeviceKind::Interface(interface) => match interface.model.as_deref() {
            _ if interface.r#type == InterfaceType::Hostdev => {
                if interface.host_type.as_deref() == Some("usb") { Need::NONE } else { express }
            }
            Some("usb-net" | "spapr-vlan" | "smc91c111" | "lan9118" | "lan9114") => Need::NONE,
            None | Some("virtio" | "virtio-non-transitional" | "e1000e" | "igb") => express,
            Some(_) => conventional,
        },
        DeviceKind::Sound(sound) => match sound.model {
            SoundModel::Es1370 | SoundModel::Ac97 | SoundModel::Ich6 | SoundModel::Ich9 => {
                conventional
            }
            SoundModel::Virtio => express,
            _ => Need::NONE,
        },
        DeviceKind::Disk(disk) if disk.bus == Some(DiskBus::Virtio) => match disk.model {
            Some(DiskModel::Transitional) => conventional,
            _ => express,
        },
        DeviceKind::Hostdev(hostdev) => match (hostdev.r#type, hostdev.model) {
            (HostdevType::Pci, _) | (HostdevType::Mdev, Some(HostdevModel::VfioPci)) => express,
            (HostdevType::ScsiHost, Some(HostdevModel::Transitional)) => conventional,
            (HostdevType::ScsiHost, _) => express,
            _ => Need::NONE,
        },
        DeviceKind::Memballoon(balloon) => match balloon.model {
            MemballoonModel::Virtio | MemballoonModel::NonTransitional => express,
            MemballoonModel::Transitional => conventional,
            _ => Need::NONE,
        },
        DeviceKind::Rng(rng) => virtio(Some(rng.model)),
        DeviceKind::Watchdog(watchdog) if watchdog.model == WatchdogModel::I6300esb => conventional,
        DeviceKind::Video(video) => match video.model {
            Some(VideoModel::Virtio | VideoModel::Bochs) => express,
            None | Some(VideoModel::None | VideoModel::Ramfb | VideoModel::Gop) => Need::NONE,
            _ => conventional,
        },
        DeviceKind::Shmem(_) => conventional,
        DeviceKind::Input(input) if input.bus == Some(InputBus::Virtio) => virtio(input.model),
        DeviceKind::Serial(serial) if serial.target_type == Some(SerialType::PciSerial) => {
            conventional
        }
        DeviceKind::Iommu(iommu) if iommu.model == IommuModel::Virtio => {
            Need { integrated: true, ..express }
        }
        DeviceKind::Vsock(vsock) => virtio(vsock.model),
        DeviceKind::Memory(memory) => match memory.model {
            MemoryModel::VirtioMem | MemoryModel::VirtioPmem => express,
            _ => Need::NONE,
        },
        DeviceKind::Crypto(_) | DeviceKind::Pstore(_) => conventional,
        DeviceKind::Panic(panic) if panic.model == Some(PanicModel::Pvpanic) => {
            Need { integrated: true, ..conventional }
        }
        _ => Need::NONE,
    }
}
