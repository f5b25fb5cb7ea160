//! Errors name the device, the address, what is there, and what would fit.

use capscache_devaddr::{Error, Facts, Policy, assign};

use crate::guests::{error, guest};

fn message(machine: &str, devices: &str) -> String {
    error(machine, devices).to_string()
}

#[test]
fn an_address_that_is_taken() {
    let at_5 = "<address type='pci' slot='5'/>";
    let devices = format!("<sound model='ac97'>{at_5}</sound><rng model='virtio'>{at_5}</rng>");
    assert_eq!(
        message("pc", &devices),
        "cannot place rng at PCI 0000:00:05.0: sound device ac97 is there already; 0000:00:02.0 would fit; use that, \
         or leave the address out"
    );
}

#[test]
fn a_slot_of_the_chipset() {
    let devices = "<rng model='virtio'><address type='pci' slot='0x1f'/></rng>";
    assert!(matches!(
        error("q35", devices),
        Error::AddressInUse { device, occupant, .. }
            if device == "rng" && occupant == "a part of the chipset"
    ));
}

#[test]
fn a_bus_of_the_wrong_kind() {
    let devices = "<controller type='pci' index='1' model='pcie-root-port'/>\
        <controller type='pci' index='2' model='pcie-root-port'><address type='pci' bus='1'/></controller>";
    assert_eq!(
        message("q35", devices),
        "cannot place pci controller 2 (pcie-root-port) at PCI 0000:01:00.0: PCI controller 1 (pcie-root-port) accepts \
         PCIe devices, pcie-switch-upstream-port, pcie-to-pci-bridge, and the device requires a slot for \
         pcie-root-port; 0000:00:01.0 would fit; use that, or leave the address out"
    );
}

#[test]
fn a_slot_that_the_bus_does_not_have() {
    let devices = "<controller type='pci' index='1' model='pcie-root-port'/>\
        <rng model='virtio'><address type='pci' bus='1' slot='2'/></rng>";
    assert!(matches!(
        error("q35", devices),
        Error::OutOfRange { range, controller, .. }
            if range == "slots 0 to 0" && controller == "PCI controller 1 (pcie-root-port)"
    ));
}

#[test]
fn a_function_whose_slot_has_no_function_0() {
    let devices = "<rng model='virtio'><address type='pci' slot='5' function='1'/></rng>";
    assert!(
        matches!(error("pc", devices), Error::FunctionZeroMissing { device, .. } if device == "rng")
    );
}

#[test]
fn a_controller_that_is_not_there() {
    let channel = "<channel type='unix'><target type='virtio'/>\
        <address type='virtio-serial' controller='0' port='40'/></channel>";
    assert!(
        matches!(error("q35", channel), Error::OutOfRange { range, .. } if range == "31 ports")
    );
    let hub = "<input type='tablet' bus='usb'><address type='usb' bus='3' port='1'/></input>";
    assert!(
        matches!(error("q35", hub), Error::UnknownController { bus, .. } if bus == "USB controller 3")
    );
    let hub = "<input type='tablet' bus='usb'><address type='usb' bus='0' port='1.1'/></input>";
    assert!(
        matches!(error("q35", hub), Error::UnknownController { bus, .. } if bus == "hub on port 1 of USB controller 0")
    );
}

#[test]
fn an_address_of_another_type() {
    let devices = "<disk><target dev='sda' bus='scsi'/><address type='pci' slot='4'/></disk>";
    assert!(matches!(
        error("pc", devices),
        Error::WrongAddressType { expected: "a drive address", .. }
    ));
    let devices = "<shmem name='s'><address type='isa'/></shmem>";
    assert!(matches!(
        error("pc", devices),
        Error::WrongAddressType { expected: "a PCI address", .. }
    ));
}

#[test]
fn a_part_of_the_board_at_another_place() {
    let devices = "<controller type='sata' index='0'><address type='pci' slot='3'/></controller>";
    assert_eq!(
        message("q35", devices),
        "cannot place sata controller 0 at PCI 0000:00:03.0: on this machine it is always at PCI 0000:00:1f.2; use that"
    );
}

