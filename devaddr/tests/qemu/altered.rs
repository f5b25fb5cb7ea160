//! The comparison notices each address that is not what the emulator was given.

use capscache_domain::{Address, Device, DeviceKind, Guest};

use crate::build::{pci, scsi_unit, serial_port, usb_port};
use crate::check::{Outcome, compare, run};
use crate::guests::placed;
use crate::plan::Plan;

/// Compares the emulator of one guest with the addresses of another.
fn differences(real: &Guest, expected: &Guest) -> Vec<String> {
    match compare(&Plan::new(real), &Plan::new(expected).expected) {
        Outcome::Differs(differences) => differences,
        other => panic!("{other:?}"),
    }
}

/// The guest with another address for the first device that is chosen.
fn altered(guest: &Guest, choose: impl Fn(&Device) -> bool, address: Address) -> Guest {
    let mut guest = guest.clone();
    guest.devices.iter_mut().find(|device| choose(device)).unwrap().address = Some(address);
    guest
}

#[test]
fn an_altered_address_is_named() {
    let guest = placed().0;
    let plan = Plan::new(&guest);
    if !plan.can_start() {
        return;
    }
    assert!(matches!(run(&plan), Outcome::Agrees(9)), "{:?}", run(&plan));
    let is_disk = |name: &'static str| move |d: &Device| matches!(&d.device, DeviceKind::Disk(disk) if disk.dev == name);
    let is_input = |d: &Device| matches!(d.device, DeviceKind::Input(_));
    let is_channel = |d: &Device| matches!(d.device, DeviceKind::Channel(_));
    for (other, expected) in [
        (
            altered(&guest, is_disk("vda"), pci(1, 3, 0)),
            "disk vda at PCI 0000:01:03.0: addr is 16, not 24",
        ),
        (
            altered(&guest, is_disk("vda"), pci(0, 2, 0)),
            "disk vda at PCI 0000:00:02.0: parent_bus is \"pci.1\", not \"pci.0\"",
        ),
        (
            altered(&guest, is_input, usb_port(0, "1.3")),
            "input at USB bus 0 port 1.3: port is \"1.4\", not \"1.3\"",
        ),
        (
            altered(&guest, is_disk("sda"), scsi_unit(0, 3, 8)),
            "disk sda at controller 0 bus 0 target 3 unit 8: lun is 7, not 8",
        ),
        (
            altered(&guest, is_channel, serial_port(0, 8)),
            "channel at virtio-serial controller 0 port 8: nr is 9, not 8",
        ),
    ] {
        assert_eq!(differences(&guest, &other), [expected]);
    }
}

#[test]
fn two_devices_at_one_address_are_refused() {
    let guest = placed().at(pci(1, 2, 0), crate::build::rng()).0;
    let plan = Plan::new(&guest);
    if !plan.can_start() {
        return;
    }
    let outcome = run(&plan);
    assert!(matches!(&outcome, Outcome::Refuses(m) if m.contains("in use")), "{outcome:?}");
}
