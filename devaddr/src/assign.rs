//! The steps in which a guest gets its devices and addresses.

use capscache_domain::Guest;

use crate::error::Error;
use crate::explain::{Reason, Report};
use crate::facts::Facts;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::{ccw, check, dimm, drive, implicit, mmio, pci, spapr_vio, usb, virtio_serial};

/// Completes a guest: adds the devices that it has without saying so, chooses models, adds the controllers that its
/// devices need, and gives every device an address. What has an address keeps it.
///
/// The devices of the guest are in libvirt's order afterwards. The report says why each of them is where it is. If
/// an error is returned, the guest is unchanged.
///
/// # Errors
/// [`Error`], if a given address is not valid or taken, or if there is no place for a device.
pub fn assign(guest: &mut Guest, facts: &Facts, policy: &Policy) -> Result<Report, Error> {
    complete(guest, facts, policy, false)
}

/// Completes a guest; one that runs, if `plugs` is true: PCI controllers are not added then, and devices are placed
/// where they can be plugged.
pub(crate) fn complete(
    guest: &mut Guest,
    facts: &Facts,
    policy: &Policy,
    plugs: bool,
) -> Result<Report, Error> {
    check::check_ranges(&guest.devices)?;
    let mut devices = guest.devices.clone();
    implicit::prepare(&mut devices);
    let mut plan = Plan::new(guest, devices, facts, policy)?;
    plan.plugs = plugs;
    implicit::complete(&mut plan)?;
    check::check_types(&plan)?;
    drive::check(&plan)?;
    virtio_serial::assign(&mut plan)?;
    spapr_vio::assign(&mut plan)?;
    ccw::assign(&mut plan)?;
    mmio::assign(&mut plan);
    pci::assign(&mut plan)?;
    usb::assign(&mut plan)?;
    dimm::assign(&mut plan)?;
    let (arch, machine) = (plan.machine.arch.clone(), plan.machine.name.clone());
    let (devices, reasons) = plan.finish();
    guest.devices = devices;
    // What was left open decides the addresses: another emulator may have another default.
    guest.os.arch.get_or_insert(arch);
    guest.os.machine.get_or_insert(machine);
    let reasons = reasons.into_iter().map(|(device, why)| Reason { device, why }).collect();
    Ok(Report { facts: facts.source(), reasons })
}
