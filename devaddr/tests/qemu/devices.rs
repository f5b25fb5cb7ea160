//! Devices to drivers of QEMU, with backends that need nothing of the host.

use capscache_domain::{
    Address, ChannelType, ConsoleType, Controller, ControllerModel, ControllerType, Device,
    DeviceKind, Disk, DiskBus, DiskDevice, DiskModel, HostdevModel, HostdevType, InputBus,
    InputType, InterfaceType, IommuModel, MemballoonModel, MemoryModel, PanicModel, SerialType,
    SoundModel, Switch, VideoModel, VirtioModel, WatchdogModel,
};

use crate::board::Board;
use crate::plan::Plan;

/// Returns the device that stands for a PCI device of the host.
fn stand_in(board: &Board) -> String {
    // s390 requires MSI-X.
    let is_s390 = board.arch.starts_with("s390");
    if is_s390 { "virtio-net-pci,romfile=" } else { "pci-testdev" }.to_owned()
}

/// Returns driver and options of a device, and adds its backend to the plan; `None` if it is part of the machine,
/// has no address, or needs the host.
pub(crate) fn driver(board: &Board, id: &str, device: &Device, plan: &mut Plan) -> Option<String> {
    let address = device.address.as_ref();
    let virtio = |name: &str, model: Option<VirtioModel>| virtio(address, name, model);
    Some(match &device.device {
        DeviceKind::Controller(c) => return controller(board, address, c),
        DeviceKind::Disk(disk) => return self::disk(id, device, disk, plan),
        _ if address.is_none() => return None,
        DeviceKind::Interface(interface) => {
            if interface.r#type == InterfaceType::Hostdev {
                return matches!(address, Some(Address::Pci(_))).then(|| stand_in(board));
            }
            let (driver, rom) = match interface.model.as_deref().unwrap_or("rtl8139") {
                "virtio" => (virtio("net", None)?, ""),
                "virtio-transitional" => (virtio("net", Some(VirtioModel::Transitional))?, ""),
                "virtio-non-transitional" => {
                    (virtio("net", Some(VirtioModel::NonTransitional))?, "")
                }
                "spapr-vlan" => return Some("spapr-vlan".to_owned()),
                "usb-net" => return Some("usb-net".to_owned()),
                other => (other.to_owned(), ",romfile="),
            };
            format!("{driver}{rom}")
        }
        DeviceKind::Filesystem(filesystem) => {
            plan.add("-fsdev", format!("synth,id=f{id}"));
            let driver = virtio("9p", filesystem.model)?;
            format!("{driver},fsdev=f{id},mount_tag={id}")
        }
        DeviceKind::Rng(rng) => {
            plan.add("-object", format!("rng-builtin,id=r{id}"));
            format!("{},rng=r{id}", virtio("rng", Some(rng.model))?)
        }
        DeviceKind::Memballoon(balloon) => {
            let model = match balloon.model {
                MemballoonModel::Transitional => VirtioModel::Transitional,
                MemballoonModel::NonTransitional => VirtioModel::NonTransitional,
                MemballoonModel::Virtio => VirtioModel::Virtio,
                _ => return None,
            };
            virtio("balloon", Some(model))?
        }
        // The kernel's device of the same interface may not be there.
        DeviceKind::Vsock(vsock) => {
            plan.add("-object", format!("rng-builtin,id=r{id}"));
            format!("{},rng=r{id}", virtio("rng", vsock.model)?)
        }
        DeviceKind::Crypto(_) => {
            plan.add("-object", format!("cryptodev-backend-builtin,id=k{id}"));
            format!("{},cryptodev=k{id}", virtio("crypto", None)?)
        }
        DeviceKind::Input(input) => match (input.bus, input.r#type) {
            (Some(InputBus::Usb), InputType::Mouse) => "usb-mouse".to_owned(),
            (Some(InputBus::Usb), InputType::Keyboard) => "usb-kbd".to_owned(),
            (Some(InputBus::Usb), _) => "usb-tablet".to_owned(),
            (Some(InputBus::Virtio), InputType::Mouse) => virtio("mouse", None)?,
            (Some(InputBus::Virtio), InputType::Tablet) => virtio("tablet", None)?,
            (Some(InputBus::Virtio), _) => virtio("keyboard", None)?,
            _ => return None,
        },
        DeviceKind::Sound(sound) => match sound.model {
            SoundModel::Es1370 => "ES1370",
            SoundModel::Ac97 => "AC97",
            SoundModel::Ich6 => "intel-hda",
            SoundModel::Ich9 => "ich9-intel-hda",
            SoundModel::Usb => "usb-audio",
            _ => return None,
        }
        .to_owned(),
        DeviceKind::Video(video) => {
            let is_primary = video.primary == Some(capscache_domain::YesNo::Yes);
            match video.model? {
                VideoModel::Vga if is_primary => "VGA".to_owned(),
                VideoModel::Vga => "secondary-vga".to_owned(),
                VideoModel::Cirrus => "cirrus-vga".to_owned(),
                VideoModel::Vmvga => "vmware-svga".to_owned(),
                VideoModel::Qxl if is_primary => "qxl-vga".to_owned(),
                VideoModel::Qxl => "qxl".to_owned(),
                VideoModel::Bochs => "bochs-display".to_owned(),
                VideoModel::Virtio if is_primary && board.is_x86() => "virtio-vga".to_owned(),
                VideoModel::Virtio => virtio("gpu", None)?,
                _ => return None,
            }
        }
        DeviceKind::Hostdev(hostdev) => match (hostdev.r#type, address) {
            (HostdevType::Pci | HostdevType::Mdev, Some(Address::Pci(_)))
                if hostdev.model != Some(HostdevModel::VfioCcw) =>
            {
                stand_in(board)
            }
            (HostdevType::Scsi, Some(Address::Drive(_))) => {
                let node = null_drive(id, 1 << 20, plan);
                format!("scsi-hd,drive={node}")
            }
            (HostdevType::Usb, Some(Address::Usb(_))) => "usb-tablet".to_owned(),
            // The kernel's device of the same interface may not be there.
            (HostdevType::ScsiHost, Some(Address::Pci(_) | Address::Ccw(_))) => {
                let model = match hostdev.model {
                    Some(HostdevModel::Transitional) => Some(VirtioModel::Transitional),
                    Some(HostdevModel::NonTransitional) => Some(VirtioModel::NonTransitional),
                    _ => None,
                };
                virtio("scsi", model)?
            }
            _ => return None,
        },
        DeviceKind::Redirdev(_) => format!("usb-redir,chardev={}", null_character(id, plan)),
        DeviceKind::Hub(_) => "usb-hub".to_owned(),
        DeviceKind::Watchdog(watchdog) => match watchdog.model {
            WatchdogModel::I6300esb => "i6300esb".to_owned(),
            _ => return None,
        },
        DeviceKind::Shmem(_) => {
            plan.add("-object", format!("memory-backend-ram,id=m{id},size=1M,share=on"));
            format!("ivshmem-plain,memdev=m{id}")
        }
        DeviceKind::Serial(serial) => {
            let driver = match serial.target_type? {
                SerialType::PciSerial => "pci-serial",
                SerialType::UsbSerial => "usb-serial",
                SerialType::SpaprVioSerial => "spapr-vty",
                _ => return None,
            };
            format!("{driver},chardev={}", null_character(id, plan))
        }
        DeviceKind::Console(console) if console.target_type == Some(ConsoleType::Virtio) => {
            format!("virtconsole,chardev={}", null_character(id, plan))
        }
        DeviceKind::Channel(channel) if channel.target_type == Some(ChannelType::Virtio) => {
            let name = channel.name.as_deref().unwrap_or(id).replace(',', ",,");
            format!("virtserialport,chardev={},name={name}", null_character(id, plan))
        }
        DeviceKind::Smartcard(_) => {
            format!("ccid-card-passthru,chardev={}", null_character(id, plan))
        }
        DeviceKind::Panic(panic) => match (panic.model, address) {
            (Some(PanicModel::Pvpanic), _) => "pvpanic-pci".to_owned(),
            (Some(PanicModel::Isa), Some(Address::Isa(_))) => "pvpanic".to_owned(),
            _ => return None,
        },
        DeviceKind::Memory(memory) => {
            let driver = match memory.model {
                MemoryModel::Dimm => "pc-dimm",
                MemoryModel::Nvdimm if board.machine == "pseries" => {
                    "nvdimm,label-size=128K,uuid=75a3cdd7-6a2f-4791-8d15-fe0a920e8e9e"
                }
                MemoryModel::Nvdimm => "nvdimm",
                MemoryModel::VirtioMem if board.is_x86() => "virtio-mem-pci",
                // Both may need a kernel or memory that is not there.
                _ => {
                    return matches!(address, Some(Address::Pci(_))).then(|| stand_in(board));
                }
            };
            // A label is not part of the size that must be aligned.
            let size = if driver.contains("label") { (256 << 20) + (128 << 10) } else { 256 << 20 };
            plan.add("-object", format!("memory-backend-ram,id=m{id},size={size},reserve=off"));
            format!("{driver},memdev=m{id}")
        }
        DeviceKind::Iommu(iommu) if iommu.model == IommuModel::Virtio => {
            "virtio-iommu-pci".to_owned()
        }
        DeviceKind::Pstore(_) => {
            plan.add("-object", format!("memory-backend-ram,id=m{id},size=64K,share=on"));
            format!("acpi-erst,memdev=m{id}")
        }
        _ => return None,
    })
}

