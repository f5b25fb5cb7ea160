//! Guests that this crate assigned addresses to.

use capscache_devaddr::{Facts, Policy, assign};
use capscache_domain::{
    ChannelType, ControllerModel as Model, Device, DeviceKind, DiskBus, SoundModel,
};

use crate::build::{Build, disk, nic, tablet, usb};
use crate::check::{Outcome, run};
use crate::guests;
use crate::plan::{Plan, describe};
use crate::random::check;

type Named = (&'static str, Build);

/// Assigns addresses to guests of a machine, and compares with its emulator.
fn compare(guests: Vec<Named>) {
    let mut wrong = Vec::new();
    let mut names = Vec::new();
    let mut plans = Vec::new();
    for (name, build) in guests {
        let mut guest = build.0;
        let facts = Facts::built_in(guest.os.arch.as_deref().unwrap());
        if let Err(error) = assign(&mut guest, &facts, &Policy::default()) {
            wrong.push(format!("{name}: {error}"));
            continue;
        }
        for device in guest.devices.iter().filter(|device| lacks_address(device)) {
            wrong.push(format!("{name}: {} has no address", describe(device)));
        }
        let plan = Plan::new(&guest);
        if !plan.can_start() {
            return;
        }
        names.push(name.to_owned());
        plans.push(plan);
    }
    check(&names, &plans, wrong);
}

/// Returns true for a device that should have an address and has none.
fn lacks_address(device: &Device) -> bool {
    let needs_one = match &device.device {
        DeviceKind::Disk(_)
        | DeviceKind::Interface(_)
        | DeviceKind::Filesystem(_)
        | DeviceKind::Hostdev(_)
        | DeviceKind::Rng(_)
        | DeviceKind::Hub(_)
        | DeviceKind::Shmem(_)
        | DeviceKind::Memory(_)
        | DeviceKind::Vsock(_)
        | DeviceKind::Crypto(_)
        | DeviceKind::Redirdev(_)
        | DeviceKind::Video(_) => true,
        DeviceKind::Channel(channel) => channel.target_type == Some(ChannelType::Virtio),
        DeviceKind::Sound(sound) => !matches!(sound.model, SoundModel::Pcspk | SoundModel::Sb16),
        _ => false,
    };
    needs_one && device.address.is_none()
}

#[test]
fn devices_of_pc_are_where_they_should_be() {
    compare(guests::pc());
}

#[test]
fn devices_of_q35_are_where_they_should_be() {
    compare(guests::q35());
}

#[test]
fn devices_of_virt_of_aarch64_are_where_they_should_be() {
    compare(guests::virt("aarch64"));
}

#[test]
fn devices_of_virt_of_armv7l_are_where_they_should_be() {
    compare(guests::virt("armv7l"));
}

#[test]
fn devices_of_virt_of_riscv64_are_where_they_should_be() {
    compare(guests::virt("riscv64"));
}

#[test]
fn devices_of_virt_of_loongarch64_are_where_they_should_be() {
    compare(guests::virt("loongarch64"));
}

#[test]
fn devices_of_pseries_are_where_they_should_be() {
    compare(guests::pseries());
}

#[test]
fn devices_of_s390_ccw_virtio_are_where_they_should_be() {
    compare(guests::s390());
}

/// Places that follow libvirt's rules, and that QEMU refuses when the guest starts: an error of this crate would be
/// earlier.
#[test]
fn qemu_refuses_some_places_of_libvirt_s_rules() {
    let pc = || Build::new("x86_64", "pc");
    for (name, guest, reason) in [
        ("a second floppy controller", pc().many(3, |n| disk("fd", DiskBus::Fdc, n)), "in use"),
        (
            "a hub of USB 1 on USB 2",
            pc().with(usb(0, Model::Ehci)).many(8, tablet),
            "speed mismatch",
        ),
    ] {
        let mut guest = guest.0;
        if assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).is_err() {
            continue;
        }
        let plan = Plan::new(&guest);
        if !plan.can_start() {
            return;
        }
        let outcome = run(&plan);
        assert!(
            matches!(&outcome, Outcome::Refuses(m) if m.contains(reason)),
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn a_switch_is_not_placed_behind_itself() {
    compare(vec![guests::switch_alone()]);
}

#[test]
fn any_number_of_interfaces_has_places() {
    for number in (10..=600).step_by(10) {
        let mut guest = Build::new("x86_64", "pc").many(number, |_| nic("virtio")).0;
        let assigned = assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default());
        assert!(assigned.is_ok(), "{number} interfaces: {assigned:?}");
    }
    let guest = Build::new("x86_64", "pc").many(270, |_| nic("virtio"));
    compare(vec![("270 interfaces", guest)]);
}
