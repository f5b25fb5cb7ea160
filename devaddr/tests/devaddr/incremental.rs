//! One device is added or removed, and no other moves.

use std::collections::HashMap;

use capscache_devaddr::{Error, Facts, Policy, SlotKind, add, assign, plug, remove};
use capscache_domain::{Device, Guest, Kind, Unknown};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};

use crate::guests::{addresses, assigned, shown};

/// Devices that can be added, and where each may be used.
const CHOICES: &[&str] = &[
    "<disk><target dev='vd%' bus='virtio'/></disk>",
    "<disk><target dev='sd%' bus='scsi'/></disk>",
    "<interface type='user'><model type='virtio'/></interface>",
    "<interface type='user'><model type='e1000'/></interface>",
    "<rng model='virtio'/>",
    "<input type='tablet' bus='usb'/>",
    "<channel type='unix'><target type='virtio'/></channel>",
    "<sound model='ac97'/>",
    "<watchdog model='i6300esb'/>",
    "<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='%#' slot='0' function='0'/></source></hostdev>",
    "<controller type='usb' model='ich9-ehci1'/>",
    "<controller type='scsi' model='virtio-scsi'/>",
    "<shmem name='s%'/>",
    "<video><model type='virtio'/></video>",
];

const MACHINES: &[(&str, &str)] = &[
    ("x86_64", "q35"),
    ("x86_64", "pc"),
    ("aarch64", "virt"),
    ("ppc64", "pseries"),
    ("riscv64", "virt"),
    ("loongarch64", "virt"),
];

/// A device, with a name that no other has.
fn device(choice: usize, number: usize) -> Device {
    let letters = format!(
        "{}{}",
        char::from(b'a' + u8::try_from(number / 26 % 26).unwrap()),
        char::from(b'a' + u8::try_from(number % 26).unwrap())
    );
    let text =
        CHOICES[choice].replace("%#", &format!("{}", number % 200 + 1)).replace('%', &letters);
    Device::from_xml(&text, Unknown::Refuse).unwrap()
}

/// The addresses by kind of device; those without an address are counted.
fn placed(guest: &Guest) -> HashMap<String, usize> {
    let mut all = HashMap::new();
    for device in &guest.devices {
        *all.entry(format!("{} at {}", device.device.name(), shown(device))).or_default() += 1;
    }
    all
}

/// All that was there is still there, at its place.
fn assert_unmoved(before: &Guest, after: &Guest) {
    let after = placed(after);
    for (device, count) in placed(before) {
        assert!(after.get(&device).is_some_and(|now| *now >= count), "{device} has moved");
    }
}

prop_compose! {
    /// Any rules for all devices.
    fn policy()(
        spare in prop::option::of(0..4_u32),
        packed in any::<bool>(),
        slot in prop::option::of(any::<bool>()),
        hotplug in prop::option::of(any::<bool>()),
        expanders in any::<bool>(),
    ) -> Policy {
        let slot = slot.map(|is_pcie| if is_pcie { SlotKind::Pcie } else { SlotKind::Pci });
        Policy { spare, packed, slot, hotplug, expanders, ..Policy::default() }
    }
}