#[test]
fn controllers_that_contradict_each_other() {
    let two = "<controller type='pci' index='1' model='pcie-root-port'/>".repeat(2);
    assert!(matches!(error("q35", &two), Error::DuplicateController { index: 1, .. }));
    let root = "<controller type='pci' index='0' model='pci-root'/>";
    assert!(
        matches!(error("q35", root), Error::Controller { remedy, .. } if remedy == "use pcie-root")
    );
    let option =
        "<controller type='pci' index='1' model='pcie-root-port'><target busNr='3'/></controller>";
    assert!(
        matches!(error("q35", option), Error::Controller { cause, .. } if cause == "its model has no option busNr")
    );
    let node = "<controller type='pci' index='1' model='pcie-expander-bus'><target><node>2</node></target></controller>";
    assert!(
        matches!(error("q35", node), Error::Controller { cause, .. } if cause == "there is no NUMA node 2: the guest has nodes 0 and 1")
    );
}

#[test]
fn two_drives_at_one_place() {
    let at = "<address type='drive' unit='1'/>";
    let devices = format!(
        "<disk><target dev='sda' bus='sata'/>{at}</disk><disk><target dev='sdc' bus='sata'/>{at}</disk>"
    );
    assert!(matches!(
        error("q35", &devices),
        Error::AddressInUse { device, occupant, free, .. }
            if device == "disk sdc" && occupant == "disk sda" && free.as_deref() == Some("unit 0")
    ));
}

#[test]
fn usb_devices_without_usb() {
    let devices = "<controller type='usb' model='none'/><redirdev type='spicevmc'/>";
    assert!(
        matches!(error("q35", devices), Error::Conflict { device, .. } if device == "redirected USB device")
    );
}

#[test]
fn a_machine_without_pci() {
    let devices = "<memballoon model='virtio'/>";
    assert!(matches!(error("isapc", devices), Error::NoBus { bus: "PCI bus", .. }));
}

#[test]
fn more_controllers_than_pci_has_buses() {
    let many: String = (0..300).map(|n| format!("<interface type='user'><mac address='52:54:00:00:{:02x}:{:02x}'/><model type='virtio'/></interface>", n / 256, n % 256)).collect();
    assert!(matches!(error("q35", &many), Error::NoFreeSlot { .. }));
}

#[test]
fn a_number_that_is_too_great_is_named_with_its_device_and_the_limit() {
    let cases = [
        (
            "<controller type='scsi' index='1024' model='virtio-scsi'/>",
            "scsi controller 1024 (virtio-scsi): its index is 1024, and the limit is 1023",
        ),
        (
            "<controller type='pci' index='300' model='pcie-root-port'/>\
             <controller type='pci' index='256' model='pcie-root-port'/>",
            "pci controller 300 (pcie-root-port): its index is 300, and the limit is 255",
        ),
        (
            "<disk><target dev='sda' bus='scsi'/></disk>\
             <disk><target dev='sdb' bus='scsi'/><address type='drive' controller='5000'/></disk>",
            "disk sdb: the controller of its address is 5000, and the limit is 1023",
        ),
        (
            "<channel type='unix'><target type='virtio' name='org.agent'/>\
             <address type='virtio-serial' controller='2000'/></channel>",
            "channel org.agent: the controller of its address is 2000, and the limit is 1023",
        ),
        (
            "<smartcard mode='host'><address type='ccid' controller='1024' slot='0'/></smartcard>",
            "smartcard: the controller of its address is 1024, and the limit is 1023",
        ),
    ];
    for (devices, said) in cases {
        assert_eq!(message("q35", devices), format!("cannot use {said}; use a smaller one"));
    }
}

#[test]
fn more_devices_than_any_machine_has() {
    let devices = "<rng model='virtio'/>".repeat(20_000);
    let limit = 16384;
    assert_eq!(
        error("q35", &devices),
        Error::TooMany { what: "the number of devices", found: 20_000, limit }
    );
}

#[test]
fn two_devices_at_one_ccw_address_are_refused_on_any_machine_of_s390() {
    let rng = "<rng model='virtio'><address type='ccw' cssid='0xfe' ssid='0' devno='3'/></rng>";
    for machine in ["s390-ccw-virtio", "s390-future", "none"] {
        let mut two = guest("s390x", machine, &format!("{rng}{rng}"));
        let error = assign(&mut two, &Facts::built_in("s390x"), &Policy::default()).unwrap_err();
        assert!(matches!(error, Error::AddressInUse { .. }), "{machine}: {error}");
        let mut one = guest("s390x", machine, rng);
        assign(&mut one, &Facts::built_in("s390x"), &Policy::default()).unwrap();
    }
}
