//! Names of devices in messages.

use std::collections::HashMap;

use capscache_domain::{Device, DeviceKind, Hex, Hostdev, HostdevType};

/// Returns the name that errors and reports use for a device: its kind, and the part by which a user finds it.
pub fn describe(device: &Device) -> String {
    let named = |word: &str, name: Option<&dyn std::fmt::Display>| match name {
        Some(name) => format!("{word} {name}"),
        None => word.to_owned(),
    };
    fn show<T: std::fmt::Display>(value: &Option<T>) -> Option<&dyn std::fmt::Display> {
        value.as_ref().map(|value| value as &dyn std::fmt::Display)
    }
    match &device.device {
        DeviceKind::Disk(disk) => format!("disk {}", disk.dev),
        DeviceKind::Controller(controller) => {
            let index = controller.index.map_or_else(String::new, |index| format!(" {index}"));
            let model = controller.model.map_or_else(String::new, |model| format!(" ({model})"));
            format!("{} controller{index}{model}", controller.r#type)
        }
        DeviceKind::Interface(interface) => named("interface", show(&interface.mac)),
        DeviceKind::Filesystem(filesystem) => named("filesystem", show(&filesystem.dir)),
        DeviceKind::Input(input) => match input.bus {
            Some(bus) => format!("{bus} {}", input.r#type),
            None => input.r#type.to_string(),
        },
        DeviceKind::Sound(sound) => format!("sound device {}", sound.model),
        DeviceKind::Video(video) => named("video device", show(&video.model)),
        DeviceKind::Hostdev(hostdev) => describe_hostdev(hostdev),
        DeviceKind::Channel(channel) => named("channel", show(&channel.name)),
        DeviceKind::Serial(serial) => named("serial port", show(&serial.port)),
        DeviceKind::Console(console) => named("console", show(&console.port)),
        DeviceKind::Watchdog(watchdog) => format!("watchdog {}", watchdog.model),
        DeviceKind::Shmem(shmem) => named("shared memory", show(&shmem.name)),
        DeviceKind::Memory(memory) => format!("{} memory device", memory.model),
        DeviceKind::Memballoon(_) => "memory balloon".to_owned(),
        DeviceKind::Hub(_) => "USB hub".to_owned(),
        DeviceKind::Redirdev(_) => "redirected USB device".to_owned(),
        DeviceKind::Iommu(iommu) => format!("{} IOMMU", iommu.model),
        DeviceKind::Panic(panic) => named("panic notifier", show(&panic.model)),
        other => other.name().to_owned(),
    }
}

/// Returns a name for each device of a guest, no two alike: those of [`describe`], or the kind and the position, as in
/// policies, where that has no more than the kind or another device has the same.
pub(crate) fn names(devices: &[Device]) -> Vec<String> {
    let mut names: Vec<String> = devices.iter().map(describe).collect();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for name in &names {
        *counts.entry(name).or_default() += 1;
    }
    let is_shared: Vec<bool> = names
        .iter()
        .map(|name| counts.get(name.as_str()).is_some_and(|count| *count > 1))
        .collect();
    let mut positions: HashMap<&str, usize> = HashMap::new();
    for ((device, name), is_shared) in devices.iter().zip(&mut names).zip(is_shared) {
        let kind = device.device.name();
        let position = positions.entry(kind).or_default();
        if is_shared || name == kind {
            *name = format!("{kind}/{position}");
        }
        *position += 1;
    }
    names
}

fn describe_hostdev(hostdev: &Hostdev) -> String {
    let part = |part: &Option<Hex>| part.map_or(0, |hex| hex.0);
    let pci = || {
        format!(
            "{:04x}:{:02x}:{:02x}.{:x}",
            part(&hostdev.host_domain),
            part(&hostdev.host_bus),
            part(&hostdev.host_slot),
            part(&hostdev.host_function)
        )
    };
    let r#type = hostdev.r#type;
    match r#type {
        HostdevType::Pci => format!("host device {}", pci()),
        HostdevType::Usb if hostdev.host_device.is_some() => {
            format!("USB host device {}:{}", part(&hostdev.host_bus), part(&hostdev.host_device))
        }
        _ => {
            let name = [&hostdev.uuid, &hostdev.adapter, &hostdev.name, &hostdev.wwpn];
            let name = name.iter().find_map(|name| name.as_deref());
            format!("{} host device {}", r#type, name.unwrap_or_default()).trim_end().to_owned()
        }
    }
}
