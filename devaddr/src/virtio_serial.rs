//! Ports of virtio-serial controllers.

use capscache_domain::{Address, ControllerType, Kind, VirtioSerialAddress};

use crate::bits::Bits;
use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::plan::Plan;
use crate::virtio::is_virtio_port;

/// The number of ports of a controller that names none.
const PORTS: u32 = 31;

/// The largest number of ports that QEMU permits.
const MAX_PORTS: u32 = 511;

/// A controller and its ports.
struct Ports {
    index: u32,
    used: Bits,
}

impl Ports {
    /// Marks a port as used. Port 0 stays free: all consoles without an address share it.
    fn take(&mut self, port: u32) {
        if port > 0 {
            self.used.insert(port);
        }
    }
}

/// Gives channels their ports. Port 0 is for consoles, which get no address.
pub(crate) fn assign(plan: &mut Plan<'_>) -> Result<(), Error> {
    let ports: Vec<Id> = [Kind::Channel, Kind::Console]
        .iter()
        .flat_map(|kind| plan.devices.ids(*kind))
        .filter(|id| is_virtio_port(plan.kind(*id)))
        .collect();
    if ports.is_empty() {
        return Ok(());
    }
    let mut controllers: Vec<Ports> = plan
        .devices
        .controllers(ControllerType::VirtioSerial)
        .map(|(_, c)| {
            let ports = c.ports.unwrap_or(PORTS).min(MAX_PORTS);
            Ports { index: c.index.unwrap_or(0), used: Bits::new(ports) }
        })
        .collect();
    controllers.sort_by_key(|ports| ports.index);
    for id in &ports {
        if let Some(address) = given(plan, *id).cloned()
            && address.port > 0
        {
            reserve(plan, &mut controllers, *id, &address)?;
        }
    }
    for id in plan.devices.ids(Kind::Console) {
        if is_virtio_port(plan.kind(id)) && given(plan, id).is_none_or(|a| a.port == 0) {
            next(plan, &mut controllers, id, true)?;
        }
    }
    for id in plan.devices.ids(Kind::Channel) {
        if is_virtio_port(plan.kind(id)) && given(plan, id).is_none_or(|a| a.port == 0) {
            let address = next(plan, &mut controllers, id, false)?;
            plan.place(id, Address::VirtioSerial(address), Why::LowestPort);
        }
    }
    Ok(())
}

fn given<'p>(plan: &'p Plan<'_>, id: Id) -> Option<&'p VirtioSerialAddress> {
    match plan.address(id) {
        Some(Address::VirtioSerial(address)) => Some(address),
        _ => None,
    }
}

fn reserve(
    plan: &Plan<'_>,
    controllers: &mut [Ports],
    id: Id,
    address: &VirtioSerialAddress,
) -> Result<(), Error> {
    let shown = || Address::VirtioSerial(address.clone()).to_string();
    let Some(ports) = controllers.iter_mut().find(|c| c.index == address.controller) else {
        return Err(Error::UnknownController {
            device: plan.describe(id),
            address: shown(),
            bus: format!("virtio-serial controller {}", address.controller),
            remedy: "add it, or leave the address out",
        });
    };
    let free = ports.used.next_clear(1).map(|port| format!("port {port}").into_boxed_str());
    if address.port >= ports.used.len() {
        return Err(Error::OutOfRange {
            device: plan.describe(id),
            address: shown(),
            controller: format!("virtio-serial controller {}", address.controller),
            range: format!("{} ports", ports.used.len()),
            free,
        });
    }
    if !ports.used.insert(address.port) {
        return Err(Error::AddressInUse {
            device: plan.describe(id),
            address: shown(),
            occupant: plan
                .occupant(Some(id), |a| matches!(a, Address::VirtioSerial(a) if a == address))
                .unwrap_or_else(|| "a console".to_owned()),
            free,
        });
    }
    Ok(())
}

/// Takes the next free port: of the controller that the address names, or of any.
fn next(
    plan: &mut Plan<'_>,
    controllers: &mut Vec<Ports>,
    id: Id,
    is_console: bool,
) -> Result<VirtioSerialAddress, Error> {
    // libvirt takes the port of a console from controller 0, whichever one the address names.
    let controller =
        |address: &VirtioSerialAddress| if is_console { 0 } else { address.controller };
    let only = given(plan, id).map(controller);
    let first = u32::from(!is_console || only.is_some());
    for ports in controllers.iter_mut().filter(|c| only.is_none_or(|only| c.index == only)) {
        if let Some(port) = ports.used.next_clear(first) {
            ports.take(port);
            return Ok(VirtioSerialAddress { controller: ports.index, bus: 0, port });
        }
    }
    if let Some(only) = only {
        return Err(Error::NoFreeSlot {
            device: plan.describe(id),
            place: format!("port on virtio-serial controller {only}"),
            remedy: "leave the controller out, or give it more ports",
        });
    }
    let index = (0..).find(|index| controllers.iter().all(|c| c.index != *index)).unwrap_or(0);
    plan.ensure_controller(ControllerType::VirtioSerial, index, None, Why::NoFreeSlotLeft);
    let mut ports = Ports { index, used: Bits::new(PORTS) };
    ports.take(first);
    controllers.push(ports);
    controllers.sort_by_key(|ports| ports.index);
    Ok(VirtioSerialAddress { controller: index, bus: 0, port: first })
}
