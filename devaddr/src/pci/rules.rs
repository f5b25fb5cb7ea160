//! The policy's rules for the PCI slots of single devices.

use std::collections::HashMap;

use capscache_domain::{Address, DeviceKind, HostdevType, Kind};

use super::kind::{Kinds, Need};
use super::need::need;
use super::{is_companion, is_wanted};
use crate::devices::Id;
use crate::error::Error;
use crate::plan::Plan;
use crate::policy::{DevicePolicy, SlotKind};

/// Finds the devices that the policy names.
pub(super) fn find_devices(plan: &mut Plan<'_>) -> Result<(), Error> {
    let has_node_buses = plan.machine.root.is_none() || plan.machine.has_node_buses();
    let no_node_bus = |device: String| Error::NoBus {
        device,
        machine: plan.machine.name.clone(),
        bus: "PCI bus of a NUMA node",
        remedy: "leave nodes and expanders out of the policy",
    };
    if plan.policy.expanders && !plan.nodes.is_empty() && !has_node_buses {
        return Err(no_node_bus("a spare slot".to_owned()));
    }
    if plan.policy.devices.is_empty() {
        return Ok(());
    }
    let mut rules = HashMap::new();
    let names = Names::new(plan);
    for (position, rule) in plan.policy.devices.iter().enumerate() {
        let Some(id) = names.find(&rule.device) else {
            return Err(Error::UnknownDevice { name: rule.device.clone() });
        };
        let is_on_pci = !need(plan.kind(id), plan.machine.has_pcie()).is_none()
            && matches!(plan.address(id), None | Some(Address::Pci(_)));
        if !is_on_pci {
            return Err(Error::Conflict {
                device: plan.describe(id),
                cause: "the policy has a rule for its PCI slot, and it has none".to_owned(),
                remedy: "name the controller that it is on, or remove the rule",
            });
        }
        if rule.node.is_some() && !has_node_buses {
            return Err(no_node_bus(plan.describe(id)));
        }
        if let Some(node) = rule.node
            && !plan.nodes.contains(&node)
        {
            let nodes = plan.nodes.clone().into_boxed_slice();
            return Err(Error::UnknownNode { device: plan.describe(id), node, nodes });
        }
        if let Some(other) = rules.insert(id, position) {
            let first = plan.policy.devices.get(other);
            return Err(Error::DuplicateRule {
                device: plan.describe(id),
                first: first.map_or_else(String::new, |first| first.device.clone()),
                second: rule.device.clone(),
            });
        }
    }
    plan.rules = rules;
    Ok(())
}

/// Refuses to choose between the kinds of slots on PCIe where releases of libvirt may differ.
pub(super) fn check_certain(plan: &Plan<'_>) -> Result<(), Error> {
    let is_open = |id: &Id| {
        let is_either = match plan.kind(*id) {
            DeviceKind::Crypto(_) => true,
            DeviceKind::Interface(interface) => interface.model.as_deref() == Some("vmxnet3"),
            _ => false,
        };
        let own = own_rule(plan, *id).and_then(|own| own.slot);
        is_either && is_wanted(plan, *id) && own.or(plan.policy.slot).is_none()
    };
    let mut ids = plan.devices.iter().map(|(id, _)| id).filter(|_| plan.machine.has_pcie());
    match ids.find(is_open) {
        Some(id) => Err(Error::Conflict {
            device: plan.describe(id),
            cause: "it can be in a PCI or a PCIe slot, and libvirt's choice is not certain"
                .to_owned(),
            remedy: "give its address, or a policy with the kind of slot",
        }),
        None => Ok(()),
    }
}

/// The rule of a device that has one of its own.
fn own_rule<'p>(plan: &Plan<'p>, id: Id) -> Option<&'p DevicePolicy> {
    plan.policy.devices.get(*plan.rules.get(&id)?)
}

/// The names of devices in policies.
struct Names<'a> {
    aliases: HashMap<&'a str, Id>,
    /// Names of disks and MAC addresses, in lower case.
    own: HashMap<String, Id>,
    kinds: HashMap<&'static str, Vec<Id>>,
}

impl<'a> Names<'a> {
    fn new(plan: &'a Plan<'_>) -> Names<'a> {
        let mut names =
            Names { aliases: HashMap::new(), own: HashMap::new(), kinds: HashMap::new() };
        for (id, device) in plan.devices.iter() {
            let own = match &device.device {
                DeviceKind::Disk(disk) => Some(&disk.dev),
                DeviceKind::Interface(interface) => interface.mac.as_ref(),
                _ => None,
            };
            if let Some(own) = own {
                names.own.entry(own.to_ascii_lowercase()).or_insert(id);
            }
            if let Some(alias) = &device.alias {
                names.aliases.entry(alias).or_insert(id);
            }
        }
        for id in Kind::ALL.iter().flat_map(|kind| plan.devices.of(*kind)) {
            names.kinds.entry(plan.kind(*id).name()).or_default().push(*id);
        }
        names
    }

    /// Finds a device by alias, name, MAC address, or kind and position.
    fn find(&self, name: &str) -> Option<Id> {
        let alias = self.aliases.get(name);
        let own = self.own.get(&name.to_ascii_lowercase());
        // The first of those that have the name.
        alias.into_iter().chain(own).min().copied().or_else(|| {
            let (kind, position) = name.split_once('/')?;
            let position: usize = position.parse().ok()?;
            self.kinds.get(kind)?.get(position).copied()
        })
    }
}

/// Applies the policy to the needs of a device.
pub(super) fn apply(plan: &Plan<'_>, id: Id, mut need: Need) -> Need {
    let by_node = plan.policy.places_by_node();
    if !need.kinds.has_any(Kinds::ENDPOINTS) {
        // Ports and bridges stay below the expander that they were added for.
        let is_below = need.kinds.has_any(Kinds::ROOT_PORT.or(Kinds::PCIE_TO_PCI));
        if by_node && is_below {
            need.node = Some(plan.port_nodes.get(&id).copied());
        }
        return need;
    }
    if need.integrated {
        return need;
    }
    let own = own_rule(plan, id);
    match own.and_then(|own| own.slot).or(plan.policy.slot) {
        Some(SlotKind::Pci) if !is_express_only(plan.kind(id)) => {
            need.kinds = Kinds::CONVENTIONAL;
        }
        Some(SlotKind::Pcie) if plan.machine.has_pcie() => need.kinds = Kinds::EXPRESS,
        _ => {}
    }
    if need.kinds == Kinds::EXPRESS {
        need.hotplug = own.and_then(|own| own.hotplug).or(plan.policy.hotplug);
    }
    if plan.plugs {
        need.hotplug = Some(true);
    }
    need.packs =
        !is_companion(plan, id) && own.and_then(|own| own.packed).unwrap_or(plan.policy.packed);
    if by_node {
        need.node = Some(own.and_then(|own| own.node));
    }
    need
}

/// Returns true for devices that QEMU has for PCIe only.
fn is_express_only(kind: &DeviceKind) -> bool {
    match kind {
        DeviceKind::Interface(interface) => {
            matches!(interface.model.as_deref(), Some("e1000e" | "igb"))
        }
        DeviceKind::Hostdev(hostdev) => hostdev.r#type == HostdevType::Mdev,
        _ => false,
    }
}
