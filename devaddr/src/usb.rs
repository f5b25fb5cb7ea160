//! Ports of USB controllers and hubs.

use capscache_domain::{
    Address, ControllerModel, ControllerType, Device, DeviceKind, DiskBus, FilesystemDriver,
    HostdevType, Hub, HubType, InputBus, InterfaceType, Kind, SerialType, SoundModel, UsbAddress,
    UsbPort,
};

use crate::bits::Bits;
use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::order::visited;
use crate::plan::Plan;
use crate::policy::Definition;

/// The number of ports of a hub.
const HUB_PORTS: u32 = 8;

/// The largest number of ports of a controller.
const MAX_PORTS: u32 = 255;

/// The largest number of ports on the way to a device.
const MAX_DEPTH: usize = 4;

/// A controller or hub.
struct Node {
    used: Bits,
    /// The hubs on the ports, by port.
    hubs: Vec<(u32, Node)>,
}

impl Node {
    fn new(ports: u32) -> Node {
        Node { used: Bits::new(ports + 1), hubs: Vec::new() }
    }

    fn hub(&mut self, port: u32) -> Option<&mut Node> {
        self.hubs.iter_mut().find(|(at, _)| *at == port).map(|(_, hub)| hub)
    }

    /// Returns the path to the lowest free port, this node's before those of hubs.
    fn free(&self, level: usize) -> Option<Vec<u8>> {
        if let Some(port) = self.used.next_clear(1) {
            return Some(vec![u8::try_from(port).ok()?]);
        }
        if level + 1 >= MAX_DEPTH {
            return None;
        }
        let mut hubs: Vec<&(u32, Node)> = self.hubs.iter().collect();
        hubs.sort_by_key(|(port, _)| *port);
        hubs.iter().find_map(|(port, hub)| {
            let mut path = vec![u8::try_from(*port).ok()?];
            path.extend(hub.free(level + 1)?);
            Some(path)
        })
    }
}

/// The USB controllers by index.
struct Buses(Vec<(u32, Node)>);

/// Gives USB devices the lowest free ports, and adds hubs if there are not enough.
pub(crate) fn assign(plan: &mut Plan<'_>) -> Result<(), Error> {
    let devices = devices(plan);
    check_disabled(plan, &devices)?;
    let has_port = |id: &Id| match plan.address(*id) {
        Some(Address::Usb(address)) => !address.port.ports().is_empty(),
        _ => false,
    };
    let all_given = devices.iter().chain(plan.devices.of(Kind::Hub)).all(has_port);
    if plan.policy.definition == Definition::Existing && !all_given {
        return Ok(());
    }
    add_hubs(plan, devices.len());
    let mut buses = Buses::new(plan);
    let hubs = plan.devices.ids(Kind::Hub);
    for id in &hubs {
        if let Some(address) = given(plan, *id) {
            buses.reserve(plan, *id, &address, true)?;
        }
    }
    for id in &devices {
        if let Some(address) = given(plan, *id) {
            buses.reserve(plan, *id, &address, false)?;
        }
    }
    for id in hubs {
        if given(plan, id).is_none() {
            place(plan, &mut buses, id, true)?;
        }
    }
    for id in devices {
        if given(plan, id).is_none() && matches!(plan.address(id), None | Some(Address::Usb(_))) {
            place(plan, &mut buses, id, false)?;
        }
    }
    Ok(())
}

/// The USB devices other than hubs, in the order in which they get ports.
fn devices(plan: &Plan<'_>) -> Vec<Id> {
    let is_device = |id: &Id| !matches!(plan.kind(*id), DeviceKind::Hub(_));
    visited(plan).into_iter().filter(|id| is_device(id) && is_usb(plan.kind(*id))).collect()
}

fn is_usb(kind: &DeviceKind) -> bool {
    match kind {
        DeviceKind::Hostdev(hostdev) => hostdev.r#type == HostdevType::Usb,
        DeviceKind::Disk(disk) => disk.bus == Some(DiskBus::Usb),
        DeviceKind::Controller(controller) => controller.r#type == ControllerType::Ccid,
        DeviceKind::Input(input) => input.bus == Some(InputBus::Usb),
        DeviceKind::Serial(serial) => serial.target_type == Some(SerialType::UsbSerial),
        DeviceKind::Sound(sound) => sound.model == SoundModel::Usb,
        DeviceKind::Interface(interface) => {
            interface.model.as_deref() == Some("usb-net")
                || (interface.r#type == InterfaceType::Hostdev
                    && interface.host_type.as_deref() == Some("usb"))
        }
        DeviceKind::Filesystem(filesystem) => filesystem.driver == Some(FilesystemDriver::Mtp),
        DeviceKind::Redirdev(_) => true,
        _ => false,
    }
}

/// Refuses USB devices in a guest without USB.
fn check_disabled(plan: &Plan<'_>, devices: &[Id]) -> Result<(), Error> {
    let mut on_usb = plan.devices.of(Kind::Hub).iter().chain(devices);
    match on_usb.next() {
        Some(id) if plan.devices.is_usb_disabled() => Err(Error::Conflict {
            device: plan.describe(*id),
            cause: "USB is disabled for this guest".to_owned(),
            remedy: "remove the USB controller of model none",
        }),
        _ => Ok(()),
    }
}

/// The address of a device whose port is given.
fn given(plan: &Plan<'_>, id: Id) -> Option<UsbAddress> {
    match plan.address(id) {
        Some(Address::Usb(address)) if !address.port.ports().is_empty() => Some(address.clone()),
        _ => None,
    }
}

