//! A guest to a forest: buses, the devices on them, and the buses that those provide.

use std::collections::BTreeMap;

use capscache_domain::{
    Address, Controller, ControllerModel, ControllerType, Device, DeviceKind, DiskBus, Guest,
    InputBus, MemballoonModel, Switch, UsbPort, VideoModel,
};
use capscache_format::Escaped;

use super::name::{is_port, name, notes};
use super::notation::{Order, notation, order};

/// The largest depth. A device that would be deeper starts a tree of its own; no guest that works has one.
const MAX_DEPTH: usize = 16;

/// The kind of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Pci,
    Ccw,
    SpaprVio,
    VirtioMmio,
    Isa,
    Memory,
    Usb,
    Storage,
    Character,
    /// Devices without an address.
    Unplaced,
}

/// A bus of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bus {
    Pci(u32, u32),
    Ccw,
    SpaprVio,
    VirtioMmio,
    VirtioS390,
    Isa,
    Memory,
    Usb(u32),
    /// The ports of the hub at a port.
    Hub(u32, UsbPort),
    Drive(ControllerType, u32),
    VirtioSerial(u32),
    Ccid(u32),
    Unplaced,
}

/// A device, or a bus that no device provides.
#[derive(Debug)]
pub(super) struct Node {
    /// The address; empty if there is none. Escaped, like all texts of a node.
    pub(super) address: String,
    pub(super) name: String,
    pub(super) notes: Vec<String>,
    /// The bus that it provides or is.
    pub(super) bus: Option<(Family, String)>,
    /// True if the bus has one slot, so that its name says nothing that the address does not.
    pub(super) is_port: bool,
    /// The devices on the bus, in order of their addresses.
    pub(super) children: Vec<usize>,
    parent: Option<usize>,
    order: Order,
}

/// The devices of a guest as a forest.
#[derive(Debug)]
pub(super) struct Topology {
    /// The guest: name, then architecture and machine.
    pub(super) title: (String, String),
    pub(super) nodes: Vec<Node>,
    pub(super) roots: Vec<usize>,
}

impl Topology {
    pub(super) fn new(guest: &Guest) -> Topology {
        let devices: Vec<&Device> = guest.devices.iter().filter(|d| is_visible(d)).collect();
        let mut providers: BTreeMap<Bus, usize> = BTreeMap::new();
        for (at, device) in devices.iter().enumerate() {
            let Some(bus) = provided(device) else { continue };
            let is_companion = |at: &usize| devices.get(*at).is_some_and(|d| is_companion(d));
            match providers.get(&bus) {
                Some(first) if !is_companion(first) || is_companion(&at) => {}
                _ => _ = providers.insert(bus, at),
            }
        }
        let mut nodes: Vec<Node> = devices.iter().enumerate().map(|(at, d)| node(at, d)).collect();
        for (bus, at) in &providers {
            nodes[*at].bus = Some((bus.family(), bus.title()));
        }
        // Buses without a controller become nodes where they are first needed.
        let mut used = vec![false; devices.len()];
        for (at, device) in devices.iter().enumerate() {
            let bus = match placed_on(device, &providers) {
                Some(bus) => bus,
                // Shown at the top if something is on its bus.
                None if nodes[at].bus.is_some() => continue,
                None => Bus::Unplaced,
            };
            nodes[at].parent = Some(group(bus, &mut providers, &mut nodes));
            if let Some(used) = nodes[at].parent.and_then(|parent| used.get_mut(parent)) {
                *used = true;
            }
        }
        for (at, device) in devices.iter().enumerate() {
            let is_alone = nodes[at].parent.is_none() && !used[at] && !is_pci_root(device);
            if is_alone {
                nodes[at].parent = Some(group(Bus::Unplaced, &mut providers, &mut nodes));
            }
        }
        let mut topology = Topology { title: title(guest), nodes, roots: Vec::new() };
        topology.cut();
        topology.link();
        topology
    }

    /// Makes roots of nodes that would lead to themselves or be too deep.
    fn cut(&mut self) {
        // The depth of each node that is known to hang from a root.
        let mut depths: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut on_path = vec![false; self.nodes.len()];
        for start in 0..self.nodes.len() {
            let mut path = Vec::new();
            let mut at = start;
            let mut depth = loop {
                if let Some(depth) = depths[at] {
                    break Some(depth);
                }
                on_path[at] = true;
                path.push(at);
                match self.nodes[at].parent {
                    None => break None,
                    Some(parent) if on_path[parent] => {
                        self.nodes[at].parent = None;
                        self.nodes[at].notes.push("on a bus behind itself".to_owned());
                        break None;
                    }
                    Some(parent) => at = parent,
                }
            };
            for at in path.into_iter().rev() {
                on_path[at] = false;
                let mut own = depth.map_or(0, |depth| depth + 1);
                if own > MAX_DEPTH {
                    own = 0;
                    self.nodes[at].parent = None;
                    self.nodes[at].notes.push(format!("below {MAX_DEPTH} other buses"));
                }
                depths[at] = Some(own);
                depth = Some(own);
            }
        }
    }

