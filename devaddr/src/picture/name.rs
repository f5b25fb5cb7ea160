//! Short names of devices.

use std::fmt::Display;

use capscache_domain::{
    Controller, ControllerModel, ControllerType, Device, DeviceKind, Disk, DiskDevice, Hex,
    Hostdev, Interface, InterfaceType, Switch,
};

/// Returns a short name: the element, what distinguishes it from others of its kind, and the model.
pub(super) fn name(device: &Device) -> String {
    let mut name = Words(String::new());
    match &device.device {
        DeviceKind::Disk(disk) => return disk_name(disk),
        DeviceKind::Controller(controller) => return controller_name(controller),
        DeviceKind::Interface(interface) => return interface_name(interface),
        DeviceKind::Hostdev(hostdev) => return hostdev_name(hostdev),
        other => name.add(other.name()),
    };
    match &device.device {
        DeviceKind::Filesystem(filesystem) => {
            name.maybe(&filesystem.dir).maybe(&filesystem.driver).maybe(&filesystem.model)
        }
        DeviceKind::Smartcard(smartcard) => name.maybe(&smartcard.mode),
        DeviceKind::Serial(serial) => name.maybe(&serial.port).maybe(&serial.target_type),
        DeviceKind::Parallel(parallel) => name.maybe(&parallel.port),
        DeviceKind::Console(console) => name.maybe(&console.port).maybe(&console.target_type),
        DeviceKind::Channel(channel) => name.maybe(&channel.name).maybe(&channel.target_type),
        DeviceKind::Input(input) => name.add(input.r#type).maybe(&input.bus),
        DeviceKind::Tpm(tpm) => name.maybe(&tpm.model),
        DeviceKind::Sound(sound) => name.add(sound.model),
        DeviceKind::Video(video) => name.maybe(&video.model),
        DeviceKind::Redirdev(redirdev) => name.maybe(&redirdev.r#type),
        DeviceKind::Hub(hub) => name.add(hub.r#type),
        DeviceKind::Watchdog(watchdog) => name.add(watchdog.model),
        DeviceKind::Memballoon(memballoon) => name.add(memballoon.model),
        DeviceKind::Rng(rng) => name.add(rng.model),
        DeviceKind::Panic(panic) => name.maybe(&panic.model),
        DeviceKind::Shmem(shmem) => name.maybe(&shmem.name).maybe(&shmem.model),
        DeviceKind::Memory(memory) => {
            name.add(memory.model);
            if let Some(size) = memory.size {
                name.add(size).add(memory.size_unit.as_deref().unwrap_or("KiB"));
            }
            &mut name
        }
        DeviceKind::Crypto(crypto) => name.maybe(&crypto.model),
        DeviceKind::Iommu(iommu) => name.add(iommu.model),
        DeviceKind::Vsock(vsock) => name.maybe(&vsock.model),
        DeviceKind::Pstore(pstore) => name.maybe(&pstore.backend),
        _ => &mut name,
    };
    name.0
}

/// Returns facts about a device that its name does not have.
pub(super) fn notes(device: &Device) -> Vec<String> {
    let mut notes = Vec::new();
    if let DeviceKind::Controller(controller) = &device.device {
        notes.extend(controller.chassis_nr.map(|nr| format!("chassis {nr}")));
        notes.extend(controller.chassis.map(|chassis| format!("chassis {chassis}")));
        notes.extend(controller.port.map(|port| format!("port {port}")));
        notes.extend(controller.bus_nr.map(|nr| format!("bus number {nr}")));
        notes.extend(controller.target_index.map(|index| format!("host bridge {index}")));
        notes.extend(controller.node.map(|node| format!("NUMA node {node}")));
        if let Some(first) = controller.master_startport {
            // Port 0 of libvirt is the first.
            notes.push(format!("companion from port {}", first.saturating_add(1)));
        }
        match controller.hotplug {
            Some(Switch::Off) => notes.push("no hotplug".to_owned()),
            Some(_) => notes.push("hotplug".to_owned()),
            // The default of ports.
            None if is_port(controller) => notes.push("hotplug".to_owned()),
            None => {}
        }
    }
    notes
}

/// Returns true for a controller of PCIe that has one slot, which a device can be plugged into.
pub(super) fn is_port(controller: &Controller) -> bool {
    matches!(
        controller.model,
        Some(ControllerModel::PcieRootPort | ControllerModel::PcieSwitchDownstreamPort)
    )
}

fn disk_name(disk: &Disk) -> String {
    let mut name = Words(String::new());
    name.add(disk.device.unwrap_or(DiskDevice::Disk)).add(&disk.dev).maybe(&disk.bus);
    name.0
}

fn controller_name(controller: &Controller) -> String {
    let mut name = Words("controller".to_owned());
    match (controller.r#type, controller.model) {
        (ControllerType::Pci, Some(model)) => name.add(model).maybe(&controller.index),
        (r#type, model) => name.add(r#type).maybe(&controller.index).maybe(&model),
    };
    name.0
}

fn interface_name(interface: &Interface) -> String {
    let mut name = Words("interface".to_owned());
    name.maybe(&interface.mac);
    match (interface.model.as_deref(), interface.r#type) {
        (_, InterfaceType::Hostdev) => {
            let (domain, bus) = (interface.host_domain, interface.host_bus);
            name.add("host").add(host(domain, bus, interface.host_slot, interface.host_function));
        }
        (Some("virtio"), _) => _ = name.add("virtio-net"),
        (model, _) => _ = name.maybe(&model),
    }
    name.0
}

fn hostdev_name(hostdev: &Hostdev) -> String {
    let mut name = Words("hostdev".to_owned());
    name.add(hostdev.r#type);
    let (domain, bus) = (hostdev.host_domain, hostdev.host_bus);
    match (bus, hostdev.host_slot) {
        (Some(_), Some(_)) => {
            _ = name.add(host(domain, bus, hostdev.host_slot, hostdev.host_function));
        }
        _ => _ = name.maybe(&hostdev.adapter).maybe(&hostdev.name).maybe(&hostdev.wwpn),
    }
    name.maybe(&hostdev.uuid);
    name.0
}

/// Formats the PCI address of a device of the host.
fn host(domain: Option<Hex>, bus: Option<Hex>, slot: Option<Hex>, function: Option<Hex>) -> String {
    let part = |part: Option<Hex>| part.unwrap_or_default().0;
    format!("{:04x}:{:02x}:{:02x}.{:x}", part(domain), part(bus), part(slot), part(function))
}

/// Words with a space between them.
struct Words(String);

impl Words {
    fn add(&mut self, word: impl Display) -> &mut Words {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(&word.to_string());
        self
    }

    fn maybe<T: Display>(&mut self, word: &Option<T>) -> &mut Words {
        match word {
            Some(word) => self.add(word),
            None => self,
        }
    }
}
