//! Guests that are changed and written.

use capscache_domain::{Address, DeviceKind, Guest, Hex, PciAddress};

const GUEST: &str = "<domain type='kvm'>
  <name>first</name>
  <!-- A remark. -->
  <memory unit='MiB'>512</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='pci' index='1' model='pcie-root-port'>
      <target chassis='1' port='0x08'/>
    </controller>
    <memballoon model='virtio'>
      <stats period='10'/>
    </memballoon>
  </devices>
  <seclabel type='none'/>
</domain>
";

#[test]
fn a_guest_is_written_as_it_was_read() {
    let expected = GUEST.replace("  <!-- A remark. -->\n", "");
    assert_eq!(Guest::from_xml(GUEST).unwrap().to_xml(), expected);
}

#[test]
fn changed_fields_and_addresses_are_written_in_their_places() {
    let mut guest = Guest::from_xml(GUEST).unwrap();
    let DeviceKind::Controller(controller) = &mut guest.devices[1].device else { panic!() };
    controller.port = Some(Hex(0x10));
    controller.model_name = Some("pcie-root-port".into());
    guest.devices[2].address = Some(Address::Pci(PciAddress::new(1, 0)));
    let written = guest.to_xml();
    assert!(
        written.contains("<target chassis='1' port='0x10'/>\n      <model name='pcie-root-port'/>")
    );
    assert!(written.contains(
        "<stats period='10'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </memballoon>"
    ));
}

#[test]
fn a_guest_without_devices_gets_a_place_for_them() {
    let guest = Guest::from_xml("<domain type='qemu'><os><type>hvm</type></os></domain>").unwrap();
    assert!(guest.to_xml().contains("<devices/>"));
}
