//! Aliases: the ids of devices in QEMU.

use capscache_devaddr::Machine;
use capscache_domain::{
    Address, ConsoleType, Controller, ControllerModel, ControllerType, Device, DeviceKind, Disk,
    DiskBus, Guest, InterfaceType, Kind, MemoryModel,
};
use std::collections::HashMap;

/// The start of the aliases that users choose; libvirt assigns all others anew.
const OF_USER: &str = "ua-";

/// Gives each device the alias that libvirt gives it. The devices have their addresses, and libvirt's order.
pub(crate) fn assign(guest: &mut Guest, machine: &Machine) {
    for device in &mut guest.devices {
        device.alias = device.alias.take().filter(|alias| alias.starts_with(OF_USER));
    }
    let mut names = Names { counts: HashMap::new(), kinds: HashMap::new() };
    for position in 0..guest.devices.len() {
        let alias = names.of(&guest.devices, position, machine);
        let device = &mut guest.devices[position];
        if device.alias.is_none() {
            device.alias = alias;
        }
    }
    let first = |kind| guest.devices.iter().position(|device| device.device.kind() == kind);
    if let (Some(serial), Some(console)) = (first(Kind::Serial), first(Kind::Console)) {
        let is_serial = match &guest.devices[console].device {
            DeviceKind::Console(console) => {
                matches!(console.target_type, None | Some(ConsoleType::Serial))
            }
            _ => false,
        };
        if is_serial {
            let alias = guest.devices[serial].alias.clone();
            guest.devices[console].alias = alias;
        }
    }
}

/// Numbers that aliases have so far.
struct Names {
    /// Numbers by prefix, of devices whose numbers skip those that users named.
    counts: HashMap<&'static str, u32>,
    /// Positions among the devices of a kind.
    kinds: HashMap<Kind, u32>,
}

impl Names {
    fn next(&mut self, prefix: &'static str) -> Option<String> {
        let count = self.counts.entry(prefix).or_default();
        *count += 1;
        Some(format!("{prefix}{}", *count - 1))
    }

    fn of(&mut self, devices: &[Device], position: usize, machine: &Machine) -> Option<String> {
        let device = &devices[position];
        let kind = device.device.kind();
        let index = {
            let count = self.kinds.entry(kind).or_default();
            *count += 1;
            *count - 1
        };
        // A device with an alias of its user takes no number, where numbers are not positions.
        let is_named = device.alias.is_some();
        let mut number = |prefix| if is_named { None } else { self.next(prefix) };
        match &device.device {
            DeviceKind::Disk(disk) => Some(disk_alias(disk, device, devices)),
            DeviceKind::Controller(controller) => Some(controller_alias(controller, machine)),
            DeviceKind::Interface(interface) if interface.r#type == InterfaceType::Hostdev => {
                number("hostdev")
            }
            DeviceKind::Interface(_) => number("net"),
            DeviceKind::Hostdev(_) => number("hostdev"),
            DeviceKind::Filesystem(_) => number("fs"),
            DeviceKind::Rng(_) => number("rng"),
            DeviceKind::Crypto(_) => number("crypto"),
            DeviceKind::Memory(memory) => {
                let slot = match &device.address {
                    Some(Address::Dimm(dimm)) => dimm.slot.unwrap_or(0),
                    _ => 0,
                };
                match memory.model {
                    MemoryModel::Dimm => Some(format!("dimm{slot}")),
                    MemoryModel::Nvdimm => Some(format!("nvdimm{slot}")),
                    MemoryModel::VirtioPmem => number("virtiopmem"),
                    MemoryModel::VirtioMem => number("virtiomem"),
                    _ => number("epc"),
                }
            }
            DeviceKind::Vsock(_) => Some("vsock0".to_owned()),
            DeviceKind::Iommu(_) => Some("iommu0".to_owned()),
            DeviceKind::Pstore(_) => Some("pstore0".to_owned()),
            _ => Some(format!("{}{index}", prefix(kind)?)),
        }
    }
}

/// The prefix of devices that are numbered by their position.
fn prefix(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Sound => "sound",
        Kind::Redirdev => "redir",
        Kind::Video => "video",
        Kind::Input => "input",
        Kind::Parallel => "parallel",
        Kind::Serial => "serial",
        Kind::Channel => "channel",
        Kind::Console => "console",
        Kind::Hub => "hub",
        Kind::Shmem => "shmem",
        Kind::Smartcard => "smartcard",
        Kind::Watchdog => "watchdog",
        Kind::Memballoon => "balloon",
        Kind::Tpm => "tpm",
        _ => return None,
    })
}

fn disk_alias(disk: &Disk, device: &Device, devices: &[Device]) -> String {
    let bus = disk.bus.map_or("", DiskBus::as_str);
    let Some(Address::Drive(drive)) = &device.address else {
        let index = capscache_devaddr::disk_index(&disk.dev).unwrap_or(0);
        return format!("{bus}-disk{index}");
    };
    let has_targets = disk.bus == Some(DiskBus::Scsi) && {
        let is_it =
            |c: &&Controller| c.r#type == ControllerType::Scsi && c.index == Some(drive.controller);
        let controller = devices.iter().filter_map(Device::controller).find(is_it);
        controller.and_then(|c| c.model) != Some(ControllerModel::Lsilogic)
    };
    let capscache_domain::DriveAddress { controller, bus: on, target, unit } = drive;
    match has_targets {
        true => format!("{bus}{controller}-{on}-{target}-{unit}"),
        false => format!("{bus}{controller}-{on}-{unit}"),
    }
}

fn controller_alias(controller: &Controller, machine: &Machine) -> String {
    let index = controller.index.unwrap_or(0);
    match (controller.r#type, controller.model) {
        (ControllerType::Pci, _) if !machine.has_numbered_pci() => "pci".to_owned(),
        (ControllerType::Pci, Some(ControllerModel::PcieRoot)) => format!("pcie.{index}"),
        (ControllerType::Pci, _) => format!("pci.{index}"),
        (ControllerType::Ide, _) if machine.has_ide() && index == 0 => "ide".to_owned(),
        (ControllerType::Sata, _) if machine.is_q35() && index == 0 => "ide".to_owned(),
        (ControllerType::Usb, _) if index == 0 => "usb".to_owned(),
        (ControllerType::Scsi, Some(ControllerModel::Ncr53c90)) if index == 0 => "scsi".to_owned(),
        (other, _) => format!("{other}{index}"),
    }
}
