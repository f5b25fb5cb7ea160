//! Rules that differ from libvirt's.

use std::collections::HashMap;

use capscache_devaddr::{DevicePolicy, Error, Facts, Policy, SlotKind, assign};
use capscache_domain::{
    Address, ControllerModel as Model, ControllerType, Device, Guest, Kind, Switch,
};

use crate::guests::{addresses, assigned, controllers, guest, models};

const DISKS: &str = "<disk><target dev='vda'/></disk><disk><target dev='vdb'/></disk>";

fn for_device(device: &str) -> DevicePolicy {
    DevicePolicy { device: device.to_owned(), ..DevicePolicy::default() }
}

/// The number of hotpluggable root ports without a device.
fn free_ports(guest: &Guest) -> usize {
    let used = |bus: u32| {
        let on_bus = |d: &Device| matches!(&d.address, Some(Address::Pci(a)) if a.bus == bus);
        guest.devices.iter().any(on_bus)
    };
    let ports = controllers(guest, ControllerType::Pci);
    let is_free = |c: &&&capscache_domain::Controller| {
        c.model == Some(Model::PcieRootPort)
            && c.hotplug != Some(Switch::Off)
            && !used(c.index.unwrap())
    };
    ports.iter().filter(is_free).count()
}

#[test]
fn a_number_of_ports_stays_free() {
    for spare in [0, 1, 5] {
        let policy = Policy { spare: Some(spare), ..Policy::default() };
        let mut guest = assigned("x86_64", "q35", DISKS, &policy);
        assert_eq!(free_ports(&guest), spare as usize);
        // Also the second time, and although the controllers are there.
        assign(&mut guest, &Facts::built_in("x86_64"), &policy).unwrap();
        assert_eq!(free_ports(&guest), spare as usize);
    }
}

#[test]
fn more_spare_slots_than_a_guest_has_place_for_are_refused() {
    for (machine, expanders, count) in
        [("q35", false, 300), ("q35", false, 240), ("pc", false, 9000), ("q35", true, 127)]
    {
        let policy = Policy { spare: Some(count), expanders, ..Policy::default() };
        let mut of = guest("x86_64", machine, DISKS);
        let error = assign(&mut of, &Facts::built_in("x86_64"), &policy).unwrap_err();
        assert_eq!(error, Error::TooManySpare { count }, "{machine}");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot keep {count} slots spare: the guest has no place for so many spare slots; use a smaller number"
            )
        );
    }
}

#[test]
fn a_node_is_one_of_the_ids_of_the_cells_and_not_of_their_positions() {
    let with_cells = |ids: [u32; 2]| {
        let mut of = guest("x86_64", "q35", DISKS);
        for (cell, id) in of.numa.iter_mut().zip(ids) {
            cell.id = id;
        }
        of
    };
    let near = |node| {
        let rule = DevicePolicy { node: Some(node), ..for_device("vda") };
        Policy { devices: vec![rule], ..Policy::default() }
    };
    let facts = Facts::built_in("x86_64");
    for node in [0, 1, 2, 6, 8] {
        let error = assign(&mut with_cells([5, 7]), &facts, &near(node)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot place disk vda near NUMA node {node}: the guest has nodes 5 and 7; add the node, or use \
                 another one"
            )
        );
    }
    for node in [5, 7] {
        let mut of = with_cells([5, 7]);
        assign(&mut of, &facts, &near(node)).unwrap();
        assert_eq!(node_of(&of, &addresses(&of, Kind::Disk)[0]), Some(node));
    }
    let mut of = with_cells([5, 7]);
    let expanders = Policy { expanders: true, ..Policy::default() };
    assign(&mut of, &facts, &expanders).unwrap();
    let nodes = controllers(&of, ControllerType::Pci).into_iter().filter_map(|c| c.node);
    assert_eq!(nodes.collect::<Vec<_>>(), [5, 7]);
    let error = assign(&mut with_cells([5, 5]), &facts, &Policy::default()).unwrap_err();
    assert_eq!(error, Error::DuplicateNode { node: 5 });
}

