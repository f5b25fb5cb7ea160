//! Guests for the tests.

use capscache_devaddr::{Error, Facts, Policy, assign};
use capscache_domain::{Address, Controller, ControllerModel, ControllerType, Device, Guest, Kind};

/// Reads a guest with these devices.
pub(crate) fn guest(arch: &str, machine: &str, devices: &str) -> Guest {
    let text = format!(
        "<domain type='kvm'><os><type arch='{arch}' machine='{machine}'>hvm</type></os>\
         <cpu><numa><cell id='0' cpus='0' memory='1'/><cell id='1' cpus='1' memory='1'/></numa></cpu>\
         <devices>{devices}</devices></domain>"
    );
    Guest::from_xml(&text).unwrap()
}

/// Assigns addresses without an emulator.
pub(crate) fn assigned(arch: &str, machine: &str, devices: &str, policy: &Policy) -> Guest {
    let mut guest = guest(arch, machine, devices);
    assign(&mut guest, &Facts::built_in(arch), policy).unwrap();
    guest
}

/// Assigns addresses on q35 by libvirt's rules, which must fail.
pub(crate) fn error(machine: &str, devices: &str) -> Error {
    let mut guest = guest("x86_64", machine, devices);
    let before = guest.clone();
    let error = assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap_err();
    assert_eq!(guest, before, "a guest is unchanged after an error");
    error
}

/// The addresses of the devices of a kind, in order.
pub(crate) fn addresses(guest: &Guest, kind: Kind) -> Vec<String> {
    let of_kind = guest.devices.iter().filter(|device| device.device.kind() == kind);
    of_kind.map(shown).collect()
}

pub(crate) fn shown(device: &Device) -> String {
    match &device.address {
        Some(Address::Pci(pci)) => pci.to_string(),
        Some(address) => address.to_string(),
        None => "-".to_owned(),
    }
}

/// The controllers of a type.
pub(crate) fn controllers(guest: &Guest, r#type: ControllerType) -> Vec<&Controller> {
    let all = guest.devices.iter().filter_map(Device::controller);
    all.filter(|controller| controller.r#type == r#type).collect()
}

/// The models of the PCI controllers, by index.
pub(crate) fn models(guest: &Guest) -> Vec<ControllerModel> {
    let mut all = controllers(guest, ControllerType::Pci);
    all.sort_by_key(|controller| controller.index);
    all.iter().map(|controller| controller.model.unwrap()).collect()
}
