//! Guests with many devices of a kind get the places that follow from those before.

use capscache_devaddr::{DevicePolicy, Policy, SlotKind};
use capscache_domain::{ControllerType, Device, DeviceKind, Guest, Kind};

use crate::guests::{addresses, assigned, controllers, error};

fn libvirt(arch: &str, machine: &str, devices: &str) -> Guest {
    assigned(arch, machine, devices, &Policy::default())
}

fn disk(device: &Device) -> Option<&str> {
    match &device.device {
        DeviceKind::Disk(disk) => Some(&disk.dev),
        _ => None,
    }
}

fn disks(guest: &Guest) -> Vec<&str> {
    guest.devices.iter().filter_map(disk).collect()
}

#[test]
fn registers_of_many_consoles_leave_out_those_that_are_given() {
    let at = |reg: &str| {
        format!(
            "<serial type='pty'><target type='spapr-vio-serial' port='0'/>\
             <address type='spapr-vio' reg='{reg}'/></serial>"
        )
    };
    let free = "<serial type='pty'><target type='spapr-vio-serial'/></serial>".repeat(3);
    let devices = format!("{}{}{free}", at("0x30001000"), at("0x30003000"));
    let guest = libvirt("ppc64", "pseries", &devices);
    let registers = ["0x30001000", "0x30003000", "0x30000000", "0x30002000", "0x30004000"];
    let registers = registers.map(|reg| format!("spapr-vio reg {reg}"));
    assert_eq!(addresses(&guest, Kind::Serial), registers);
}

#[test]
fn disks_of_a_bus_lie_side_by_side_in_the_order_of_their_names() {
    let disk = |dev: &str, bus: &str| format!("<disk><target dev='{dev}' bus='{bus}'/></disk>");
    let devices = [
        ("vdaa", "virtio"),
        ("sdb", "sata"),
        ("vdb", "virtio"),
        ("sdc", "usb"),
        ("sda", "sata"),
        ("vdz", "virtio"),
        ("sdd", "sata"),
    ];
    let devices: String = devices.map(|(dev, bus)| disk(dev, bus)).concat();
    let guest = libvirt("x86_64", "q35", &devices);
    assert_eq!(disks(&guest), ["vdb", "vdz", "vdaa", "sda", "sdb", "sdd", "sdc"]);
}

#[test]
fn disks_with_the_same_index_stay_in_the_order_in_which_they_are_given() {
    // The index of a name does not depend on its prefix.
    let devices = "<disk><target dev='vdb' bus='usb'/></disk><disk><target dev='sdb' bus='usb'/></disk>\
        <disk><target dev='sda' bus='usb'/></disk>";
    let guest = libvirt("x86_64", "q35", devices);
    assert_eq!(disks(&guest), ["sda", "vdb", "sdb"]);
}

#[test]
fn controllers_without_an_index_get_the_free_ones_of_their_type() {
    let with = |r#type: &str, index: u32| format!("<controller type='{type}' index='{index}'/>");
    let without = |r#type: &str| format!("<controller type='{type}'/>");
    let devices = [
        without("virtio-serial"),
        with("virtio-serial", 1),
        without("ccid"),
        without("virtio-serial"),
        with("virtio-serial", 3),
        without("virtio-serial"),
        without("ccid"),
    ];
    let guest = libvirt("x86_64", "q35", &devices.concat());
    let indexes = |r#type| -> Vec<Option<u32>> {
        controllers(&guest, r#type).iter().map(|controller| controller.index).collect()
    };
    assert_eq!(indexes(ControllerType::VirtioSerial), [0, 1, 2, 3, 4].map(Some));
    assert_eq!(indexes(ControllerType::Ccid), [0, 1].map(Some));
}

#[test]
fn more_controllers_of_a_type_than_there_are_indexes_are_refused() {
    let many = "<controller type='ccid'/>".repeat(1025);
    assert_eq!(
        error("q35", &many).to_string(),
        "cannot use ccid controller: its index is 1024, and the limit is 1023; use a smaller one"
    );
}

#[test]
fn scsi_devices_of_the_host_fill_the_units_of_one_controller_after_another() {
    let hostdev = |unit: u32| {
        format!(
            "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/>\
             <address bus='0' target='0' unit='{unit}'/></source></hostdev>"
        )
    };
    let models = "<controller type='scsi' index='0' model='lsilogic'/>\
        <controller type='scsi' index='1' model='virtio-scsi'/>";
    // Unit 0 of the first controller is that of a disk.
    let disks = "<disk><target dev='sda' bus='scsi'/></disk><disk><target dev='sdb' bus='scsi'/>\
        <address type='drive' controller='1' unit='8'/></disk>";
    let devices = format!("{models}{disks}{}", (0..30).map(hostdev).collect::<String>());
    let guest = libvirt("x86_64", "q35", &devices);
    let places = (0..5).flat_map(|controller| (0..7).map(move |unit| (controller, unit)));
    let expected = places
        .skip(1)
        .map(|(controller, unit)| format!("controller {controller} bus 0 target 0 unit {unit}"));
    assert_eq!(addresses(&guest, Kind::Hostdev), expected.take(30).collect::<Vec<_>>());
}

#[test]
fn smart_cards_get_the_slots_after_the_greatest() {
    let free = "<smartcard mode='host'/>";
    let at = |controller: u32, slot: u32| {
        format!(
            "<smartcard mode='host'><address type='ccid' controller='{controller}' slot='{slot}'/></smartcard>"
        )
    };
    let devices = [free.to_owned(), at(1, 9), at(0, 4), free.to_owned(), free.to_owned()];
    let guest = libvirt("x86_64", "q35", &devices.concat());
    let expected = [(0, 5), (1, 9), (0, 4), (0, 6), (0, 7)];
    let expected =
        expected.map(|(controller, slot)| format!("ccid controller {controller} slot {slot}"));
    assert_eq!(addresses(&guest, Kind::Smartcard), expected);
}

#[test]
fn a_policy_names_devices_by_alias_by_name_and_by_position() {
    let devices = "<disk><target dev='vda'/></disk>\
        <interface type='user'><mac address='52:54:00:AB:00:01'/><model type='virtio'/></interface>\
        <rng model='virtio'><alias name='ua-dice'/></rng><rng model='virtio'/>";
    let names = ["vda", "52:54:00:ab:00:01", "ua-dice", "rng/1"];
    let rule = |name: &str| DevicePolicy {
        device: name.to_owned(),
        slot: Some(SlotKind::Pci),
        ..DevicePolicy::default()
    };
    let policy = Policy { devices: names.map(rule).into(), ..Policy::default() };
    let guest = assigned("x86_64", "q35", devices, &policy);
    for kind in [Kind::Disk, Kind::Interface, Kind::Rng] {
        // The bus of a conventional bridge, whose first slot is 1.
        let all = addresses(&guest, kind);
        assert!(all.iter().all(|address| !address.ends_with(":00.0")), "{all:?}");
    }
}
