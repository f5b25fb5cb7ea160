//! Settings that a guest with memory devices has without naming them.

use capscache_devaddr::{Definition, Policy};
use capscache_domain::{DeviceKind, Guest, MemoryModel, NumaCell, kib};

/// Adds the NUMA cell that a new guest has if memory can be plugged in, and puts memory devices into it.
pub(in crate::command) fn complete(guest: &mut Guest, policy: &Policy) {
    let can_grow = guest.max_memory.as_ref().is_some_and(|max| max.kib > 0 || max.slots > 0);
    let machine = guest.os.machine.as_deref().unwrap_or_default();
    if policy.definition != Definition::New
        || !can_grow
        || machine.starts_with("s390-ccw")
        || !guest.numa.is_empty()
    {
        return;
    }
    let mut memory = guest.memory_kib.unwrap_or(0);
    for device in &mut guest.devices {
        let DeviceKind::Memory(device) = &mut device.device else { continue };
        let size = device.size.map(|size| size.to_string()).unwrap_or_default();
        let size = kib(&size, device.size_unit.as_deref()).unwrap_or(0);
        memory = memory.saturating_sub(size);
        if matches!(device.model, MemoryModel::Dimm | MemoryModel::Nvdimm | MemoryModel::VirtioMem)
        {
            device.node.get_or_insert(0);
        }
    }
    guest.numa.push(NumaCell { id: 0, cpus: None, memory_kib: Some(memory) });
}
