//! Identifiers of PCI functions on s390.

use std::collections::HashMap;

use capscache_domain::{Address, DeviceKind, Zpci};

use crate::devices::Id;
use crate::error::Error;
use crate::order::visited;
use crate::plan::Plan;

/// The largest user-defined identifier.
const MAX_UID: u32 = 0xffff;

/// Gives each PCI function its identifiers, and refuses them on other machines.
pub(super) fn assign(plan: &mut Plan<'_>) -> Result<(), Error> {
    let ids = visited(plan);
    if !plan.machine.has_zpci {
        let given =
            |id: &Id| matches!(plan.address(*id), Some(Address::Pci(a)) if a.zpci.is_some());
        return match ids.into_iter().find(given) {
            Some(id) => Err(Error::NoBus {
                device: plan.describe(id),
                machine: plan.machine.name.clone(),
                bus: "zPCI identifiers",
                remedy: "remove <zpci> from the address",
            }),
            None => Ok(()),
        };
    }
    let mut uids = HashMap::new();
    let mut fids = HashMap::new();
    for given in [true, false] {
        for id in &ids {
            let is_character = matches!(
                plan.kind(*id),
                DeviceKind::Serial(_)
                    | DeviceKind::Parallel(_)
                    | DeviceKind::Channel(_)
                    | DeviceKind::Console(_)
            );
            let Some(Address::Pci(address)) = plan.address(*id) else { continue };
            let zpci = address.zpci.clone().unwrap_or_default();
            let has_some = zpci.uid.is_some() || zpci.fid.is_some();
            if is_character || has_some != given {
                continue;
            }
            let uid = number(plan, &mut uids, *id, zpci.uid, 1, "uid")?;
            if uid == 0 || uid > MAX_UID {
                return Err(Error::OutOfRange {
                    device: plan.describe(*id),
                    address: format!("zPCI uid 0x{uid:x}"),
                    controller: "the machine".to_owned(),
                    range: "uids from 0x1 to 0xffff".to_owned(),
                    free: None,
                });
            }
            let fid = number(plan, &mut fids, *id, zpci.fid, 0, "fid")?;
            if let Some(Address::Pci(address)) = &mut plan.devices.get_mut(*id).address {
                address.zpci = Some(Zpci { uid: Some(uid), fid: Some(fid) });
            }
        }
    }
    Ok(())
}

/// Takes the given number, or the lowest free one.
fn number(
    plan: &Plan<'_>,
    used: &mut HashMap<u32, Id>,
    id: Id,
    given: Option<u32>,
    first: u32,
    name: &str,
) -> Result<u32, Error> {
    let free = || (first..=u32::MAX).find(|number| !used.contains_key(number)).unwrap_or(first);
    let number = given.unwrap_or_else(free);
    if let Some(other) = used.get(&number) {
        return Err(Error::AddressInUse {
            device: plan.describe(id),
            address: format!("zPCI {name} 0x{number:x}"),
            occupant: plan.describe(*other),
            free: Some(format!("{name} 0x{:x}", free()).into()),
        });
    }
    used.insert(number, id);
    Ok(number)
}
