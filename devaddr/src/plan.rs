//! The guest while its addresses are assigned.

use std::collections::HashMap;

use capscache_domain::{
    Address, Controller, ControllerModel, ControllerType, Device, DeviceKind, Guest, OutOfRange,
    Switch,
};

use crate::describe::describe;
use crate::devices::{Devices, Id};
use crate::error::Error;
use crate::explain::Why;
use crate::facts::{Facts, Source};
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

/// The largest number of devices: no machine has room for more, and no guest should take long to refuse.
const MAX_DEVICES: u32 = 16384;

impl<'a> Plan<'a> {
    /// Takes the devices of a guest.
    pub(crate) fn new(
        guest: &Guest,
        devices: Vec<Device>,
        facts: &'a Facts,
        policy: &'a Policy,
    ) -> Result<Plan<'a>, Error> {
        if devices.len() > MAX_DEVICES as usize {
            let found = devices.len();
            return Err(Error::TooMany {
                what: "the number of devices",
                found,
                limit: MAX_DEVICES,
            });
        }
        for device in &devices {
            let Some(address) = &device.address else { continue };
            if let Some(OutOfRange { part, found, max }) = address.out_of_range() {
                let (device, address) = (describe(device), address.to_string());
                return Err(Error::NotAnAddress { device, address, part, found, max });
            }
        }
        let arch = guest.os.arch.as_deref().unwrap_or(facts.arch());
        // An emulator for 64 bits has the boards for 32 bits too.
        let is_same = arch == facts.arch()
            || matches!(
                (arch, facts.arch()),
                ("i686" | "x86_64", "i686" | "x86_64")
                    | ("armv6l" | "armv7l", "aarch64")
                    | ("armv6l", "armv7l")
                    | ("ppc" | "ppc64le", "ppc64")
                    | ("s390", "s390x")
            );
        if facts.source() == Source::Emulator && !is_same {
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
