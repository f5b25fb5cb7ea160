//! A guest to a command line of QEMU that has what carries an address, and where the devices should be found.

use std::collections::BTreeMap;

use capscache_domain::{
    Address, Controller, ControllerModel, ControllerType, Device, DeviceKind, Guest, PciAddress,
    Switch,
};
use serde_json::{Value, json};

use crate::board::{Board, Models, models, node, part, pci_bus};
use crate::devices::driver;

/// Arguments and expectations.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) expected: Vec<Expected>,
}

/// The place at which a device should be found.
#[derive(Debug)]
pub(crate) struct Expected {
    /// The name of the device in messages.
    pub(crate) name: String,
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(crate) enum Place {
    /// A device that was added: the name of its bus, and values of its properties.
    Added { id: String, bus: Option<String>, properties: Vec<(&'static str, Value)> },
    /// A part of the machine on its first PCI bus.
    Part { slot: u32, function: u32 },
}

impl Plan {
    pub(crate) fn new(guest: &Guest) -> Plan {
        let board = Board::new(guest);
        let emulator = match board.arch.as_str() {
            "i686" => "i386",
            "armv7l" => "arm",
            arch => arch,
        };
        let mut plan = Plan { program: format!("qemu-system-{emulator}"), ..Plan::default() };
        let usb = if board.machine == "s390-ccw-virtio" { "" } else { ",usb=off" };
        let nvdimm = if guest.devices.iter().any(is_nvdimm) { ",nvdimm=on" } else { "" };
        plan.add("-machine", format!("{}{usb}{nvdimm},accel=tcg", board.machine));
        for argument in ["-S", "-nodefaults", "-no-user-config"] {
            plan.arguments.push(argument.to_owned());
        }
        plan.add("-display", "none");
        plan.add("-monitor", "none");
        plan.add("-qmp", "stdio");
        if board.arch.starts_with("riscv") {
            plan.add("-bios", "none");
        }
        let memory = match board.machine.as_str() {
            m if m.starts_with("powernv") || board.arch == "loongarch64" => 2048,
            _ => 256,
        };
        let slot = |device: &Device| match (&device.device, &device.address) {
            (DeviceKind::Memory(_), Some(Address::Dimm(dimm))) => Some(dimm.slot.unwrap_or(0) + 1),
            (DeviceKind::Memory(_), Some(_)) => Some(1),
            _ => None,
        };
        let slots: Vec<u32> = guest.devices.iter().filter_map(slot).collect();
        match slots.iter().max() {
            Some(most) => {
                // Addresses that are given may lie anywhere.
                let limit = memory + (32 << 10);
                plan.add("-m", format!("{memory}M,slots={most},maxmem={limit}M"));
            }
            None => plan.add("-m", format!("{memory}M")),
        }
        plan.add_nodes(&board, guest, memory);
        let models = models(guest);
        let mut order: Vec<(usize, &Device)> = guest.devices.iter().enumerate().collect();
        let parents = parents(guest);
        order.sort_by_key(|(_, device)| rank(device, &parents));
        for (at, device) in order {
            plan.add_device(&board, at, device, &models);
        }
        plan
    }

    /// Plans what is added to an emulator that runs for one device of the guest.
    pub(crate) fn of_one(guest: &Guest, at: usize) -> Plan {
        let mut plan = Plan::default();
        plan.add_device(&Board::new(guest), at, &guest.devices[at], &models(guest));
        plan
    }

    /// Gives the device of a plan, and its backends, another name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        for argument in &mut self.arguments {
            *argument = argument.replace(&format!("{from},"), &format!("{to},"));
            if argument.ends_with(from) {
                argument.truncate(argument.len() - from.len());
                argument.push_str(to);
            }
        }
        for expected in &mut self.expected {
            if let Place::Added { id, .. } = &mut expected.place
                && id == from
            {
                to.clone_into(id);
            }
        }
    }

    /// Adds NUMA nodes for expanders to belong to.
    fn add_nodes(&mut self, board: &Board, guest: &Guest, memory: u32) {
        let has_node = |device: &Device| node(board, device).is_some();
        if !guest.devices.iter().any(has_node) {
            return;
        }
        let count = u32::try_from(guest.numa.len()).unwrap().max(1);
        self.add("-smp", count.to_string());
        for node in 0..count {
            let size = memory / count;
            self.add("-object", format!("memory-backend-ram,id=node{node},size={size}M"));
            self.add("-numa", format!("node,nodeid={node},cpus={node},memdev=node{node}"));
        }
    }

    /// Returns whether the emulator is installed; says so if it is not.
    pub(crate) fn can_start(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there =
            std::env::split_paths(&path).any(|folder| folder.join(&self.program).exists());
        if !is_there {
            println!("SKIPPED: {} is not installed", self.program);
        }
        is_there
    }

    pub(crate) fn add(&mut self, option: &str, value: impl Into<String>) {
        self.arguments.extend([option.to_owned(), value.into()]);
    }

    fn add_device(&mut self, board: &Board, at: usize, device: &Device, models: &Models) {
        let name = describe(device);
        if let Some(PciAddress { slot, function, .. }) = part(board, device) {
            let place = Place::Part { slot: *slot, function: *function };
            self.expected.push(Expected { name, place });
            return;
        }
        let id = match device.controller() {
            Some(controller) => controller_id(controller, at),
            None => format!("d{at}"),
        };
        let Some(driver) = driver(board, &id, device, self) else { return };
        let mut options = vec![driver, format!("id={id}")];
        let mut located = locate(board, device, models);
        if let Some(bus) = &located.bus {
            options.push(format!("bus={bus}"));
        }
        options.extend(located.options);
        if let Some(node) = node(board, device) {
            options.push(format!("numa_node={node}"));
            located.properties.push(("numa_node", json!(node)));
        }
        self.add("-device", options.join(","));
        let place =
            Place::Added { id: id.clone(), bus: located.bus, properties: located.properties };
        self.expected.push(Expected { name: name.clone(), place });
        if let Some(zpci) =
            device.address.as_ref().and_then(Address::pci).and_then(|a| a.zpci.as_ref())
        {
            let mut options = format!("zpci,id=z{at},target={id}");
            let mut properties = Vec::new();
            for (key, value) in [("uid", zpci.uid), ("fid", zpci.fid)] {
                let Some(value) = value else { continue };
                options.push_str(&format!(",{key}={value}"));
                properties.push((key, json!(value)));
            }
            // Before its target.
            let end = self.arguments.len() - 2;
            self.arguments.splice(end..end, ["-device".to_owned(), options]);
            let place = Place::Added { id: format!("z{at}"), bus: None, properties };
            self.expected.push(Expected { name: format!("identifiers of {name}"), place });
        }
    }
}

/// Bus, options and properties of an address.
#[derive(Default)]
struct Located {
    bus: Option<String>,
    options: Vec<String>,
    properties: Vec<(&'static str, Value)>,
}

impl Located {
    fn set(&mut self, key: &'static str, value: u32) {
        self.options.push(format!("{key}={value}"));
        self.properties.push((key, json!(value)));
    }
}

/// The bus that each PCI controller is on.
fn parents(guest: &Guest) -> BTreeMap<u32, u32> {
    let parent = |device: &Device| {
        let controller = device.controller().filter(|c| c.r#type == ControllerType::Pci)?;
        Some((controller.index?, device.address.as_ref()?.pci()?.bus))
    };
    guest.devices.iter().filter_map(parent).collect()
}

/// Returns the order of a device on the command line: the controllers of a bus go before what is on it.
fn rank(device: &Device, parents: &BTreeMap<u32, u32>) -> (usize, usize) {
    match (device.controller(), &device.device) {
        (Some(controller), _) if controller.r#type == ControllerType::Pci => {
            let mut depth = 0;
            let mut bus = controller.index;
            while let Some(parent) = bus.and_then(|bus| parents.get(&bus)).filter(|_| depth < 32) {
                bus = Some(*parent);
                depth += 1;
            }
            (0, depth)
        }
        (Some(controller), _) if controller.r#type == ControllerType::Usb => {
            (1, usize::from(controller.master_startport.is_some()))
        }
        (_, DeviceKind::Hub(_)) => match &device.address {
            Some(Address::Usb(usb)) => (2, usb.port.ports().len()),
            _ => (2, 0),
        },
        (Some(_), _) => (3, 0),
        (None, _) => (4, 0),
    }
}

fn locate(board: &Board, device: &Device, models: &Models) -> Located {
    let mut located = Located::default();
    match &device.address {
        Some(Address::Pci(pci)) => {
            located.bus = Some(pci_bus(board, pci.bus, models));
            located.options.push(format!("addr=0x{:x}.0x{:x}", pci.slot, pci.function));
            if pci.multifunction == Some(Switch::On) {
                located.options.push("multifunction=on".to_owned());
            }
            located.properties.push(("addr", json!(pci.slot * 8 + pci.function)));
        }
        Some(Address::Usb(usb)) => {
            located.bus = Some(format!("usb{}.0", usb.bus));
            located.options.push(format!("port={}", usb.port));
            located.properties.push(("port", json!(usb.port.to_string())));
        }
        Some(Address::VirtioSerial(port)) => {
            located.bus = Some(format!("virtio-serial{}.0", port.controller));
            located.set("nr", port.port);
        }
        Some(Address::Ccid(slot)) => {
            located.bus = Some(format!("ccid{}.0", slot.controller));
            located.set("slot", slot.slot);
        }
        Some(Address::Ccw(ccw)) => {
            located.options.push(format!("devno={ccw}"));
            // The one that the channel subsystem gave.
            located.properties.push(("dev_id", json!(ccw.to_string())));
        }
        Some(Address::SpaprVio(vio)) => {
            let reg = vio.reg.unwrap_or(0);
            located.bus = Some("spapr-vio".to_owned());
            located.options.push(format!("reg=0x{reg:x}"));
            located.properties.push(("reg", json!(reg)));
        }
        Some(Address::Dimm(dimm)) => {
            located.set("slot", dimm.slot.unwrap_or(0));
            if let Some(base) = dimm.base {
                located.options.push(format!("addr=0x{base:x}"));
                located.properties.push(("addr", json!(base)));
            }
        }
        Some(Address::Drive(drive)) => {
            let (controller, bus, unit) = (drive.controller, drive.bus, drive.unit);
            match disk_controller(device) {
                ControllerType::Ide => {
                    located.bus = Some(format!("ide.{bus}"));
                    located.set("unit", unit);
                }
                ControllerType::Sata => {
                    let is_part = board.machine == "q35" && controller == 0;
                    let owner =
                        if is_part { "ide".to_owned() } else { format!("sata{controller}") };
                    located.bus = Some(format!("{owner}.{unit}"));
                    located.properties.push(("unit", json!(0)));
                }
                ControllerType::Fdc => located.set("unit", unit),
                _ => {
                    located.bus = Some(format!("scsi{controller}.0"));
                    let model = models.get(&(ControllerType::Scsi, controller));
                    match model {
                        None | Some(ControllerModel::Lsilogic | ControllerModel::Auto) => {
                            located.set("scsi-id", unit);
                        }
                        _ => {
                            located.set("channel", bus);
                            located.set("scsi-id", drive.target);
                            located.set("lun", unit);
                        }
                    }
                }
            }
        }
        Some(Address::Isa(isa)) => {
            if let (DeviceKind::Panic(_), Some(iobase)) = (&device.device, isa.iobase) {
                located.set("ioport", iobase);
            }
        }
        _ => {}
    }
    located
}

fn controller_id(controller: &Controller, at: usize) -> String {
    let index = controller.index.unwrap_or(0);
    match controller.r#type {
        ControllerType::Pci => format!("pci.{index}"),
        ControllerType::Usb if controller.master_startport.is_some() => format!("d{at}"),
        other => format!("{other}{index}"),
    }
}

pub(crate) fn disk_controller(device: &Device) -> ControllerType {
    use capscache_domain::DiskBus;
    match &device.device {
        DeviceKind::Disk(disk) => match disk.bus {
            Some(DiskBus::Ide) => ControllerType::Ide,
            Some(DiskBus::Sata) => ControllerType::Sata,
            Some(DiskBus::Fdc) => ControllerType::Fdc,
            _ => ControllerType::Scsi,
        },
        _ => ControllerType::Scsi,
    }
}

fn is_nvdimm(device: &Device) -> bool {
    matches!(&device.device, DeviceKind::Memory(memory)
        if memory.model == capscache_domain::MemoryModel::Nvdimm)
}

/// Returns the name of a device in messages.
pub(crate) fn describe(device: &Device) -> String {
    let address = device.address.as_ref().map_or_else(String::new, |a| format!(" at {a}"));
    let name = match &device.device {
        DeviceKind::Disk(disk) => format!("disk {}", disk.dev),
        DeviceKind::Controller(c) => {
            let model = c.model.map_or_else(String::new, |model| format!(" {model}"));
            format!("{} controller {}{model}", c.r#type, c.index.unwrap_or(0))
        }
        other => other.name().to_owned(),
    };
    format!("{name}{address}")
}