/// Returns the driver of a virtio device on the bus of its address.
fn virtio(address: Option<&Address>, name: &str, model: Option<VirtioModel>) -> Option<String> {
    let bus = match (address?, model) {
        (Address::Pci(_), Some(VirtioModel::Transitional)) => "pci-transitional",
        (Address::Pci(_), Some(VirtioModel::NonTransitional)) => "pci-non-transitional",
        (Address::Pci(_), _) => "pci",
        (Address::Ccw(_), _) => "ccw",
        (Address::VirtioMmio, _) => "device",
        _ => return None,
    };
    Some(format!("virtio-{name}-{bus}"))
}

fn controller(board: &Board, address: Option<&Address>, c: &Controller) -> Option<String> {
    use ControllerModel as Model;
    let mut options = String::new();
    let mut set = |key: &str, value: Option<u32>| {
        if let Some(value) = value {
            options.push_str(&format!(",{key}={value}"));
        }
    };
    let driver = match (c.r#type, c.model) {
        (ControllerType::Pci, Some(Model::PciRoot)) if board.machine == "pseries" => {
            if c.index == Some(0) {
                return None;
            }
            set("index", c.target_index);
            "spapr-pci-host-bridge".to_owned()
        }
        (ControllerType::Pci, Some(Model::PciRoot | Model::PcieRoot)) => return None,
        (ControllerType::Pci, Some(model)) => {
            set("chassis_nr", c.chassis_nr);
            set("chassis", c.chassis);
            set("port", c.port.map(|port| port.0));
            set("bus_nr", c.bus_nr);
            if c.hotplug == Some(Switch::Off) && model != Model::PciBridge {
                options.push_str(",hotplug=off");
            }
            let default = match model {
                Model::PciBridge => "pci-bridge",
                Model::DmiToPciBridge => "i82801b11-bridge",
                Model::PcieToPciBridge => "pcie-pci-bridge",
                Model::PcieRootPort => "pcie-root-port",
                Model::PcieSwitchUpstreamPort => "x3130-upstream",
                Model::PcieSwitchDownstreamPort => "xio3130-downstream",
                Model::PciExpanderBus => "pxb",
                Model::PcieExpanderBus => "pxb-pcie",
                _ => return None,
            };
            c.model_name.clone().unwrap_or_else(|| default.to_owned())
        }
        (ControllerType::Usb, Some(model)) => {
            if let Some(first) = c.master_startport {
                let bus = c.index.unwrap_or(0);
                options.push_str(&format!(",masterbus=usb{bus}.0,firstport={first}"));
            }
            if matches!(model, Model::NecXhci | Model::QemuXhci)
                && let Some(ports) = c.ports
            {
                options.push_str(&format!(",p2={ports},p3={ports}"));
            }
            match model {
                Model::Piix3Uhci => "piix3-usb-uhci",
                Model::Piix4Uhci => "piix4-usb-uhci",
                Model::Ehci => "usb-ehci",
                Model::Ich9Ehci1 => "ich9-usb-ehci1",
                Model::Ich9Uhci1 => "ich9-usb-uhci1",
                Model::Ich9Uhci2 => "ich9-usb-uhci2",
                Model::Ich9Uhci3 => "ich9-usb-uhci3",
                Model::Vt82c686bUhci => "vt82c686b-usb-uhci",
                Model::PciOhci => "pci-ohci",
                Model::NecXhci => "nec-usb-xhci",
                Model::QemuXhci => "qemu-xhci",
                _ => return None,
            }
            .to_owned()
        }
        (ControllerType::Scsi, Some(model)) => match model {
            Model::VirtioScsi => virtio(address, "scsi", None)?,
            Model::VirtioTransitional => virtio(address, "scsi", Some(VirtioModel::Transitional))?,
            Model::VirtioNonTransitional => {
                virtio(address, "scsi", Some(VirtioModel::NonTransitional))?
            }
            Model::Lsilogic | Model::Auto => "lsi".to_owned(),
            Model::Lsisas1068 => "mptsas1068".to_owned(),
            Model::Lsisas1078 => "megasas".to_owned(),
            Model::Vmpvscsi => "pvscsi".to_owned(),
            Model::Ibmvscsi => "spapr-vscsi".to_owned(),
            Model::Am53c974 => "am53c974".to_owned(),
            Model::Dc390 => "dc390".to_owned(),
            _ => return None,
        },
        (ControllerType::Scsi, None) => "lsi".to_owned(),
        (ControllerType::VirtioSerial, model) => {
            set("max_ports", c.ports);
            let model = match model {
                Some(Model::VirtioTransitional) => Some(VirtioModel::Transitional),
                Some(Model::VirtioNonTransitional) => Some(VirtioModel::NonTransitional),
                _ => None,
            };
            virtio(address, "serial", model)?
        }
        (ControllerType::Sata, _) => "ahci".to_owned(),
        (ControllerType::Ccid, _) => "usb-ccid".to_owned(),
        (ControllerType::Fdc, _) if board.machine == "q35" => "isa-fdc".to_owned(),
        _ => return None,
    };
    Some(format!("{driver}{options}"))
}