    /// Fills in children and roots, in order.
    fn link(&mut self) {
        for at in 0..self.nodes.len() {
            match self.nodes[at].parent {
                Some(parent) => self.nodes[parent].children.push(at),
                None => self.roots.push(at),
            }
        }
        let orders: Vec<Order> = self.nodes.iter().map(|node| node.order).collect();
        for node in &mut self.nodes {
            node.children.sort_by_key(|child| orders[*child]);
            if node.is_port && node.children.is_empty() {
                node.notes.push("free".to_owned());
            }
        }
        let rank = |root: &usize| {
            let node = &self.nodes[*root];
            let family = node.bus.as_ref().map(|(family, _)| *family);
            (family.unwrap_or(Family::Unplaced), !node.address.is_empty(), node.order)
        };
        let mut roots = std::mem::take(&mut self.roots);
        roots.sort_by_key(rank);
        self.roots = roots;
    }
}

/// Returns the node of a bus; adds one if the bus has no controller.
fn group(bus: Bus, providers: &mut BTreeMap<Bus, usize>, nodes: &mut Vec<Node>) -> usize {
    *providers.entry(bus).or_insert_with(|| {
        let index = match bus {
            Bus::Pci(_, index) | Bus::Usb(index) | Bus::Drive(_, index) => index,
            Bus::VirtioSerial(index) | Bus::Ccid(index) => index,
            _ => 0,
        };
        let needs_controller =
            matches!(bus.family(), Family::Pci | Family::Usb | Family::Storage | Family::Character);
        nodes.push(Node {
            address: String::new(),
            name: bus.title(),
            notes: needs_controller.then(|| "no controller".to_owned()).into_iter().collect(),
            bus: Some((bus.family(), bus.title())),
            is_port: false,
            children: Vec::new(),
            parent: None,
            order: (1, u64::from(index), 0, 0),
        });
        nodes.len() - 1
    })
}

fn node(at: usize, device: &Device) -> Node {
    let (address, order) = match &device.address {
        Some(address) => (notation(address), order(address)),
        None => {
            let index = device.controller().and_then(|controller| controller.index);
            (String::new(), (0, u64::from(index.unwrap_or(0)), 0, 0))
        }
    };
    let order = match device.address {
        // Several may have one address, or only a part of one.
        Some(_) => order,
        None => (order.0, order.1, 0, at as u64),
    };
    let mut notes = notes(device);
    let pci = device.address.as_ref().and_then(Address::pci);
    if pci.is_some_and(|pci| pci.multifunction == Some(Switch::On)) {
        notes.push("multifunction".to_owned());
    }
    Node {
        address,
        name: Escaped::new(&name(device)).to_string(),
        notes,
        bus: None,
        is_port: device.controller().is_some_and(is_port),
        children: Vec::new(),
        parent: None,
        order,
    }
}

fn title(guest: &Guest) -> (String, String) {
    let name = guest.name.as_deref().unwrap_or("guest");
    let parts = [guest.os.arch.as_deref(), guest.os.machine.as_deref()];
    let machine: Vec<&str> = parts.into_iter().flatten().collect();
    (Escaped::new(name).to_string(), Escaped::new(&machine.join(" ")).to_string())
}

/// Returns true for what the guest can see: not backends, and not controllers and devices that stand for none.
fn is_visible(device: &Device) -> bool {
    match &device.device {
        DeviceKind::Emulator(_)
        | DeviceKind::Lease(_)
        | DeviceKind::Graphics(_)
        | DeviceKind::Audio(_)
        | DeviceKind::Redirfilter(_)
        | DeviceKind::Unknown => false,
        DeviceKind::Controller(controller) => controller.model != Some(ControllerModel::None),
        DeviceKind::Memballoon(memballoon) => memballoon.model != MemballoonModel::None,
        DeviceKind::Video(video) => video.model != Some(VideoModel::None),
        DeviceKind::Input(input) => input.bus != Some(InputBus::None),
        _ => true,
    }
}

fn is_companion(device: &Device) -> bool {
    device.controller().is_some_and(|controller| controller.master_startport.is_some())
}

