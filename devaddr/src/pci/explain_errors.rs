//! Errors about PCI places: who is there, and what would fit.

use capscache_domain::{Address, PciAddress};

use super::kind::Need;
use super::space::{Problem, Space};
use crate::devices::Id;
use crate::error::{Error, PLUG_REMEDY};
use crate::plan::Plan;

/// A place that could not be taken.
pub(super) struct Trouble<'a> {
    device: Option<Id>,
    /// The number of spare slots to keep, if fewer would fit.
    spare: Option<u32>,
    address: Option<&'a PciAddress>,
    need: Need,
    problem: Problem,
}

impl<'a> Trouble<'a> {
    /// A device whose given address cannot be taken.
    pub(super) fn at(id: Id, address: &'a PciAddress, need: Need, problem: Problem) -> Trouble<'a> {
        Trouble { device: Some(id), spare: None, address: Some(address), need, problem }
    }

    /// A device without a free place.
    pub(super) fn next(id: Id, need: Need, problem: Problem) -> Trouble<'a> {
        Trouble { device: Some(id), spare: None, address: None, need, problem }
    }

    /// A spare slot without a free place: one of this many, if the policy could have fewer.
    pub(super) fn spare(need: Need, count: Option<u32>, problem: Problem) -> Trouble<'a> {
        Trouble { device: None, spare: count, address: None, need, problem }
    }

    /// Turns it into an error, with a place that would fit.
    pub(super) fn explain(self, plan: &Plan<'_>, space: &mut Space) -> Error {
        let free = match self.address {
            Some(_) => space.find(self.need, 0, None),
            None => None,
        };
        let free = free.map(|(bus, slot, function)| {
            let bus = u32::try_from(bus).unwrap_or(u32::MAX);
            PciAddress { function, ..PciAddress::new(bus, slot) }.to_string().into_boxed_str()
        });
        self.error(plan, Some(space), free)
    }

    /// Turns it into an error.
    pub(super) fn into_error(self, plan: &Plan<'_>) -> Error {
        self.error(plan, None, None)
    }

    fn error(self, plan: &Plan<'_>, space: Option<&Space>, free: Option<Box<str>>) -> Error {
        if let Some(count) = self.spare {
            return Error::TooManySpare { count };
        }
        let device = self.device.map_or_else(|| "a spare slot".to_owned(), |id| plan.describe(id));
        let Some(address) = self.address else {
            let remedy = match self.problem {
                Problem::TooMany => "a guest has at most 256 PCI buses: remove devices",
                _ if plan.plugs => PLUG_REMEDY,
                _ if self.need.integrated => "the root bus is full: remove devices from it",
                _ => "add a controller that accepts it",
            };
            let place = self.need.kinds.slot().trim_start_matches("a ").to_owned();
            return Error::NoFreeSlot { device, place, remedy };
        };
        let shown = format!("PCI {address}");
        let bus = space.and_then(|space| space.buses.get(address.bus as usize));
        let controller = bus.map_or_else(
            || format!("PCI controller {}", address.bus),
            |bus| format!("PCI controller {} ({})", address.bus, bus.model),
        );
        match self.problem {
            Problem::Taken => Error::AddressInUse {
                device,
                occupant: occupant(plan, self.device, address),
                address: shown,
                free,
            },
            Problem::Kind => Error::WrongBus {
                device,
                address: shown,
                controller,
                accepts: bus.map(|bus| bus.accepts.names()).unwrap_or_default(),
                requires: match self.need.integrated {
                    true => "a slot of the root bus",
                    false => self.need.kinds.slot(),
                },
                free,
            },
            Problem::Slot => Error::OutOfRange {
                device,
                address: shown,
                controller,
                range: bus
                    .map_or_else(String::new, |bus| format!("slots {} to {}", bus.first, bus.last)),
                free,
            },
            Problem::Domain => Error::UnknownController {
                device,
                address: shown,
                bus: format!("PCI domain {}", address.domain),
                remedy: "use domain 0, or leave the address out",
            },
            Problem::NoBus | Problem::CannotGrow | Problem::TooMany => Error::UnknownController {
                device,
                address: shown,
                bus: format!("PCI controller {}", address.bus),
                remedy: "add it, or leave the address out",
            },
        }
    }
}

/// Returns the device at an address, or the part of the board that is there.
fn occupant(plan: &Plan<'_>, not: Option<Id>, address: &PciAddress) -> String {
    let is_there = |a: &PciAddress| {
        (a.domain, a.bus, a.slot, a.function)
            == (address.domain, address.bus, address.slot, address.function)
    };
    let found = plan.occupant(not, |a| matches!(a, Address::Pci(other) if is_there(other)));
    found.unwrap_or_else(|| "a part of the chipset".to_owned())
}
