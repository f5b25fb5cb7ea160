//! Groups of host devices, which share no bus with those of other groups on pseries.

use std::collections::HashMap;

use capscache_domain::{DeviceKind, Hex, HostdevType, InterfaceType, Kind};

use super::bus::Group;
use crate::devices::Id;
use crate::plan::Plan;

/// The groups of devices that have one.
#[derive(Default)]
pub(super) struct Groups(HashMap<Id, Group>);

impl Groups {
    /// Returns the group of a device; 0 for ordinary devices.
    pub(super) fn of(&self, id: Id) -> Group {
        if self.0.is_empty() { 0 } else { self.0.get(&id).copied().unwrap_or(0) }
    }
}

/// Returns the groups of a guest's devices.
///
/// The host decides which of its devices can be isolated from each other. Away from it, the functions of one of
/// its slots are taken for a group.
pub(super) fn groups(plan: &Plan<'_>) -> Groups {
    let mut groups = Groups::default();
    if !plan.machine.has_many_roots() {
        return groups;
    }
    let mut numbers: HashMap<(u32, u32, u32), Group> = HashMap::new();
    let value = |part: Option<Hex>| part.map_or(0, |hex| hex.0);
    for kind in [Kind::Interface, Kind::Hostdev] {
        for id in plan.devices.of(kind) {
            let slot = match plan.kind(*id) {
                DeviceKind::Interface(i) if i.r#type == InterfaceType::Hostdev => {
                    (value(i.host_domain), value(i.host_bus), value(i.host_slot))
                }
                DeviceKind::Hostdev(h) if h.r#type == HostdevType::Pci => {
                    (value(h.host_domain), value(h.host_bus), value(h.host_slot))
                }
                _ => continue,
            };
            let next = Group::try_from(numbers.len()).unwrap_or(0).saturating_add(1);
            groups.0.insert(*id, *numbers.entry(slot).or_insert(next));
        }
    }
    groups
}
