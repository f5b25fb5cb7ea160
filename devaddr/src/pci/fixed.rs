//! Places on the boards of PCs.

use capscache_domain::{
    Address, ControllerModel, ControllerType, DeviceKind, Kind, PciAddress, SoundModel, Switch,
    VideoModel,
};

use super::explain_errors::Trouble;
use super::kind::Need;
use super::space::Space;
use super::{is_wanted, need_of};
use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::machine::Board;
use crate::plan::Plan;

/// Takes the places of the board's own parts, and places what has a customary place.
pub(super) fn place(plan: &mut Plan<'_>, space: &mut Space) -> Result<(), Error> {
    match plan.machine.board {
        Board::I440fx => place_i440fx(plan, space),
        Board::Q35 => place_q35(plan, space),
        _ => Ok(()),
    }
}

/// Returns true for the IDE and USB controllers within the south bridge of i440fx.
pub(super) fn is_in_chipset(plan: &Plan<'_>, id: Id, address: &PciAddress) -> bool {
    if plan.machine.board != Board::I440fx || (address.bus, address.slot) != (0, 1) {
        return false;
    }
    i440fx_function(plan, id).is_some_and(|function| function == address.function)
}

/// Returns true if the board has a part on function 0 of a slot.
pub(super) fn has_function_zero(plan: &Plan<'_>, address: &PciAddress) -> bool {
    let slot = match plan.machine.board {
        Board::I440fx => 1,
        Board::Q35 => 0x1f,
        _ => return false,
    };
    (address.domain, address.bus, address.slot) == (0, 0, slot)
}

/// Takes the places of the board that are free.
pub(super) fn occupy(plan: &Plan<'_>, space: &mut Space) {
    let (slot, functions): (u32, &[u32]) = match plan.machine.board {
        Board::I440fx => (1, &[0, 1, 2, 3]),
        Board::Q35 => (0x1f, &[0, 2, 3]),
        _ => return,
    };
    if let Some(root) = space.buses.first_mut() {
        for function in functions {
            root.take(slot, *function, false);
        }
    }
}

/// The function of slot 1 that a controller has on i440fx.
fn i440fx_function(plan: &Plan<'_>, id: Id) -> Option<u32> {
    let controller = plan.devices.controller(id).filter(|c| c.index == Some(0))?;
    match (controller.r#type, controller.model) {
        (ControllerType::Ide, _) => Some(1),
        (ControllerType::Usb, None | Some(ControllerModel::Piix3Uhci)) => Some(2),
        _ => None,
    }
}

fn place_i440fx(plan: &mut Plan<'_>, space: &mut Space) -> Result<(), Error> {
    for id in plan.devices.ids(Kind::Controller) {
        if let Some(function) = i440fx_function(plan, id) {
            let address = PciAddress { function, ..PciAddress::new(0, 1) };
            place_at_fixed(plan, id, address.clone())?;
            take(plan, space, &address)?;
        }
    }
    // The ISA bridge and power management.
    for function in [0, 3] {
        take(plan, space, &PciAddress { function, ..PciAddress::new(0, 1) })?;
    }
    place_video(plan, space, 2)
}

fn place_q35(plan: &mut Plan<'_>, space: &mut Space) -> Result<(), Error> {
    for id in plan.devices.ids(Kind::Controller) {
        let Some(controller) = plan.devices.controller(id) else { continue };
        match (controller.r#type, controller.model) {
            (ControllerType::Sata, _) if controller.index == Some(0) => {
                let address = PciAddress { function: 2, ..PciAddress::new(0, 0x1f) };
                let was_there = !is_wanted(plan, id);
                place_at_fixed(plan, id, address.clone())?;
                // A given address was taken with all others.
                if !was_there {
                    take(plan, space, &address)?;
                }
            }
            (ControllerType::Usb, Some(ControllerModel::Ich9Uhci1))
                if plan.address(id).is_none() =>
            {
                let multifunction = Some(Switch::On);
                place_if_free(plan, space, id, &[0x1d, 0x1a], multifunction)?;
            }
            (ControllerType::Pci, Some(ControllerModel::DmiToPciBridge)) => {
                place_if_free(plan, space, id, &[0x1e], None)?;
            }
            _ => {}
        }
    }
    // The ISA bridge and the SMBus.
    for function in [0, 3] {
        take(plan, space, &PciAddress { function, ..PciAddress::new(0, 0x1f) })?;
    }
    place_video(plan, space, 1)?;
    for id in plan.devices.ids(Kind::Sound) {
        let is_ich9 = matches!(plan.kind(id), DeviceKind::Sound(s) if s.model == SoundModel::Ich9);
        if is_ich9 && place_if_free(plan, space, id, &[0x1b], None)? {
            break;
        }
    }
    Ok(())
}

