//! Memory slots.

use std::collections::HashMap;

use capscache_domain::{Address, DeviceKind, DimmAddress, Kind, MemoryModel};

use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::plan::Plan;

/// Gives memory devices the lowest free slots, if the guest has any.
pub(crate) fn assign(plan: &mut Plan<'_>) -> Result<(), Error> {
    let slots = plan.memory_slots;
    let mut used: HashMap<u32, Id> = HashMap::new();
    for id in plan.devices.ids(Kind::Memory) {
        let Some(Address::Dimm(DimmAddress { slot, .. })) = plan.address(id) else { continue };
        let slot = slot.unwrap_or(0);
        if let Some(other) = used.insert(slot, id) {
            let free = (0..slots).find(|slot| !used.contains_key(slot));
            return Err(Error::AddressInUse {
                device: plan.describe(id),
                address: format!("memory slot {slot}"),
                occupant: plan.describe(other),
                free: free.map(|slot| format!("slot {slot}").into()),
            });
        }
        if slot >= slots {
            let free = (0..slots).find(|slot| !used.contains_key(slot));
            return Err(Error::OutOfRange {
                device: plan.describe(id),
                address: format!("memory slot {slot}"),
                controller: "the guest".to_owned(),
                range: format!("{slots} memory slots"),
                free: free.map(|slot| format!("slot {slot}").into()),
            });
        }
    }
    check_overlap(plan)?;
    let mut next = 0;
    for id in plan.devices.ids(Kind::Memory) {
        let is_dimm = matches!(
            plan.kind(id),
            DeviceKind::Memory(m) if matches!(m.model, MemoryModel::Dimm | MemoryModel::Nvdimm)
        );
        if !is_dimm || plan.address(id).is_some() {
            continue;
        }
        while used.contains_key(&next) {
            next += 1;
        }
        if next >= slots {
            return Err(Error::NoFreeSlot {
                device: plan.describe(id),
                place: "memory slot".to_owned(),
                remedy: "raise the number of slots of <maxMemory>",
            });
        }
        used.insert(next, id);
        let address = DimmAddress { slot: Some(next), base: None };
        plan.place(id, Address::Dimm(address), Why::LowestNumber);
    }
    Ok(())
}

/// Refuses memory devices whose given physical addresses overlap.
fn check_overlap(plan: &Plan<'_>) -> Result<(), Error> {
    let mut ranges: Vec<(u64, u64, Id)> = Vec::new();
    for id in plan.devices.of(Kind::Memory) {
        let DeviceKind::Memory(memory) = plan.kind(*id) else { continue };
        let base = match plan.address(*id) {
            Some(Address::Dimm(DimmAddress { base: Some(base), .. })) => Some(*base),
            _ => memory.base.map(|base| base.0),
        };
        if let (Some(base), Some(bytes)) = (base, memory.size_bytes()) {
            ranges.push((base, base.saturating_add(bytes), *id));
        }
    }
    ranges.sort_unstable_by_key(|(start, _, _)| *start);
    for pair in ranges.windows(2) {
        if let [(_, end, before), (start, _, after)] = pair
            && start < end
        {
            return Err(Error::AddressInUse {
                device: plan.describe(*after),
                address: format!("physical address 0x{start:x}"),
                occupant: plan.describe(*before),
                free: Some(format!("0x{end:x}").into()),
            });
        }
    }
    Ok(())
}
