//! Devices of virtio, which s390 has as channel devices and Arm can have in memory.

use capscache_domain::{
    ChannelType, ConsoleType, ControllerModel, ControllerType, DeviceKind, DiskBus, HostdevType,
    InputBus, Interface, MemballoonModel, MemoryModel, SoundModel, VideoModel,
};

/// Returns true for a virtio device that can be on s390's channel bus or on virtio-mmio.
pub(crate) fn is_virtio(kind: &DeviceKind) -> bool {
    match kind {
        DeviceKind::Disk(disk) => disk.bus == Some(DiskBus::Virtio),
        DeviceKind::Interface(interface) => is_virtio_interface(interface),
        DeviceKind::Video(video) => video.model == Some(VideoModel::Virtio),
        DeviceKind::Input(input) => input.bus == Some(InputBus::Virtio),
        DeviceKind::Controller(controller) => match controller.r#type {
            ControllerType::VirtioSerial => true,
            ControllerType::Scsi => !matches!(
                controller.model,
                Some(ControllerModel::Ncr53c90 | ControllerModel::Ibmvscsi)
            ),
            _ => false,
        },
        DeviceKind::Hostdev(hostdev) => hostdev.r#type == HostdevType::ScsiHost,
        DeviceKind::Memballoon(balloon) => {
            !matches!(balloon.model, MemballoonModel::None | MemballoonModel::Xen)
        }
        DeviceKind::Memory(memory) => {
            matches!(memory.model, MemoryModel::VirtioMem | MemoryModel::VirtioPmem)
        }
        DeviceKind::Sound(sound) => sound.model == SoundModel::Virtio,
        DeviceKind::Rng(_) | DeviceKind::Crypto(_) => true,
        _ => false,
    }
}

/// Returns true for a network interface of a virtio model.
pub(crate) fn is_virtio_interface(interface: &Interface) -> bool {
    matches!(
        interface.model.as_deref(),
        Some("virtio" | "virtio-transitional" | "virtio-non-transitional")
    )
}

/// Returns true for a port of a virtio-serial controller.
pub(crate) fn is_virtio_port(kind: &DeviceKind) -> bool {
    match kind {
        DeviceKind::Channel(channel) => channel.target_type == Some(ChannelType::Virtio),
        DeviceKind::Console(console) => console.target_type == Some(ConsoleType::Virtio),
        _ => false,
    }
}