fn disk(id: &str, device: &Device, disk: &Disk, plan: &mut Plan) -> Option<String> {
    let address = device.address.as_ref()?;
    let is_cdrom = disk.device == Some(DiskDevice::Cdrom);
    let driver = match disk.bus? {
        DiskBus::Virtio => {
            let model = match disk.model {
                Some(DiskModel::Transitional) => Some(VirtioModel::Transitional),
                Some(DiskModel::NonTransitional) => Some(VirtioModel::NonTransitional),
                _ => None,
            };
            virtio(Some(address), "blk", model)?
        }
        DiskBus::Ide | DiskBus::Sata if is_cdrom => "ide-cd".to_owned(),
        DiskBus::Ide | DiskBus::Sata => "ide-hd".to_owned(),
        DiskBus::Scsi if is_cdrom => "scsi-cd".to_owned(),
        DiskBus::Scsi => "scsi-hd".to_owned(),
        DiskBus::Usb => "usb-storage".to_owned(),
        DiskBus::Fdc => "floppy".to_owned(),
        _ => return None,
    };
    let size = if disk.bus == Some(DiskBus::Fdc) { 1_474_560 } else { 1 << 20 };
    let node = null_drive(id, size, plan);
    Some(format!("{driver},drive={node}"))
}

/// Adds a drive that reads as zeros; returns its name.
fn null_drive(id: &str, size: u32, plan: &mut Plan) -> String {
    plan.add("-blockdev", format!("driver=null-co,node-name=n{id},read-zeroes=on,size={size}"));
    format!("n{id}")
}

/// Adds a character device; returns its name.
fn null_character(id: &str, plan: &mut Plan) -> String {
    plan.add("-chardev", format!("null,id=c{id}"));
    format!("c{id}")
}