/// Gives a part of the chipset its place; an error if it has another one.
fn place_at_fixed(plan: &mut Plan<'_>, id: Id, required: PciAddress) -> Result<(), Error> {
    if is_wanted(plan, id) {
        plan.place(id, Address::Pci(required), Why::FixedPlace);
        return Ok(());
    }
    match plan.address(id) {
        Some(Address::Pci(a)) if PciAddress { multifunction: None, ..a.clone() } == required => {
            Ok(())
        }
        other => Err(Error::FixedPlace {
            device: plan.describe(id),
            address: other.map_or_else(String::new, ToString::to_string),
            required: format!("PCI {required}"),
        }),
    }
}

/// Places the primary video device at a slot of the root bus, or at the next free place if that is taken.
fn place_video(plan: &mut Plan<'_>, space: &mut Space, slot: u32) -> Result<(), Error> {
    let Some(id) = plan.devices.of(Kind::Video).first().copied() else { return Ok(()) };
    let is_pci = match plan.kind(id) {
        DeviceKind::Video(video) => {
            !matches!(video.model, Some(VideoModel::None | VideoModel::Ramfb))
        }
        _ => false,
    };
    if !is_pci || !is_wanted(plan, id) {
        return Ok(());
    }
    let address = PciAddress::new(0, slot);
    let is_free = space.buses.first().is_some_and(|bus| bus.functions(slot) == 0);
    if is_free {
        take(plan, space, &address)?;
        plan.place(id, Address::Pci(address), Why::CustomaryPlace);
        return Ok(());
    }
    let need = need_of(plan, id);
    let next = space.take_next(need, 0, None);
    let next = next.map_err(|problem| Trouble::next(id, need, problem).into_error(plan))?;
    if !space.grows {
        plan.place(id, Address::Pci(next), Why::LowestFree);
    }
    Ok(())
}

/// Places a device at the first free one of some slots of the root bus; returns whether it was placed.
fn place_if_free(
    plan: &mut Plan<'_>,
    space: &mut Space,
    id: Id,
    slots: &[u32],
    multifunction: Option<Switch>,
) -> Result<bool, Error> {
    if !is_wanted(plan, id) {
        return Ok(false);
    }
    let is_free = |slot: &&u32| space.buses.first().is_some_and(|bus| bus.functions(**slot) == 0);
    let Some(slot) = slots.iter().find(is_free) else { return Ok(false) };
    let address = PciAddress { multifunction, ..PciAddress::new(0, *slot) };
    take(plan, space, &address)?;
    plan.place(id, Address::Pci(address), Why::CustomaryPlace);
    Ok(true)
}

/// Takes a place of the board.
fn take(plan: &Plan<'_>, space: &mut Space, address: &PciAddress) -> Result<(), Error> {
    let need = Need { kinds: super::kind::Kinds::ENDPOINTS, ..Need::NONE };
    let taken = space.take(address, need, 0);
    taken.map(|_| ()).map_err(|_| {
        let is_there = |a: &Address| match a {
            Address::Pci(a) => {
                (a.bus, a.slot, a.function) == (address.bus, address.slot, address.function)
            }
            _ => false,
        };
        let there = plan.occupant(None, is_there);
        Error::AddressInUse {
            device: there.unwrap_or_else(|| "a device".to_owned()),
            address: format!("PCI {address}"),
            occupant: "a part of the chipset".to_owned(),
            free: None,
        }
    })
}
