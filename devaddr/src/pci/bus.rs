//! A PCI bus: what it accepts, and which of its functions are taken.

use capscache_domain::ControllerModel;

use super::kind::{Kinds, Need};

/// The number of slots of a bus.
pub(super) const SLOTS: usize = 32;

/// A group of devices that must not share a bus with those of another: 0 for ordinary devices.
pub(super) type Group = u32;

/// A bus, with the controller that provides it.
#[derive(Clone, Debug)]
pub(super) struct Bus {
    pub(super) model: ControllerModel,
    pub(super) accepts: Kinds,
    /// True if devices that name no address are placed here.
    pub(super) is_auto: bool,
    pub(super) is_hotpluggable: bool,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) group: Group,
    /// The NUMA node that the bus belongs to.
    pub(super) node: Option<u32>,
    /// The bus that its controller is on, if that has a place.
    pub(super) parent: Option<u32>,
    /// True if the group never changes.
    pub(super) is_locked: bool,
    /// The taken functions of each slot, as bits.
    functions: [u8; SLOTS],
    /// The slots that devices share, as bits.
    packed: u32,
}

impl Bus {
    /// Creates the empty bus of a controller.
    pub(super) fn new(model: ControllerModel, is_hotpluggable: bool) -> Bus {
        const PCI: Kinds = Kinds::CONVENTIONAL.or(Kinds::BRIDGE);
        let (accepts, is_auto, first, last, hotplug) = match model {
            ControllerModel::PcieRoot => (
                Kinds::EXPRESS.or(Kinds::ROOT_PORT).or(Kinds::DMI_BRIDGE).or(Kinds::PCIE_EXPANDER),
                false,
                1,
                31,
                false,
            ),
            ControllerModel::PciBridge | ControllerModel::PcieToPciBridge => {
                (PCI, true, 1, 31, true)
            }
            ControllerModel::PciExpanderBus => (PCI, true, 0, 31, false),
            ControllerModel::DmiToPciBridge => (PCI, false, 0, 31, false),
            ControllerModel::PcieRootPort | ControllerModel::PcieSwitchDownstreamPort => {
                (Kinds::EXPRESS.or(Kinds::UPSTREAM_PORT).or(Kinds::PCIE_TO_PCI), true, 0, 0, true)
            }
            ControllerModel::PcieSwitchUpstreamPort => {
                (Kinds::DOWNSTREAM_PORT, false, 0, 31, false)
            }
            ControllerModel::PcieExpanderBus => {
                (Kinds::ROOT_PORT.or(Kinds::DMI_BRIDGE), false, 0, 31, false)
            }
            // A conventional root.
            _ => (PCI.or(Kinds::EXPANDER), true, 1, 31, true),
        };
        Bus {
            model,
            accepts,
            is_auto,
            is_hotpluggable: hotplug && is_hotpluggable,
            first,
            last,
            group: 0,
            node: None,
            parent: None,
            is_locked: false,
            functions: [0; SLOTS],
            packed: 0,
        }
    }

    /// Returns true if a device that names no address may be placed here.
    pub(super) fn fits(&self, need: Need, is_root: bool) -> bool {
        if need.integrated {
            return is_root && (self.accepts.or(Kinds::CONVENTIONAL)).has_any(need.kinds);
        }
        (!need.auto || self.is_auto)
            && self.accepts.has_any(need.kinds)
            && need.node.is_none_or(|node| node == self.node)
            && need.hotplug.is_none_or(|hotplug| hotplug == self.is_hotpluggable)
    }

    /// Returns true if a device may be placed here by its given address.
    pub(super) fn permits(&self, need: Need, is_root: bool) -> bool {
        let mut accepts = self.accepts;
        if need.integrated {
            if !is_root {
                return false;
            }
            accepts = accepts.or(Kinds::CONVENTIONAL);
        }
        // Conventional devices and those of PCIe are the same where the address is given.
        if accepts.has_any(Kinds::ENDPOINTS) {
            accepts = accepts.or(Kinds::ENDPOINTS);
        }
        let mut kinds = need.kinds;
        if kinds.has_any(Kinds::BRIDGE) {
            kinds = kinds.or(Kinds::CONVENTIONAL);
        }
        accepts.has_any(kinds)
    }

    /// Returns the taken functions of a slot, as bits.
    pub(super) fn functions(&self, slot: u32) -> u8 {
        self.functions.get(slot as usize).copied().unwrap_or(0)
    }

    /// Returns the lowest free place for a device: a slot and a function.
    pub(super) fn free(&self, need: Need, function: Option<u32>) -> Option<(u32, u32)> {
        for slot in self.first..=self.last {
            let taken = self.functions(slot);
            if taken == 0 {
                return Some((slot, function.unwrap_or(0)));
            }
            if need.packs && self.packed >> slot & 1 == 1 {
                let free = |function: u32| taken >> function & 1 == 0;
                match function {
                    Some(function) if free(function) => return Some((slot, function)),
                    Some(_) => {}
                    None => {
                        if let Some(function) = (0..8).find(|function| free(*function)) {
                            return Some((slot, function));
                        }
                    }
                }
            }
        }
        None
    }

    /// Takes a function; returns false if it is taken already.
    pub(super) fn take(&mut self, slot: u32, function: u32, packs: bool) -> bool {
        let Some(taken) = self.functions.get_mut(slot as usize) else { return false };
        let bit = 1 << (function & 7);
        if *taken & bit != 0 {
            return false;
        }
        if *taken == 0 && packs {
            self.packed |= 1 << slot;
        }
        *taken |= bit;
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        (self.first..=self.last).all(|slot| self.functions(slot) == 0)
    }

    /// Returns true if every slot has a device.
    pub(super) fn is_full(&self) -> bool {
        (self.first..=self.last).all(|slot| self.functions(slot) != 0)
    }
}