fn is_pci_root(device: &Device) -> bool {
    let is_root = |controller: &Controller| {
        matches!(controller.model, Some(ControllerModel::PciRoot | ControllerModel::PcieRoot))
            || (controller.r#type == ControllerType::Pci && controller.index == Some(0))
    };
    device.controller().is_some_and(is_root)
}

/// Returns the bus that a device provides.
fn provided(device: &Device) -> Option<Bus> {
    if let (DeviceKind::Hub(_), Some(Address::Usb(usb))) = (&device.device, &device.address) {
        return Some(Bus::Hub(usb.bus, usb.port));
    }
    let controller = device.controller()?;
    let index = controller.index?;
    Some(match controller.r#type {
        ControllerType::Pci => Bus::Pci(0, index),
        ControllerType::Usb => Bus::Usb(index),
        ControllerType::VirtioSerial => Bus::VirtioSerial(index),
        ControllerType::Ccid => Bus::Ccid(index),
        ControllerType::Ide
        | ControllerType::Fdc
        | ControllerType::Scsi
        | ControllerType::Sata
        | ControllerType::Nvme => Bus::Drive(controller.r#type, index),
        _ => return None,
    })
}

/// Returns the bus that a device's address is on.
fn placed_on(device: &Device, providers: &BTreeMap<Bus, usize>) -> Option<Bus> {
    Some(match device.address.as_ref()? {
        Address::Pci(pci) => Bus::Pci(pci.domain, pci.bus),
        Address::Drive(drive) => Bus::Drive(drive_type(device), drive.controller),
        Address::VirtioSerial(port) => Bus::VirtioSerial(port.controller),
        Address::Ccid(slot) => Bus::Ccid(slot.controller),
        Address::Usb(usb) => {
            let hub = usb.port.ports().split_last().and_then(|(_, hub)| UsbPort::new(hub));
            match hub.map(|hub| Bus::Hub(usb.bus, hub)) {
                Some(hub) if providers.contains_key(&hub) => hub,
                _ => Bus::Usb(usb.bus),
            }
        }
        Address::SpaprVio(_) => Bus::SpaprVio,
        Address::Ccw(_) => Bus::Ccw,
        Address::VirtioS390 => Bus::VirtioS390,
        Address::VirtioMmio => Bus::VirtioMmio,
        Address::Isa(_) => Bus::Isa,
        Address::Dimm(_) => Bus::Memory,
        _ => return None,
    })
}

/// Returns the type of the controller that a drive is on.
fn drive_type(device: &Device) -> ControllerType {
    let DeviceKind::Disk(disk) = &device.device else { return ControllerType::Scsi };
    match disk.bus {
        Some(DiskBus::Ide) => ControllerType::Ide,
        Some(DiskBus::Sata) => ControllerType::Sata,
        Some(DiskBus::Fdc) => ControllerType::Fdc,
        None if disk.dev.starts_with("hd") => ControllerType::Ide,
        None if disk.dev.starts_with("fd") => ControllerType::Fdc,
        _ => ControllerType::Scsi,
    }
}

impl Bus {
    fn family(self) -> Family {
        match self {
            Bus::Pci(..) => Family::Pci,
            Bus::Ccw | Bus::VirtioS390 => Family::Ccw,
            Bus::SpaprVio => Family::SpaprVio,
            Bus::VirtioMmio => Family::VirtioMmio,
            Bus::Isa => Family::Isa,
            Bus::Memory => Family::Memory,
            Bus::Usb(_) | Bus::Hub(..) => Family::Usb,
            Bus::Drive(..) => Family::Storage,
            Bus::VirtioSerial(_) | Bus::Ccid(_) => Family::Character,
            Bus::Unplaced => Family::Unplaced,
        }
    }

    fn title(self) -> String {
        match self {
            Bus::Pci(0, index) => format!("PCI bus {index}"),
            Bus::Pci(domain, index) => format!("PCI domain {domain} bus {index}"),
            Bus::Ccw => "channel I/O".to_owned(),
            Bus::SpaprVio => "spapr-vio".to_owned(),
            Bus::VirtioMmio => "virtio-mmio".to_owned(),
            Bus::VirtioS390 => "virtio-s390".to_owned(),
            Bus::Isa => "ISA".to_owned(),
            Bus::Memory => "memory slots".to_owned(),
            Bus::Usb(index) => format!("USB bus {index}"),
            Bus::Hub(index, port) => format!("USB hub {index}-{port}"),
            Bus::Drive(r#type, index) => {
                let name = match r#type {
                    ControllerType::Fdc => "floppy".to_owned(),
                    other => other.as_str().to_ascii_uppercase(),
                };
                format!("{name} controller {index}")
            }
            Bus::VirtioSerial(index) => format!("virtio-serial {index}"),
            Bus::Ccid(index) => format!("CCID {index}"),
            Bus::Unplaced => "no address".to_owned(),
        }
    }
}
