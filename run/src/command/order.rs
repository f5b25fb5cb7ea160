//! The order of controllers.

use capscache_domain::{Controller, Device, Guest, Kind};

/// Puts the controllers of a completed guest in the order in which libvirt has them when it has read the guest: one that
/// names no index comes after all of its type that were read before it, whichever index it gets.
pub(super) fn restore(read: &Guest, guest: &mut Guest) {
    let controllers =
        || read.devices.iter().filter_map(|device| device.controller().map(|c| (device, c)));
    if controllers().all(|(_, controller)| controller.index.is_some()) {
        return;
    }
    let Some(start) = guest.devices.iter().position(is_controller) else { return };
    let (mut rest, others): (Vec<Device>, Vec<Device>) =
        std::mem::take(&mut guest.devices).into_iter().partition(is_controller);
    let mut ordered: Vec<(Option<u32>, Device)> = Vec::with_capacity(rest.len());
    for (from, as_read) in controllers() {
        let offset = from.element().offset;
        if let Some(at) = rest.iter().position(|to| to.element().offset == offset && offset != 0) {
            insert(&mut ordered, as_read.index, rest.remove(at));
        }
    }
    // All of them have their indexes when others are added.
    for (index, device) in &mut ordered {
        *index = device.controller().and_then(|controller| controller.index);
    }
    for device in rest {
        let index = device.controller().and_then(|controller| controller.index);
        insert(&mut ordered, index, device);
    }
    guest.devices = others;
    guest.devices.splice(start..start, ordered.into_iter().map(|(_, device)| device));
}

fn is_controller(device: &Device) -> bool {
    device.device.kind() == Kind::Controller
}

/// Inserts a controller with an index, or without one yet.
fn insert(ordered: &mut Vec<(Option<u32>, Device)>, index: Option<u32>, device: Device) {
    let Some(controller) = device.controller() else { return };
    let at = place(ordered, index, controller);
    ordered.insert(at, (index, device));
}

/// Returns the place of a controller: after those of its type with lower indexes, and before companions of its own.
fn place(ordered: &[(Option<u32>, Device)], index: Option<u32>, controller: &Controller) -> usize {
    let mut place = None;
    for (at, (other_index, device)) in ordered.iter().enumerate().rev() {
        let Some(other) = device.controller().filter(|other| other.r#type == controller.r#type)
        else {
            continue;
        };
        let Some(index) = index else { return at + 1 };
        let is_companion = controller.master_startport.is_none()
            && other.master_startport.is_some()
            && *other_index == Some(index);
        match other_index {
            Some(other) if *other > index => place = Some(at),
            _ if is_companion => place = Some(at),
            Some(other) if *other < index => return place.unwrap_or(at + 1),
            _ => place = place.or(Some(at + 1)),
        }
    }
    place.unwrap_or(ordered.len())
}