#[test]
fn two_rules_for_one_device_are_refused() {
    for (first, second) in [("vdb", "vdb"), ("vdb", "disk/1"), ("disk/1", "VDB")] {
        let rules = ["vda", first, second].map(for_device);
        let policy = Policy { devices: rules.into(), ..Policy::default() };
        let mut of = guest("x86_64", "q35", DISKS);
        let error = assign(&mut of, &Facts::built_in("x86_64"), &policy).unwrap_err();
        let (device, first, second) = ("disk vdb".into(), first.into(), second.into());
        assert_eq!(error, Error::DuplicateRule { device, first, second });
    }
    let policy = Policy { devices: ["vdb", "disk/1"].map(for_device).into(), ..Policy::default() };
    let mut of = guest("x86_64", "q35", DISKS);
    let error = assign(&mut of, &Facts::built_in("x86_64"), &policy).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot apply the policy: its rules for \"vdb\" and \"disk/1\" are both for disk vdb; use one rule"
    );
}

#[test]
fn virtio_can_be_conventional() {
    let policy = Policy { slot: Some(SlotKind::Pci), ..Policy::default() };
    let guest = assigned("x86_64", "q35", DISKS, &policy);
    assert!(models(&guest).contains(&Model::PcieToPciBridge));
    assert_eq!(addresses(&guest, Kind::Disk), ["0000:02:02.0", "0000:02:03.0"]);
    let one = DevicePolicy { slot: Some(SlotKind::Pci), ..for_device("vdb") };
    let guest =
        assigned("x86_64", "q35", DISKS, &Policy { devices: vec![one], ..Policy::default() });
    let bus = |at: usize| addresses(&guest, Kind::Disk)[at][5..7].to_owned();
    let model = |bus: String| models(&guest)[usize::from_str_radix(&bus, 16).unwrap()];
    assert_eq!((model(bus(0)), model(bus(1))), (Model::PcieRootPort, Model::PcieToPciBridge));
}

#[test]
fn conventional_devices_can_be_on_pcie_ports() {
    let policy = Policy { slot: Some(SlotKind::Pcie), ..Policy::default() };
    let guest = assigned("x86_64", "q35", "<sound model='ac97'/>", &policy);
    assert!(models(&guest)[1..].iter().all(|model| *model == Model::PcieRootPort));
    assert_eq!(addresses(&guest, Kind::Sound), ["0000:01:00.0"]);
}

#[test]
fn ports_can_be_without_hotplug() {
    let one = DevicePolicy { hotplug: Some(false), ..for_device("vda") };
    let policy = Policy { devices: vec![one], spare: Some(1), ..Policy::default() };
    let guest = assigned("x86_64", "q35", DISKS, &policy);
    let ports = controllers(&guest, ControllerType::Pci);
    let off = ports.iter().filter(|port| port.hotplug == Some(Switch::Off));
    let off: Vec<String> =
        off.map(|port| format!("0000:{:02x}:00.0", port.index.unwrap())).collect();
    assert_eq!(off, addresses(&guest, Kind::Disk)[..1]);
    assert_eq!(free_ports(&guest), 1);
}

