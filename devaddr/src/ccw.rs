//! Channel devices of s390.

use std::collections::HashMap;

use capscache_domain::{Address, CcwAddress, DeviceKind, HostdevModel};

use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::machine::Board;
use crate::order::visited;
use crate::plan::Plan;
use crate::virtio::is_virtio;

/// The channel subsystem of virtual devices.
const VIRTUAL: u32 = 0xfe;

/// The largest device number.
const MAX_DEVNO: u32 = 0xffff;

/// Gives channel devices the lowest free device numbers.
pub(crate) fn assign(plan: &mut Plan<'_>) -> Result<(), Error> {
    let ids = visited(plan);
    let mut used: HashMap<CcwAddressKey, Id> = HashMap::new();
    let mut wanted = Vec::new();
    for id in ids {
        match plan.address(id) {
            Some(Address::Ccw(address)) if *address == CcwAddress::UNASSIGNED => wanted.push(id),
            Some(Address::Ccw(address)) => {
                let address = address.clone();
                if let Some(other) = used.insert(key(&address), id) {
                    return Err(in_use(plan, &used, id, other, &address));
                }
            }
            None if is_channel_device(plan.kind(id)) => wanted.push(id),
            _ => {}
        }
    }
    // Numbers by hand are unique on any machine.
    if plan.machine.board != Board::Ccw {
        return Ok(());
    }
    let mut next = CcwAddress { cssid: VIRTUAL, ssid: 0, devno: 0 };
    for id in wanted {
        while used.contains_key(&key(&next)) {
            increment(&mut next).ok_or_else(|| Error::NoFreeSlot {
                device: plan.describe(id),
                place: "device number".to_owned(),
                remedy: "remove devices",
            })?;
        }
        used.insert(key(&next), id);
        plan.place(id, Address::Ccw(next.clone()), Why::LowestNumber);
    }
    Ok(())
}

type CcwAddressKey = (u32, u32, u32);

fn key(address: &CcwAddress) -> CcwAddressKey {
    (address.cssid, address.ssid, address.devno)
}

fn increment(address: &mut CcwAddress) -> Option<()> {
    if address.devno < MAX_DEVNO {
        address.devno += 1;
    } else if address.ssid < 3 {
        address.ssid += 1;
        address.devno = 0;
    } else {
        return None;
    }
    Some(())
}

fn is_channel_device(kind: &DeviceKind) -> bool {
    match kind {
        DeviceKind::Filesystem(_) | DeviceKind::Vsock(_) => true,
        DeviceKind::Hostdev(h) if h.model == Some(HostdevModel::VfioCcw) => true,
        _ => is_virtio(kind),
    }
}

fn in_use(
    plan: &Plan<'_>,
    used: &HashMap<CcwAddressKey, Id>,
    id: Id,
    other: Id,
    address: &CcwAddress,
) -> Error {
    let mut free = CcwAddress { cssid: VIRTUAL, ssid: 0, devno: 0 };
    let mut has_free = true;
    while has_free && used.contains_key(&key(&free)) {
        has_free = increment(&mut free).is_some();
    }
    Error::AddressInUse {
        device: plan.describe(id),
        address: format!("ccw {address}"),
        occupant: plan.describe(other),
        free: has_free.then(|| free.to_string().into()),
    }
}