/// Cases that fail are added to a file, which is committed.
fn config() -> ProptestConfig {
    const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/devaddr/regressions.txt");
    ProptestConfig {
        cases: 256,
        rng_seed: match ProptestConfig::default().rng_seed {
            RngSeed::Random => RngSeed::Fixed(0),
            fixed @ RngSeed::Fixed(_) => fixed,
        },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn adding_and_removing_moves_no_other_device(
        machine in 0..MACHINES.len(),
        policy in policy(),
        first in prop::collection::vec(0..CHOICES.len(), 0..12),
        changes in prop::collection::vec((any::<bool>(), 0..CHOICES.len(), any::<prop::sample::Index>()), 1..12),
    ) {
        let (arch, machine) = MACHINES[machine];
        let facts = Facts::built_in(arch);
        let mut guest = crate::guests::guest(arch, machine, "");
        for (number, choice) in first.iter().enumerate() {
            guest.devices.push(device(*choice, number));
        }
        if assign(&mut guest, &facts, &policy).is_err() {
            return Ok(());
        }
        for (number, (is_added, choice, index)) in changes.into_iter().enumerate() {
            let before = guest.clone();
            if is_added {
                if add(&mut guest, device(choice, 100 + number), &facts, &policy).is_ok() {
                    prop_assert!(guest.devices.len() > before.devices.len());
                    assert_unmoved(&before, &guest);
                    // What is complete is valid, and stays as it is.
                    let mut again = guest.clone();
                    assign(&mut again, &facts, &policy).unwrap();
                    prop_assert_eq!(placed(&again), placed(&guest));
                } else {
                    prop_assert_eq!(&guest, &before);
                }
            } else if !guest.devices.is_empty() {
                let position = index.index(guest.devices.len());
                match remove(&mut guest, position) {
                    Ok(_) => assert_unmoved(&guest, &before),
                    Err(_) => prop_assert_eq!(&guest, &before),
                }
            }
        }
    }

    #[test]
    fn no_two_devices_have_the_same_address(
        machine in 0..MACHINES.len(),
        policy in policy(),
        choices in prop::collection::vec(0..CHOICES.len(), 0..40),
    ) {
        let (arch, machine) = MACHINES[machine];
        let mut guest = crate::guests::guest(arch, machine, "");
        for (number, choice) in choices.iter().enumerate() {
            guest.devices.push(device(*choice, number));
        }
        if assign(&mut guest, &Facts::built_in(arch), &policy).is_ok() {
            let mut seen = HashMap::new();
            for device in guest.devices.iter().filter(|device| device.device.kind() != Kind::Console) {
                if let Some(address) = &device.address {
                    let other = seen.insert(format!("{} {}", address, device.device.name() == "disk"), shown(device));
                    prop_assert!(other.is_none(), "{}", address);
                }
            }
        }
    }

    #[test]
    fn a_guest_of_any_shape_is_completed_or_refused(text in "[ -~]{0,40}", number in any::<u32>(), kind in 0..5_usize) {
        let devices = [
            format!("<controller type='pci' index='{number}' model='pcie-root-port'/>"),
            format!("<rng model='virtio'><address type='pci' bus='{}' slot='{}'/></rng>", number % 256, number % 32),
            format!("<controller type='virtio-serial' index='{number}' ports='{number}'/>"),
            format!("<disk><target dev='sd' bus='scsi'/><address type='drive' controller='{number}'/></disk>"),
            format!("<input type='tablet' bus='usb'><address type='usb' bus='{number}' port='1.1'/></input>"),
        ];
        let mut guest = crate::guests::guest("x86_64", "q35", &devices[kind]);
        guest.os.machine = Some(text);
        for machine in [None, Some("q35"), Some("pc")] {
            if let Some(machine) = machine {
                guest.os.machine = Some(machine.to_owned());
            }
            let _ = assign(&mut guest.clone(), &Facts::built_in("x86_64"), &Policy::default());
        }
    }
}

#[test]
fn a_reserve_is_full_again_after_each_change() {
    let policy = Policy { spare: Some(2), ..Policy::default() };
    let facts = Facts::built_in("x86_64");
    let mut guest = assigned("x86_64", "q35", "<disk><target dev='vda'/></disk>", &policy);
    let ports = |guest: &Guest| addresses(guest, Kind::Controller).len();
    let before = ports(&guest);
    add(&mut guest, device(0, 1), &facts, &policy).unwrap();
    assert_eq!(ports(&guest), before + 1);
    let disk = guest.devices.iter().rposition(|d| d.device.kind() == Kind::Disk).unwrap();
    remove(&mut guest, disk).unwrap();
    // The port that is free now is a part of the reserve.
    add(&mut guest, device(0, 2), &facts, &policy).unwrap();
    assert_eq!(ports(&guest), before + 1);
}

#[test]
fn a_device_is_plugged_into_the_reserve_and_no_further() {
    let policy = Policy { spare: Some(1), ..Policy::default() };
    let facts = Facts::built_in("x86_64");
    let mut guest = assigned("x86_64", "q35", "", &policy);
    let before = guest.clone();
    plug(&mut guest, device(4, 0), &facts, &policy).unwrap();
    assert_unmoved(&before, &guest);
    let full = guest.clone();
    let error = plug(&mut guest, device(4, 1), &facts, &policy).unwrap_err();
    assert!(matches!(error, Error::NoFreeSlot { device, .. } if device == "rng"));
    assert_eq!(guest, full);
}

#[test]
fn what_other_devices_need_is_not_removed() {
    let mut guest = assigned("x86_64", "q35", "<rng model='virtio'/>", &Policy::default());
    let port = guest
        .devices
        .iter()
        .position(|d| d.controller().is_some_and(|c| c.chassis == Some(1)))
        .unwrap();
    let error = remove(&mut guest, port).unwrap_err();
    assert!(
        matches!(error, Error::InUse { device, .. } if device == "pci controller 1 (pcie-root-port)")
    );
    let count = guest.devices.len();
    assert_eq!(remove(&mut guest, 99).unwrap_err(), Error::NoDevice { position: 99, count });
}

#[test]
fn no_controller_is_added_where_a_device_is_plugged() {
    let policy = Policy { spare: Some(0), ..Policy::default() };
    let plugged = |machine: &str, devices: String, choice: usize| {
        let mut guest = assigned("x86_64", machine, &devices, &policy);
        let before = guest.clone();
        let error = plug(&mut guest, device(choice, 0), &Facts::built_in("x86_64"), &policy);
        assert_eq!(guest, before);
        error.unwrap_err()
    };
    let interface = "<interface type='user'><model type='virtio'/></interface>";
    let expander = "<controller type='pci' index='1' model='pci-expander-bus'>\
        <target><node>0</node></target></controller>";
    // The root bus is full: by what is there, or but for an expander; and one without any port.
    for (machine, devices) in [
        ("pc", format!("{}<memballoon model='none'/>", interface.repeat(30))),
        ("pc", format!("{expander}{}<memballoon model='none'/>", interface.repeat(29))),
        ("q35", String::new()),
    ] {
        // A random number generator, and a sound device.
        for (choice, name) in [(4, "rng"), (7, "sound device ac97")] {
            match plugged(machine, devices.clone(), choice) {
                Error::NoFreeSlot { device, .. } => assert_eq!(device, name),
                error => panic!("{error}"),
            }
        }
    }
    // A channel needs a controller, which has no slot either.
    match plugged("pc", format!("{}<memballoon model='none'/>", interface.repeat(30)), 6) {
        Error::NoFreeSlot { device, .. } => assert!(device.starts_with("channel"), "{device}"),
        error => panic!("{error}"),
    }
}

#[test]
fn a_spare_slot_is_one_that_a_device_can_be_plugged_into() {
    let policy = Policy { spare: Some(1), ..Policy::default() };
    let expander = "<controller type='pci' index='1' model='pci-expander-bus'>\
        <target><node>0</node></target></controller>";
    let interface = "<interface type='user'><model type='virtio'/></interface>";
    for count in 25..35 {
        let devices = format!("{expander}{}", interface.repeat(count));
        let mut guest = assigned("x86_64", "pc", &devices, &policy);
        plug(&mut guest, device(4, 0), &Facts::built_in("x86_64"), &policy).unwrap();
        let rng = &addresses(&guest, Kind::Rng)[0];
        assert!(!rng.starts_with("0000:01:"), "{count} interfaces: {rng} is on the expander");
    }
}
