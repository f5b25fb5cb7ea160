//! The guest while its addresses are assigned.

use std::collections::HashMap;

use capscache_domain::{
    Address, Controller, ControllerModel, ControllerType, Device, DeviceKind, Guest, Switch,
};

use crate::describe::describe;
use crate::devices::{Devices, Id};
use crate::error::Error;
use crate::explain::Why;
use crate::facts::Facts;
use crate::machine::Machine;
use crate::policy::Policy;

/// The guest, sorted; with the facts, the policy, and the reasons so far.
pub(crate) struct Plan<'a> {
    pub(crate) devices: Devices,
    pub(crate) machine: Machine,
    pub(crate) facts: &'a Facts,
    pub(crate) policy: &'a Policy,
    pub(crate) vcpus: u32,
    pub(crate) memory_slots: u32,
    pub(crate) has_ps2: bool,
    /// The ids of the NUMA cells.
    pub(crate) nodes: Vec<u32>,
    /// True if the guest runs.
    pub(crate) plugs: bool,
    /// The devices that have a rule of their own, with its position in the policy.
    pub(crate) rules: HashMap<Id, usize>,
    /// The NUMA nodes of PCI controllers that were added for one.
    pub(crate) port_nodes: HashMap<Id, u32>,
    /// The buses that bridges were added for, where ports differ: the devices that are placed later need the others.
    pub(crate) bridge_buses: HashMap<Id, u32>,
    reasons: Vec<(Id, Why)>,
}

impl<'a> Plan<'a> {
    /// Takes the devices of a guest.
    pub(crate) fn new(
        guest: &Guest,
        devices: Vec<Device>,
        facts: &'a Facts,
        policy: &'a Policy,
    ) -> Result<Plan<'a>, Error> {
        let arch = guest.os.arch.as_deref().unwrap_or(facts.arch());
        if !facts.hold_for(arch) {
            let (guest, facts) = (arch.to_owned(), facts.arch().to_owned());
            return Err(Error::OtherArchitecture { guest, facts });
        }
        let default = || match arch == facts.arch() {
            true => facts.default_machine().map(str::to_owned),
            false => Facts::built_in(arch).default_machine().map(str::to_owned),
        };
        let name = guest.os.machine.clone().or_else(default);
        let name = name.ok_or_else(|| Error::NoMachine { arch: arch.to_owned() })?;
        let machine = Machine::new(arch, &name, facts);
        let has_ps2 = machine.has_ps2() && guest.features.ps2 != Some(Switch::Off);
        Ok(Plan {
            devices: Devices::new(devices),
            machine,
            facts,
            policy,
            vcpus: guest.vcpus,
            memory_slots: guest.max_memory.as_ref().map_or(0, |max| max.slots),
            has_ps2,
            nodes: guest.numa.iter().map(|cell| cell.id).collect(),
            plugs: false,
            rules: HashMap::new(),
            port_nodes: HashMap::new(),
            bridge_buses: HashMap::new(),
            reasons: Vec::new(),
        })
    }

    /// Adds a device.
    pub(crate) fn add(&mut self, device: Device, why: Why) -> Id {
        let id = self.devices.insert(device);
        self.reasons.push((id, why));
        id
    }

    /// Adds a controller without options.
    pub(crate) fn add_controller(
        &mut self,
        r#type: ControllerType,
        index: u32,
        model: Option<ControllerModel>,
        why: Why,
    ) -> Id {
        let controller = Controller { index: Some(index), model, ..Controller::new(r#type) };
        self.add(Device::new(controller), why)
    }

    /// Adds a controller if there is none with its type and index; returns true if it was added.
    pub(crate) fn ensure_controller(
        &mut self,
        r#type: ControllerType,
        index: u32,
        model: Option<ControllerModel>,
        why: Why,
    ) -> bool {
        let is_missing = self.devices.find_controller(r#type, index).is_none();
        if is_missing {
            self.add_controller(r#type, index, model, why);
        }
        is_missing
    }

    /// Gives a device an address.
    pub(crate) fn place(&mut self, id: Id, address: Address, why: Why) {
        self.devices.get_mut(id).address = Some(address);
        self.reasons.push((id, why));
    }

    pub(crate) fn address(&self, id: Id) -> Option<&Address> {
        self.devices.get(id).address.as_ref()
    }

    pub(crate) fn kind(&self, id: Id) -> &DeviceKind {
        &self.devices.get(id).device
    }

    pub(crate) fn describe(&self, id: Id) -> String {
        describe(self.devices.get(id))
    }

    /// Describes the device at an address, other than one that is to be there.
    pub(crate) fn occupant(
        &self,
        not: Option<Id>,
        is_there: impl Fn(&Address) -> bool,
    ) -> Option<String> {
        let mut others = self.devices.iter().filter(|(id, _)| Some(*id) != not);
        let (id, _) = others.find(|(_, other)| other.address.as_ref().is_some_and(&is_there))?;
        Some(self.describe(id))
    }

    /// The devices in libvirt's order, and the reasons with their positions.
    pub(crate) fn finish(mut self) -> (Vec<Device>, Vec<(usize, Why)>) {
        self.devices.sort_controllers();
        let order = self.devices.order();
        let mut positions = vec![0; order.len()];
        for (position, id) in order.iter().enumerate() {
            positions[id.index()] = position;
        }
        let mut reasons: Vec<(usize, Why)> =
            self.reasons.iter().map(|(id, why)| (positions[id.index()], *why)).collect();
        // An address without a reason of its own was there before.
        let mut has_reason = vec![false; order.len()];
        for (position, why) in &reasons {
            has_reason[*position] |= why.is_about_address();
        }
        for (position, id) in order.iter().enumerate() {
            if !has_reason[position] && self.address(*id).is_some() {
                reasons.push((position, Why::Given));
            }
        }
        reasons.sort_by_key(|(position, _)| *position);
        (self.devices.into_vec(), reasons)
    }
}
