//! Guests without XML.

use capscache_domain::{
    Address, Controller, ControllerModel, ControllerType, DeviceKind, DiskBus, Guest,
};
use serde_json::json;

#[test]
fn a_guest_is_built_from_a_minimal_json() {
    let guest: Guest = serde_json::from_value(json!({
        "os": {"arch": "x86_64", "machine": "q35"},
        "devices": [
            {"device": {"kind": "disk", "dev": "vda", "bus": "virtio"}},
            {"device": {"kind": "hub", "type": "usb"}, "address": {"type": "usb", "bus": 0, "port": "1.2"}},
            {"device": {"kind": "sound", "model": "ac97"}, "address": {"type": "pci", "slot": 3}},
        ],
    }))
    .unwrap();
    let DeviceKind::Disk(disk) = &guest.devices[0].device else { panic!() };
    assert_eq!((disk.dev.as_str(), disk.bus), ("vda", Some(DiskBus::Virtio)));
    let Some(Address::Pci(pci)) = &guest.devices[2].address else { panic!() };
    assert_eq!(pci.to_string(), "0000:00:03.0");
    assert_eq!(
        guest.to_xml(),
        "<domain type='kvm'>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
  </os>
  <devices>
    <disk>
      <target dev='vda' bus='virtio'/>
    </disk>
    <sound model='ac97'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
    </sound>
    <hub type='usb'>
      <address type='usb' bus='0' port='1.2'/>
    </hub>
  </devices>
</domain>
"
    );
}

#[test]
fn a_key_that_is_not_known_is_an_error() {
    let device = json!({"device": {"kind": "disk", "dev": "vda", "colour": "red"}});
    let error = serde_json::from_value::<capscache_domain::Device>(device).unwrap_err();
    assert!(error.to_string().contains("unknown field `colour`"), "{error}");
}

#[test]
fn json_and_xml_give_the_same_guest() {
    let mut guest = Guest::new("x86_64", "q35");
    guest.name = Some("first".into());
    guest.add(Controller {
        model: Some(ControllerModel::PcieRoot),
        index: Some(0),
        ..Controller::new(ControllerType::Pci)
    });
    let json = serde_json::to_string(&guest).unwrap();
    assert_eq!(serde_json::from_str::<Guest>(&json).unwrap(), guest);
    let read = Guest::from_xml(&guest.to_xml()).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
}
