//! Virtio transports in memory, which the machine numbers itself.

use capscache_domain::{Address, Device};

use crate::devices::Id;
use crate::explain::Why;
use crate::plan::Plan;
use crate::virtio::is_virtio;

/// Puts virtio devices on virtio-mmio where the machine has no PCI, or where one of them is there already.
pub(crate) fn assign(plan: &mut Plan<'_>) {
    if !plan.machine.has_mmio() {
        return;
    }
    let is_mmio = |device: &Device| device.address == Some(Address::VirtioMmio);
    if plan.machine.has_pcie() && !plan.devices.iter().any(|(_, device)| is_mmio(device)) {
        return;
    }
    let wanted = |device: &Device| device.address.is_none() && is_virtio(&device.device);
    let ids: Vec<Id> =
        plan.devices.iter().filter(|(_, device)| wanted(device)).map(|(id, _)| id).collect();
    for id in ids {
        plan.place(id, Address::VirtioMmio, Why::NumberedByMachine);
    }
}