/// The number of ports of a controller; 0 for a companion, whose ports are those of its master.
fn ports(model: Option<ControllerModel>, given: Option<u32>) -> u32 {
    let given = given.map(|ports| ports.min(MAX_PORTS));
    match model {
        None
        | Some(
            ControllerModel::Piix3Uhci
            | ControllerModel::Piix4Uhci
            | ControllerModel::Vt82c686bUhci,
        ) => 2,
        Some(ControllerModel::Ehci | ControllerModel::Ich9Ehci1) => 6,
        Some(ControllerModel::PciOhci) => 3,
        Some(ControllerModel::NecXhci | ControllerModel::QemuXhci) => given.unwrap_or(4),
        Some(ControllerModel::Qusb1 | ControllerModel::Qusb2) => given.unwrap_or(8),
        _ => 0,
    }
}

/// Adds as many hubs as the devices need: each has eight ports and takes one.
fn add_hubs(plan: &mut Plan<'_>, devices: usize) {
    let controllers = plan.devices.controllers(ControllerType::Usb);
    let of_controllers: u32 = controllers.map(|(_, c)| ports(c.model, c.ports)).sum();
    let hubs = u32::try_from(plan.devices.of(Kind::Hub).len()).unwrap_or(u32::MAX);
    let available = of_controllers.saturating_add(hubs.saturating_mul(HUB_PORTS));
    let needed = u32::try_from(devices).unwrap_or(u32::MAX).saturating_add(hubs);
    if of_controllers == 0 || needed <= available {
        return;
    }
    for _ in 0..(needed - available + 1).div_ceil(HUB_PORTS - 1) {
        plan.add(Device::new(Hub { r#type: HubType::Usb }), Why::NoFreeSlotLeft);
    }
}

fn place(plan: &mut Plan<'_>, buses: &mut Buses, id: Id, is_hub: bool) -> Result<(), Error> {
    let only = match plan.address(id) {
        Some(Address::Usb(address)) => Some(address.bus),
        _ => None,
    };
    if let Some(bus) = only
        && !buses.0.iter().any(|(index, _)| *index == bus)
    {
        return Err(unknown(plan, id, &format!("USB bus {bus}"), bus));
    }
    let mut on = buses.0.iter().filter(|(index, _)| only.is_none_or(|only| only == *index));
    let found = on.find_map(|(index, node)| Some((*index, UsbPort::new(&node.free(0)?)?)));
    let Some((bus, port)) = found else {
        return Err(Error::NoFreeSlot {
            device: plan.describe(id),
            place: "USB port".to_owned(),
            remedy: "add a USB controller",
        });
    };
    let address = UsbAddress { bus, port };
    buses.reserve(plan, id, &address, is_hub)?;
    plan.place(id, Address::Usb(address), Why::LowestPort);
    Ok(())
}

fn unknown(plan: &Plan<'_>, id: Id, address: &str, bus: u32) -> Error {
    Error::UnknownController {
        device: plan.describe(id),
        address: address.to_owned(),
        bus: format!("USB controller {bus}"),
        remedy: "add it, or leave the address out",
    }
}

impl Buses {
    fn new(plan: &Plan<'_>) -> Buses {
        let controllers = plan.devices.controllers(ControllerType::Usb);
        let nodes = controllers.filter_map(|(_, c)| {
            let ports = ports(c.model, c.ports);
            (ports > 0).then(|| (c.index.unwrap_or(0), Node::new(ports)))
        });
        let mut buses: Vec<(u32, Node)> = nodes.collect();
        buses.sort_by_key(|(index, _)| *index);
        Buses(buses)
    }

    /// Takes a port, with a hub on it or another device.
    fn reserve(
        &mut self,
        plan: &Plan<'_>,
        id: Id,
        address: &UsbAddress,
        is_hub: bool,
    ) -> Result<(), Error> {
        let shown = || Address::Usb(address.clone()).to_string();
        let bus = self.0.iter_mut().find(|(index, _)| *index == address.bus);
        let Some((_, root)) = bus else { return Err(unknown(plan, id, &shown(), address.bus)) };
        let free = root.free(0).and_then(|path| UsbPort::new(&path));
        let free = free.map(|port| format!("port {port}").into_boxed_str());
        let Some((last, way)) = address.port.ports().split_last() else { return Ok(()) };
        let mut node = root;
        let mut name = format!("USB controller {}", address.bus);
        for port in way {
            if u32::from(*port) >= node.used.len() {
                return Err(out_of_range(plan, id, shown(), name, node, free));
            }
            match node.hub(u32::from(*port)) {
                Some(hub) => node = hub,
                None => {
                    return Err(Error::UnknownController {
                        device: plan.describe(id),
                        address: shown(),
                        bus: format!("hub on port {port} of {name}"),
                        remedy: "add it, or leave the address out",
                    });
                }
            }
            name = format!("the hub on port {port} of {name}");
        }
        let last = u32::from(*last);
        if last >= node.used.len() {
            return Err(out_of_range(plan, id, shown(), name, node, free));
        }
        if !node.used.insert(last) {
            return Err(Error::AddressInUse {
                device: plan.describe(id),
                address: shown(),
                occupant: plan
                    .occupant(Some(id), |a| matches!(a, Address::Usb(other) if other == address))
                    .unwrap_or_else(|| "another device".to_owned()),
                free,
            });
        }
        if is_hub {
            node.hubs.push((last, Node::new(HUB_PORTS)));
        }
        Ok(())
    }
}

fn out_of_range(
    plan: &Plan<'_>,
    id: Id,
    address: String,
    controller: String,
    node: &Node,
    free: Option<Box<str>>,
) -> Error {
    Error::OutOfRange {
        device: plan.describe(id),
        address,
        controller,
        range: format!("{} ports", node.used.len() - 1),
        free,
    }
}
