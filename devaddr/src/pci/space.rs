//! All PCI buses of a guest: taking places, finding free ones, and adding buses.

use capscache_domain::{Controller, ControllerModel, ControllerType, PciAddress};

use super::bus::{Bus, Group};
use super::kind::{Kinds, Need};

/// The largest number of buses.
pub(super) const MAX_BUSES: usize = 256;

/// The buses, by the index of their controllers.
pub(super) struct Space {
    pub(super) buses: Vec<Bus>,
    /// True if buses are added where no slot is free.
    pub(super) grows: bool,
    pub(super) has_many_roots: bool,
    pub(super) has_pcie_to_pci: bool,
    pub(super) has_pcie: bool,
    /// For each need, the bus before which none fits: buses only fill up.
    hints: Vec<((Need, Group), usize)>,
}

/// The cause for which a place cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// There is no such bus.
    NoBus,
    /// The domain is not 0.
    Domain,
    /// The bus does not accept the device.
    Kind,
    /// The slot is not one of the bus.
    Slot,
    /// The function is taken.
    Taken,
    /// No bus can be added for the device.
    CannotGrow,
    /// There are too many buses.
    TooMany,
}

impl Space {
    /// Creates a space without buses.
    pub(super) fn new(grows: bool) -> Space {
        Space {
            buses: Vec::new(),
            grows,
            has_many_roots: false,
            has_pcie_to_pci: false,
            has_pcie: false,
            hints: Vec::new(),
        }
    }

