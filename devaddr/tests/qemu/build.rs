//! Short ways to build guests.

use capscache_domain::*;

/// A guest that is still being built.
pub(crate) struct Build(pub(crate) Guest);

impl Build {
    pub(crate) fn new(arch: &str, machine: &str) -> Build {
        Build(Guest::new(arch, machine))
    }

    /// Adds a device that is to be assigned an address.
    pub(crate) fn with(mut self, kind: impl Into<DeviceKind>) -> Build {
        self.0.add(kind);
        self
    }

    /// Adds a device with an address.
    pub(crate) fn at(mut self, address: Address, kind: impl Into<DeviceKind>) -> Build {
        self.0.devices.push(Device::with_address(kind, address));
        self
    }

    /// Adds several devices, made from their numbers.
    pub(crate) fn many<K: Into<DeviceKind>>(mut self, n: u32, make: impl Fn(u32) -> K) -> Build {
        for number in 0..n {
            self.0.add(make(number));
        }
        self
    }

    /// Sets the limits of memory hotplug, and cells for controllers to belong to.
    pub(crate) fn memory(mut self) -> Build {
        self.0.max_memory = Some(MaxMemory { kib: 16 << 20, slots: 8 });
        add_nodes(&mut self.0);
        self
    }
}

/// Gives a guest two NUMA nodes.
pub(crate) fn add_nodes(guest: &mut Guest) {
    let cell = |id| NumaCell { id, cpus: Some(id.to_string()), memory_kib: Some(1 << 19) };
    guest.numa = vec![cell(0), cell(1)];
    guest.memory_kib = Some(1 << 20);
    guest.vcpus = 2;
}

pub(crate) fn pci(bus: u32, slot: u32, function: u32) -> Address {
    Address::Pci(PciAddress { function, ..PciAddress::new(bus, slot) })
}

/// The first of several functions of a slot.
pub(crate) fn first(bus: u32, slot: u32) -> Address {
    Address::Pci(PciAddress { multifunction: Some(Switch::On), ..PciAddress::new(bus, slot) })
}

pub(crate) fn usb_port(bus: u32, port: &str) -> Address {
    Address::Usb(UsbAddress { bus, port: UsbPort::parse(port).unwrap() })
}

pub(crate) fn scsi_unit(controller: u32, target: u32, unit: u32) -> Address {
    Address::Drive(DriveAddress { controller, bus: 0, target, unit })
}

pub(crate) fn serial_port(controller: u32, port: u32) -> Address {
    Address::VirtioSerial(VirtioSerialAddress { controller, bus: 0, port })
}

pub(crate) fn ccw(devno: u32) -> Address {
    Address::Ccw(CcwAddress { cssid: 0xfe, ssid: 0, devno })
}

/// The name of a disk: `sda` to `sdz`, then `sdaa`.
fn disk_name(prefix: &str, number: u32) -> String {
    let letter = |n: u32| char::from_u32(u32::from(b'a') + n).unwrap();
    match number.checked_sub(26) {
        None => format!("{prefix}{}", letter(number)),
        Some(rest) => format!("{prefix}{}{}", letter(rest / 26), letter(rest % 26)),
    }
}

pub(crate) fn disk(prefix: &str, bus: DiskBus, number: u32) -> Disk {
    let device = (bus == DiskBus::Fdc).then_some(DiskDevice::Floppy);
    Disk { bus: Some(bus), device, ..Disk::new(disk_name(prefix, number)) }
}

pub(crate) fn vd(number: u32) -> Disk {
    disk("vd", DiskBus::Virtio, number)
}

pub(crate) fn sd(number: u32) -> Disk {
    disk("sd", DiskBus::Scsi, number)
}

pub(crate) fn cdrom(prefix: &str, bus: DiskBus, number: u32) -> Disk {
    Disk { device: Some(DiskDevice::Cdrom), ..disk(prefix, bus, number) }
}

pub(crate) fn nic(model: &str) -> Interface {
    let model = Some(model.to_owned());
    Interface { model, ..Interface::new(InterfaceType::User) }
}

pub(crate) fn controller(r#type: ControllerType, index: u32, model: ControllerModel) -> Controller {
    Controller { index: Some(index), model: Some(model), ..Controller::new(r#type) }
}

pub(crate) fn bridge(index: u32, model: ControllerModel) -> Controller {
    controller(ControllerType::Pci, index, model)
}

pub(crate) fn usb(index: u32, model: ControllerModel) -> Controller {
    controller(ControllerType::Usb, index, model)
}

pub(crate) fn scsi(index: u32, model: ControllerModel) -> Controller {
    controller(ControllerType::Scsi, index, model)
}

/// A USB 1 controller that shares the ports of a USB 2 controller.
pub(crate) fn companion(model: ControllerModel, first: u32) -> Controller {
    Controller { master_startport: Some(first), ..usb(0, model) }
}

pub(crate) fn video(model: VideoModel) -> Video {
    Video { model: Some(model), ..Video::new() }
}

pub(crate) fn input(r#type: InputType, bus: InputBus) -> Input {
    Input { bus: Some(bus), ..Input::new(r#type) }
}

pub(crate) fn tablet(_: u32) -> Input {
    input(InputType::Tablet, InputBus::Usb)
}

pub(crate) fn channel(number: u32) -> Channel {
    let name = Some(format!("org.example.{number}"));
    Channel { name, target_type: Some(ChannelType::Virtio), r#type: Some("unix".to_owned()) }
}

pub(crate) fn console() -> Console {
    let r#type = Some("pty".to_owned());
    Console { r#type, target_type: Some(ConsoleType::Virtio), ..Console::new() }
}

pub(crate) fn serial(target_type: SerialType) -> Serial {
    let r#type = Some("pty".to_owned());
    Serial { r#type, target_type: Some(target_type), ..Serial::new() }
}

pub(crate) fn rng() -> Rng {
    Rng::new(VirtioModel::Virtio)
}

pub(crate) fn balloon() -> Memballoon {
    Memballoon::new(MemballoonModel::Virtio)
}

pub(crate) fn filesystem(number: u32) -> Filesystem {
    let r#type = Some(FilesystemType::Mount);
    Filesystem { r#type, dir: Some(format!("tag{number}")), ..Filesystem::new() }
}

/// A PCI device of the host.
pub(crate) fn host(number: u32) -> Hostdev {
    Hostdev {
        mode: Some(HostdevMode::Subsystem),
        managed: Some(YesNo::Yes),
        host_domain: Some(Hex(0)),
        host_bus: Some(Hex(3 + number)),
        host_slot: Some(Hex(0)),
        host_function: Some(Hex(0)),
        ..Hostdev::new(HostdevType::Pci)
    }
}

pub(crate) fn shmem(number: u32) -> Shmem {
    Shmem { name: Some(format!("shmem{number}")), model: Some(ShmemModel::Plain) }
}

pub(crate) fn memory(model: MemoryModel) -> Memory {
    let size_unit = Some("MiB".to_owned());
    Memory { size: Some(256), size_unit, node: Some(0), ..Memory::new(model) }
}

pub(crate) fn vsock() -> Vsock {
    Vsock { model: Some(VirtioModel::Virtio) }
}

pub(crate) fn crypto() -> Crypto {
    Crypto { model: Some(CryptoModel::Virtio), r#type: Some(CryptoType::Qemu) }
}

pub(crate) fn panic(model: PanicModel) -> Panic {
    Panic { model: Some(model) }
}
