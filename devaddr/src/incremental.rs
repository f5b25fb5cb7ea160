//! Adding a device to a guest whose devices have addresses, and removing one.

use capscache_domain::{
    Address, ControllerType, Device, DeviceKind, DiskBus, Guest, HostdevType, PciAddress,
};

use crate::assign::{assign, complete};
use crate::describe::describe;
use crate::error::{Error, PLUG_REMEDY};
use crate::explain::Report;
use crate::facts::Facts;
use crate::policy::Policy;

/// Adds a device to a guest, with an address, and the controllers that it needs. No address of another device changes.
///
/// The guest is one that [`assign`] completed; what it lacks is completed as well. If an error is returned, it is
/// unchanged.
///
/// # Errors
/// [`Error`], if the address of the device is not valid or taken, or if there is no place for it.
pub fn add(
    guest: &mut Guest,
    device: Device,
    facts: &Facts,
    policy: &Policy,
) -> Result<Report, Error> {
    guest.devices.push(device);
    let report = assign(guest, facts, policy);
    report.inspect_err(|_| drop(guest.devices.pop()))
}

/// Adds a device to a guest that runs: as [`add`], but without controllers, which cannot be plugged.
///
/// # Errors
/// [`Error::NoFreeSlot`], if the device needs a controller that is not there: see [`Policy::spare`]. Others as for
/// [`add`].
pub fn plug(
    guest: &mut Guest,
    device: Device,
    facts: &Facts,
    policy: &Policy,
) -> Result<Report, Error> {
    let name = describe(&device);
    // The reserve is what the device is plugged into.
    let policy = Policy { spare: Some(0), expanders: false, hotplug: Some(true), ..policy.clone() };
    let no_slot = |device| Error::NoFreeSlot {
        device,
        place: "slot that it can be plugged into".to_owned(),
        remedy: PLUG_REMEDY,
    };
    let mut extended = guest.clone();
    extended.devices.push(device);
    let report = complete(&mut extended, facts, &policy, true).map_err(|error| match error {
        // Another device without a slot is a controller that this one would need.
        Error::NoFreeSlot { device, .. } if device != name => no_slot(name.clone()),
        error => error,
    })?;
    let controllers = |guest: &Guest| {
        let is_fixed = |device: &&Device| {
            matches!(device.device, DeviceKind::Controller(_) | DeviceKind::Hub(_))
        };
        guest.devices.iter().filter(is_fixed).count()
    };
    if controllers(&extended) > controllers(guest) {
        return Err(no_slot(name));
    }
    *guest = extended;
    Ok(report)
}

/// Removes the device at a position of [`Guest::devices`], and returns it. No address of another device changes.
///
/// # Errors
/// [`Error::NoDevice`]; [`Error::InUse`] for a controller or hub with devices, or for function 0 of a slot with others.
/// The guest is unchanged then.
pub fn remove(guest: &mut Guest, position: usize) -> Result<Device, Error> {
    let count = guest.devices.len();
    let device = guest.devices.get(position).ok_or(Error::NoDevice { position, count })?;
    let others = guest.devices.iter().enumerate().filter(|(other, _)| *other != position);
    let mut others = others.map(|(_, other)| other);
    if let Some(dependent) = others.find(|other| depends(other, device)) {
        return Err(Error::InUse { device: describe(device), dependent: describe(dependent) });
    }
    Ok(guest.devices.remove(position))
}

/// Returns true if one device is on another, or on a function of its slot.
fn depends(device: &Device, on: &Device) -> bool {
    let Some(address) = &device.address else { return false };
    if let (Address::Pci(a), Some(Address::Pci(b))) = (address, &on.address) {
        let slot = |a: &PciAddress| (a.domain, a.bus, a.slot);
        if slot(a) == slot(b) && b.function == 0 && a.function > 0 {
            return true;
        }
    }
    let provides = match (&on.device, &on.address) {
        (DeviceKind::Controller(controller), _) => Some((controller.r#type, controller.index)),
        (DeviceKind::Hub(_), Some(Address::Usb(hub))) => {
            return match address {
                Address::Usb(a) => {
                    let (way, ports) = (hub.port.ports(), a.port.ports());
                    a.bus == hub.bus && ports.len() > way.len() && ports.starts_with(way)
                }
                _ => false,
            };
        }
        _ => None,
    };
    provides.is_some_and(|(r#type, index)| {
        let used = match (address, &device.device) {
            (Address::Pci(a), _) => Some((ControllerType::Pci, a.bus)),
            (Address::Usb(a), _) => Some((ControllerType::Usb, a.bus)),
            (Address::VirtioSerial(a), _) => Some((ControllerType::VirtioSerial, a.controller)),
            (Address::Ccid(a), _) => Some((ControllerType::Ccid, a.controller)),
            (Address::Drive(a), DeviceKind::Disk(disk)) => {
                let r#type = match disk.bus {
                    Some(DiskBus::Ide) => ControllerType::Ide,
                    Some(DiskBus::Sata) => ControllerType::Sata,
                    Some(DiskBus::Fdc) => ControllerType::Fdc,
                    _ => ControllerType::Scsi,
                };
                Some((r#type, a.controller))
            }
            (Address::Drive(a), DeviceKind::Hostdev(h)) if h.r#type == HostdevType::Scsi => {
                Some((ControllerType::Scsi, a.controller))
            }
            _ => None,
        };
        used == Some((r#type, index.unwrap_or(0)))
    })
}