    /// Takes a place that a device names, and returns its bus: another one if the named bus is added and must be
    /// the port of a bridge.
    pub(super) fn take(
        &mut self,
        address: &PciAddress,
        need: Need,
        group: Group,
    ) -> Result<u32, Problem> {
        let mut index = address.bus as usize;
        if need.integrated && index != 0 {
            return Err(Problem::Kind);
        }
        if self.grows && index >= self.buses.len() {
            index = self.grow(index, need)?;
        }
        self.check(address, index, need)?;
        let Some(bus) = self.buses.get_mut(index) else { return Err(Problem::NoBus) };
        let was_empty = bus.is_empty();
        if !bus.take(address.slot, address.function, need.packs) {
            return Err(Problem::Taken);
        }
        if was_empty && !bus.is_locked {
            bus.group = group;
        } else if bus.group != group {
            // The bus is shared: it isolates no group any more.
            bus.group = 0;
        }
        Ok(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Checks that a device may be at a place, whether it is taken or not.
    pub(super) fn check(
        &self,
        address: &PciAddress,
        index: usize,
        need: Need,
    ) -> Result<(), Problem> {
        if address.domain != 0 {
            return Err(Problem::Domain);
        }
        let bus = self.buses.get(index).ok_or(Problem::NoBus)?;
        if !bus.permits(need, index == 0) {
            return Err(Problem::Kind);
        }
        if address.slot < bus.first || address.slot > bus.last {
            return Err(Problem::Slot);
        }
        Ok(())
    }

    /// Takes the lowest free place that fits a device, and adds a bus if there is none.
    pub(super) fn take_next(
        &mut self,
        need: Need,
        group: Group,
        function: Option<u32>,
    ) -> Result<PciAddress, Problem> {
        let (index, slot, function) = match self.find(need, group, function) {
            Some(found) => found,
            None if self.grows => {
                let index = self.grow(self.buses.len(), need)?;
                let first = self.buses.get(index).map_or(0, |bus| bus.first);
                (index, first, function.unwrap_or(0))
            }
            None => return Err(Problem::CannotGrow),
        };
        let Some(bus) = self.buses.get_mut(index) else { return Err(Problem::NoBus) };
        if bus.is_empty() && !bus.is_locked {
            bus.group = group;
        }
        bus.take(slot, function, need.packs);
        let bus = u32::try_from(index).unwrap_or(u32::MAX);
        Ok(PciAddress { function, ..PciAddress::new(bus, slot) })
    }

    /// Returns the lowest free place that fits a device: bus, slot and function.
    pub(super) fn find(
        &mut self,
        need: Need,
        group: Group,
        function: Option<u32>,
    ) -> Option<(usize, u32, u32)> {
        let position = self.hints.iter().position(|(key, _)| *key == (need, group));
        let hint = position.map_or(0, |at| self.hints[at].1);
        let mut found = None;
        for index in hint..self.buses.len() {
            let bus = &self.buses[index];
            if bus.group == group
                && bus.fits(need, index == 0)
                && !self.is_behind(index, need)
                && let Some((slot, function)) = bus.free(need, function)
            {
                found = Some((index, slot, function));
                break;
            }
        }
        let next = found.map_or(self.buses.len(), |(index, _, _)| index);
        match position {
            Some(at) => self.hints[at].1 = next,
            None => self.hints.push(((need, group), next)),
        }
        if found.is_some() {
            return found;
        }
        // An empty bus of another group may change to this one.
        let other = self.buses.iter().enumerate().find(|(index, bus)| {
            bus.group != group && !bus.is_locked && bus.is_empty() && bus.fits(need, *index == 0)
        });
        let (index, bus) = other?;
        let (slot, function) = bus.free(need, function)?;
        for ((_, of), hint) in &mut self.hints {
            if *of == group {
                *hint = (*hint).min(index);
            }
        }
        Some((index, slot, function))
    }

    /// Returns true if a bus is, or may come to be, behind the controller that needs a place.
    fn is_behind(&self, bus: usize, need: Need) -> bool {
        let Some(index) = need.index else { return false };
        if need.kinds.has_any(Kinds::BRIDGE) {
            // While buses are counted, the place of a bridge may be on any bus: all that counts is that it is there.
            return !self.grows && bus >= index as usize;
        }
        let mut at = bus;
        for _ in 0..self.buses.len() {
            let Some(bus) = self.buses.get(at) else { break };
            match (bus.model, bus.parent) {
                _ if at == index as usize => return true,
                (_, Some(parent)) => at = parent as usize,
                // A switch without a place may get one behind this controller.
                (model, None) => {
                    return matches!(
                        model,
                        ControllerModel::PcieSwitchUpstreamPort
                            | ControllerModel::PcieSwitchDownstreamPort
                    );
                }
            }
        }
        true
    }

    /// Records the bus that a controller is on.
    pub(super) fn set_parent(&mut self, controller: Option<&Controller>, parent: u32) {
        let controller = controller.filter(|c| c.r#type == ControllerType::Pci);
        let index = controller.and_then(|c| usize::try_from(c.index?).ok());
        if let Some(bus) = index.and_then(|index| self.buses.get_mut(index)) {
            bus.parent = Some(parent);
        }
    }

    /// Adds buses up to an index, and further ones that they need; returns the index of the last.
    pub(super) fn grow(&mut self, to: usize, need: Need) -> Result<usize, Problem> {
        if let Some(Some(node)) = need.node {
            return self.grow_in_node(need, node);
        }
        let mut count = (to + 1).saturating_sub(self.buses.len());
        let mut last = to;
        let mut model = ControllerModel::PcieRootPort;
        let mut needs_bridge = false;
        // A bridge that was added needs a place, too: where every bus is full, another one has it.
        let is_bridge = need.kinds.has_any(Kinds::BRIDGE) && !self.has_many_roots;
        if (need.kinds.has_any(Kinds::CONVENTIONAL) || is_bridge) && !need.integrated {
            if self.has_many_roots {
                model = ControllerModel::PciRoot;
            } else {
                model = ControllerModel::PciBridge;
                needs_bridge = !self.buses.iter().any(|bus| bus.accepts.has_any(Kinds::BRIDGE));
                if needs_bridge && count == 1 {
                    count += 1;
                    last += 1;
                }
            }
        } else if !need
            .kinds
            .has_any(Kinds::EXPRESS.or(Kinds::UPSTREAM_PORT).or(Kinds::PCIE_TO_PCI))
            || need.integrated
        {
            return Err(Problem::CannotGrow);
        }
        if self.buses.len() + count > MAX_BUSES {
            return Err(Problem::TooMany);
        }
        let end = self.buses.len() + count;
        if needs_bridge && self.has_pcie_to_pci {
            // This port is for the bridge alone.
            let mut port = Bus::new(ControllerModel::PcieRootPort, true);
            port.accepts = Kinds::PCIE_TO_PCI;
            self.buses.push(port);
            self.buses.push(Bus::new(ControllerModel::PcieToPciBridge, true));
        } else if needs_bridge {
            self.buses.push(Bus::new(ControllerModel::DmiToPciBridge, false));
        }
        while self.buses.len() < end {
            self.buses.push(Bus::new(model, need.hotplug != Some(false)));
        }
        Ok(last)
    }

    /// Adds a bus of a NUMA node, and an expander of the node if there is none.
    fn grow_in_node(&mut self, need: Need, node: u32) -> Result<usize, Problem> {
        if self.buses.len() + 3 > MAX_BUSES {
            return Err(Problem::TooMany);
        }
        let push = |space: &mut Space, mut bus: Bus| {
            bus.node = Some(node);
            space.buses.push(bus);
        };
        if !self.has_pcie {
            let model = match self.has_many_roots {
                true => ControllerModel::PciRoot,
                false => ControllerModel::PciExpanderBus,
            };
            push(self, Bus::new(model, true));
            return Ok(self.buses.len() - 1);
        }
        let is_expander =
            |bus: &Bus| bus.model == ControllerModel::PcieExpanderBus && bus.node == Some(node);
        if !self.buses.iter().any(is_expander) {
            push(self, Bus::new(ControllerModel::PcieExpanderBus, true));
        }
        let mut port = Bus::new(ControllerModel::PcieRootPort, need.hotplug != Some(false));
        if need.kinds.has_any(Kinds::CONVENTIONAL) {
            port.accepts = Kinds::PCIE_TO_PCI;
            push(self, port);
            push(self, Bus::new(ControllerModel::PcieToPciBridge, true));
        } else {
            push(self, port);
        }
        Ok(self.buses.len() - 1)
    }
}