#[test]
fn functions_can_share_slots() {
    let policy = Policy { packed: true, ..Policy::default() };
    let guest = assigned("x86_64", "q35", DISKS, &policy);
    assert_eq!(addresses(&guest, Kind::Disk), ["0000:01:00.1", "0000:01:00.2"]);
    let usb = &guest
        .devices
        .iter()
        .find(|d| d.controller().is_some_and(|c| c.r#type == ControllerType::Usb));
    let address = usb.unwrap().address.as_ref().unwrap().pci().unwrap();
    assert_eq!((address.function, address.multifunction), (0, Some(Switch::On)));
    // Not the one that is to stay on its own.
    let alone = DevicePolicy { packed: Some(false), ..for_device("vda") };
    let policy = Policy { packed: true, devices: vec![alone], ..Policy::default() };
    let guest = assigned("x86_64", "q35", DISKS, &policy);
    let functions: HashMap<String, u32> = [("vda".into(), 0), ("vdb".into(), 1)].into();
    for (disk, address) in ["vda", "vdb"].iter().zip(addresses(&guest, Kind::Disk)) {
        assert!(address.ends_with(&functions[*disk].to_string()), "{disk} {address}");
    }
}

#[test]
fn devices_are_placed_below_an_expander_of_their_node() {
    let near = |device: &str, node| DevicePolicy { node: Some(node), ..for_device(device) };
    let policy = Policy { devices: vec![near("vda", 0), near("vdb", 1)], ..Policy::default() };
    for (arch, machine) in [("x86_64", "q35"), ("aarch64", "virt")] {
        let guest = assigned(arch, machine, DISKS, &policy);
        for (disk, address) in addresses(&guest, Kind::Disk).iter().enumerate() {
            assert_eq!(node_of(&guest, address), Some(u32::try_from(disk).unwrap()), "{machine}");
        }
        let expanders = controllers(&guest, ControllerType::Pci);
        let numbers: Vec<u32> = expanders.iter().filter_map(|c| c.bus_nr).collect();
        assert_eq!(numbers.len(), 2);
        // Room for the expander, the port below it, and the buses of the other expander.
        assert!(
            numbers.iter().all(|number| *number <= 253) && numbers[0].abs_diff(numbers[1]) >= 2
        );
        // Others are not on an expander.
        let others = addresses(&guest, Kind::Memballoon);
        assert!(others.iter().all(|address| node_of(&guest, address).is_none()));
    }
}

#[test]
fn expanders_of_conventional_machines_hold_devices_themselves() {
    let near = DevicePolicy { node: Some(1), ..for_device("vdb") };
    let policy = Policy { devices: vec![near], ..Policy::default() };
    let guest = assigned("x86_64", "pc", DISKS, &policy);
    assert_eq!(models(&guest), [Model::PciRoot, Model::PciExpanderBus]);
    assert_eq!(addresses(&guest, Kind::Disk)[1], "0000:01:00.0");
    let guest = assigned("ppc64", "pseries", DISKS, &policy);
    assert_eq!(models(&guest), [Model::PciRoot, Model::PciRoot]);
    let bridge = controllers(&guest, ControllerType::Pci)[1];
    assert_eq!((bridge.node, bridge.target_index), (Some(1), Some(1)));
}

#[test]
fn every_node_can_have_an_expander() {
    let policy = Policy { expanders: true, ..Policy::default() };
    let guest = assigned("x86_64", "q35", DISKS, &policy);
    let expanders = controllers(&guest, ControllerType::Pci);
    let nodes: Vec<u32> = expanders.iter().filter_map(|c| c.node).collect();
    assert_eq!(nodes, [0, 1]);
    let mut again = guest.clone();
    assign(&mut again, &Facts::built_in("x86_64"), &policy).unwrap();
    assert_eq!(again, guest);
}

#[test]
fn a_rule_for_a_device_that_is_not_there_is_an_error() {
    let mut guest = guest("x86_64", "q35", DISKS);
    let policy = Policy { devices: vec![for_device("vdz")], ..Policy::default() };
    let error = assign(&mut guest, &Facts::built_in("x86_64"), &policy).unwrap_err();
    assert_eq!(error, Error::UnknownDevice { name: "vdz".into() });
    let near = DevicePolicy { node: Some(7), ..for_device("disk/1") };
    let policy = Policy { devices: vec![near], ..Policy::default() };
    let error = assign(&mut guest, &Facts::built_in("x86_64"), &policy).unwrap_err();
    assert_eq!(
        error,
        Error::UnknownNode { device: "disk vdb".into(), node: 7, nodes: [0, 1].into() }
    );
}

#[test]
fn a_rule_for_a_device_that_is_not_on_pci_is_an_error() {
    let mut guest = guest("x86_64", "q35", "<disk><target dev='sda' bus='sata'/></disk>");
    let near = DevicePolicy { node: Some(1), ..for_device("sda") };
    let policy = Policy { devices: vec![near], ..Policy::default() };
    let error = assign(&mut guest, &Facts::built_in("x86_64"), &policy).unwrap_err();
    assert!(matches!(error, Error::Conflict { device, .. } if device == "disk sda"));
}

#[test]
fn conventional_machines_pack_and_expand_as_well() {
    let policy = Policy { packed: true, expanders: true, spare: Some(1), ..Policy::default() };
    let guest = assigned("x86_64", "pc", DISKS, &policy);
    assert_eq!(addresses(&guest, Kind::Disk), ["0000:00:04.0", "0000:00:04.1"]);
    assert_eq!(models(&guest), [Model::PciRoot, Model::PciExpanderBus, Model::PciExpanderBus]);
}

#[test]
fn policy_guest_and_report_are_json() {
    let policy: Policy = serde_json::from_str(
        r#"{"spare": 4, "slot": "pcie", "devices": [{"device": "vda", "node": 1, "hotplug": false}]}"#,
    )
    .unwrap();
    let mut guest: Guest = serde_json::from_str(
        r#"{"os": {"arch": "x86_64", "machine": "q35"},
            "numa": [{"id": 0}, {"id": 1}],
            "devices": [{"device": {"kind": "disk", "dev": "vda", "bus": "virtio"}}]}"#,
    )
    .unwrap();
    let report = assign(&mut guest, &Facts::built_in("x86_64"), &policy).unwrap();
    assert_eq!(free_ports(&guest), 4);
    assert_eq!(node_of(&guest, &addresses(&guest, Kind::Disk)[0]), Some(1));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["facts"], "built-in");
    assert_eq!(json["reasons"][0], serde_json::json!({"device": 0, "why": "near-node"}));
    let unknown = serde_json::from_str::<Policy>(r#"{"spares": 4}"#).unwrap_err();
    assert!(unknown.to_string().contains("unknown field `spares`"));
}

/// The node of the bus of an address.
fn node_of(guest: &Guest, address: &str) -> Option<u32> {
    let mut bus = u32::from_str_radix(&address[5..7], 16).unwrap();
    while bus > 0 {
        let is_it = |d: &&Device| {
            d.controller().is_some_and(|c| c.r#type == ControllerType::Pci && c.index == Some(bus))
        };
        let device = guest.devices.iter().find(is_it).unwrap();
        if let Some(node) = device.controller().unwrap().node {
            return Some(node);
        }
        bus = device.address.as_ref().unwrap().pci().unwrap().bus;
    }
    None
}

#[test]
fn a_bridge_leaves_the_ports_of_other_devices() {
    let interface = "<interface type='user'><model type='virtio'/></interface>";
    let devices = interface.repeat(4) + "<sound model='ac97'/>";
    // Each interface is with hotplug, without, or either.
    for choice in 0..81 {
        let rules = (0..4).map(|n| DevicePolicy {
            hotplug: [None, Some(true), Some(false)][choice / 3_usize.pow(n) % 3],
            ..for_device(&format!("interface/{n}"))
        });
        for hotplug in [None, Some(true), Some(false)] {
            let policy = Policy { hotplug, devices: rules.clone().collect(), ..Policy::default() };
            let guest = assigned("x86_64", "q35", &devices, &policy);
            for (rule, at) in policy.devices.iter().zip(addresses(&guest, Kind::Interface)) {
                let port = controllers(&guest, ControllerType::Pci)
                    .into_iter()
                    .find(|c| format!("0000:{:02x}:00.0", c.index.unwrap()) == at);
                let is_hotpluggable = port.unwrap().hotplug != Some(Switch::Off);
                let wanted = rule.hotplug.or(hotplug);
                assert!(wanted.is_none_or(|wanted| wanted == is_hotpluggable), "{policy:?}");
            }
        }
    }
}

#[test]
fn an_expander_has_a_slot_of_a_full_root_bus() {
    let interface = "<interface type='user'><model type='virtio'/></interface>";
    let policy = Policy { expanders: true, ..Policy::default() };
    for count in 20..100 {
        let guest = assigned("x86_64", "pc", &interface.repeat(count), &policy);
        let nodes = controllers(&guest, ControllerType::Pci).into_iter().filter_map(|c| c.node);
        assert_eq!(nodes.collect::<Vec<_>>(), [0, 1], "{count} interfaces");
        // The other devices belong to no node.
        for at in addresses(&guest, Kind::Interface) {
            assert_eq!(node_of(&guest, &at), None, "{count} interfaces");
        }
    }
}

#[test]
fn a_machine_without_expanders_has_no_bus_of_a_node() {
    let expanders = Policy { expanders: true, ..Policy::default() };
    let near = DevicePolicy { node: Some(1), ..for_device("vda") };
    let near = Policy { devices: vec![near], ..Policy::default() };
    for (policy, device) in [(expanders, "a spare slot"), (near, "disk vda")] {
        for arch in ["riscv64", "loongarch64"] {
            let mut of = guest(arch, "virt", DISKS);
            let error = assign(&mut of, &Facts::built_in(arch), &policy).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "cannot place {device}: machine virt has no PCI bus of a NUMA node; leave nodes and expanders out \
                     of the policy"
                )
            );
        }
    }
}
