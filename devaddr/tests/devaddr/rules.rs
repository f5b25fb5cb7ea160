//! libvirt's rules, one test each.

use capscache_devaddr::{Definition, Error, Facts, Policy, Source, assign};
use capscache_domain::{
    Address, ControllerModel as Model, ControllerType, Device, DeviceKind, Disk, DiskBus, Guest,
    Kind, Switch, Unknown,
};

use crate::guests::{addresses, assigned, controllers, guest, models};

fn libvirt(arch: &str, machine: &str, devices: &str) -> Guest {
    assigned(arch, machine, devices, &Policy::default())
}

#[test]
fn root_ports_share_slots_and_one_stays_free_on_q35() {
    let guest = libvirt("x86_64", "q35", "<disk><target dev='vda'/></disk>");
    // USB, disk, balloon, and a spare one.
    assert_eq!(models(&guest)[1..], [Model::PcieRootPort; 4]);
    let ports = controllers(&guest, ControllerType::Pci);
    let numbers: Vec<u32> = ports.iter().filter_map(|port| Some(port.port?.0)).collect();
    assert_eq!(numbers, [8, 9, 10, 11]);
    assert_eq!(addresses(&guest, Kind::Disk), ["0000:02:00.0"]);
    assert_eq!(addresses(&guest, Kind::Memballoon), ["0000:03:00.0"]);
    let first = guest.devices.iter().find(|d| d.controller().is_some_and(|c| c.index == Some(1)));
    let address = first.unwrap().address.as_ref().unwrap().pci().unwrap();
    assert_eq!(
        (address.to_string().as_str(), address.multifunction),
        ("0000:00:01.0", Some(Switch::On))
    );
}

#[test]
fn a_ninth_root_port_opens_a_slot() {
    let disks: String =
        ('a'..='h').map(|c| format!("<disk><target dev='vd{c}'/></disk>")).collect();
    let guest = libvirt("x86_64", "q35", &disks);
    let ports: Vec<String> = addresses(&guest, Kind::Controller);
    assert!(ports.contains(&"0000:00:01.7".to_owned()), "{ports:?}");
    assert!(ports.contains(&"0000:00:02.0".to_owned()), "{ports:?}");
}

#[test]
fn a_conventional_device_on_pcie_gets_a_bridge_behind_a_port() {
    let guest = libvirt("x86_64", "q35", "<sound model='ac97'/>");
    assert_eq!(models(&guest)[..3], [Model::PcieRoot, Model::PcieRootPort, Model::PcieToPciBridge]);
    assert_eq!(addresses(&guest, Kind::Sound), ["0000:02:01.0"]);
}

#[test]
fn an_emulator_without_that_bridge_gets_two_others() {
    let mut guest = crate::guests::guest("x86_64", "q35", "<sound model='ac97'/>");
    let facts = Facts::built_in("x86_64").without("pcie-pci-bridge");
    assign(&mut guest, &facts, &Policy::default()).unwrap();
    assert_eq!(models(&guest)[..3], [Model::PcieRoot, Model::DmiToPciBridge, Model::PciBridge]);
    assert_eq!(addresses(&guest, Kind::Sound), ["0000:02:01.0"]);
}

#[test]
fn a_bus_that_a_device_names_is_added() {
    let at_2 = "<rng model='virtio'><address type='pci' bus='2' slot='4'/></rng>";
    let guest = libvirt("x86_64", "pc", at_2);
    assert_eq!(models(&guest), [Model::PciRoot, Model::PciBridge, Model::PciBridge]);
    assert_eq!(addresses(&guest, Kind::Rng), ["0000:02:04.0"]);
    // On PCIe, the first of two buses is the port of a bridge, which libvirt puts a conventional device behind.
    let at_1 = "<sound model='ac97'><address type='pci' bus='1' slot='4'/></sound>";
    let guest = libvirt("x86_64", "q35", at_1);
    assert_eq!(models(&guest)[..3], [Model::PcieRoot, Model::PcieRootPort, Model::PcieToPciBridge]);
    assert_eq!(addresses(&guest, Kind::Sound), ["0000:02:04.0"]);
}

#[test]
fn an_element_that_is_not_understood_is_carried_through() {
    let text = "<domain type='kvm'><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
        <lamp on='yes'><shade/></lamp><rng model='virtio' colour='red'/></devices></domain>";
    let mut guest = Guest::from_xml_with(text, Unknown::Keep).unwrap();
    assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap();
    let written = guest.to_xml();
    assert!(written.contains("<lamp on='yes'>\n      <shade/>\n    </lamp>"), "{written}");
    assert!(
        written.contains("<rng model='virtio' colour='red'>\n      <address type='pci'"),
        "{written}"
    );
}

#[test]
fn devices_of_i440fx_have_their_places() {
    let guest = libvirt(
        "x86_64",
        "pc",
        "<disk><target dev='hda'/></disk><interface type='user'/><graphics type='vnc'/>",
    );
    assert_eq!(addresses(&guest, Kind::Video), ["0000:00:02.0"]);
    assert_eq!(addresses(&guest, Kind::Interface), ["0000:00:03.0"]);
    assert_eq!(addresses(&guest, Kind::Controller), ["0000:00:01.2", "-", "0000:00:01.1"]);
    assert_eq!(addresses(&guest, Kind::Disk), ["controller 0 bus 0 target 0 unit 0"]);
}

#[test]
fn a_conventional_bus_gets_a_bridge_before_it_is_full() {
    let disks = |count: u32| -> String {
        let name = |n: u32| {
            let letter = |n: u32| char::from(b'a' + u8::try_from(n).unwrap());
            if n < 26 { letter(n).to_string() } else { format!("a{}", letter(n - 26)) }
        };
        (0..count).map(|n| format!("<disk><target dev='vd{}'/></disk>", name(n))).collect()
    };
    // Thirty slots, of which the balloon has one and the spare slot another.
    let guest = libvirt("x86_64", "pc", &disks(28));
    assert_eq!(models(&guest), [Model::PciRoot]);
    let guest = libvirt("x86_64", "pc", &disks(29));
    assert_eq!(models(&guest), [Model::PciRoot, Model::PciBridge]);
    let bridge = controllers(&guest, ControllerType::Pci)[1];
    assert_eq!((bridge.index, bridge.chassis_nr), (Some(1), Some(1)));
}

#[test]
fn scsi_disks_are_placed_by_name_on_controllers_that_are_added() {
    let guest = libvirt("x86_64", "pc", "<disk><target dev='sdq' bus='scsi'/></disk>");
    assert_eq!(addresses(&guest, Kind::Disk), ["controller 2 bus 0 target 0 unit 2"]);
    let scsi = controllers(&guest, ControllerType::Scsi);
    assert_eq!(scsi.len(), 3);
    assert_eq!(scsi[0].model, Some(Model::Lsilogic));
}

#[test]
fn disks_of_a_bus_are_sorted_by_name() {
    let guest = libvirt(
        "x86_64",
        "q35",
        "<disk><target dev='vdb'/></disk><disk><target dev='sda' bus='sata'/></disk>\
         <disk><target dev='vda'/></disk>",
    );
    let names: Vec<String> = guest
        .devices
        .iter()
        .filter_map(|device| match &device.device {
            capscache_domain::DeviceKind::Disk(disk) => Some(disk.dev.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["vda", "vdb", "sda"]);
}

#[test]
fn a_disk_without_a_bus_is_sorted_apart_from_those_that_name_it() {
    let disks = "<disk><target dev='vdb'/></disk><disk><target dev='vdc' bus='virtio'/></disk>
        <disk><target dev='vda' bus='virtio'/></disk>";
    let guest = libvirt("x86_64", "pc", disks);
    let disk = |device: &Device| match &device.device {
        DeviceKind::Disk(disk) => Some((disk.dev.clone(), disk.bus)),
        _ => None,
    };
    let virtio = |dev: &str| (dev.to_owned(), Some(DiskBus::Virtio));
    let disks: Vec<_> = guest.devices.iter().filter_map(disk).collect();
    assert_eq!(disks, [virtio("vdb"), virtio("vda"), virtio("vdc")]);
}

#[test]
fn a_balloon_that_the_guest_does_not_have_has_no_address() {
    let balloon = "<memballoon model='none'><address type='pci' slot='2'/></memballoon>";
    let guest = libvirt("x86_64", "pc", &format!("{balloon}<rng model='virtio'/>"));
    assert_eq!(addresses(&guest, Kind::Rng), ["0000:00:02.0"]);
}

#[test]
fn usb_2_controllers_share_a_slot_at_their_place_on_q35() {
    let guest = libvirt(
        "x86_64",
        "q35",
        "<controller type='usb' model='ich9-ehci1'/><controller type='usb' model='ich9-uhci1'/>\
         <controller type='usb' model='ich9-uhci2'/><controller type='usb' model='ich9-uhci3'/>",
    );
    let all = addresses(&guest, Kind::Controller);
    assert_eq!(all[..4], ["0000:00:1d.7", "0000:00:1d.0", "0000:00:1d.1", "0000:00:1d.2"]);
    let ports = controllers(&guest, ControllerType::Usb);
    let first_ports: Vec<Option<u32>> = ports.iter().map(|c| c.master_startport).collect();
    assert_eq!(first_ports, [None, Some(0), Some(2), Some(4)]);
}

#[test]
fn a_hub_is_added_when_ports_run_out() {
    let guest = libvirt("x86_64", "pc", &"<input type='tablet' bus='usb'/>".repeat(3));
    assert_eq!(addresses(&guest, Kind::Hub), ["USB bus 0 port 1"]);
    let ports = addresses(&guest, Kind::Input);
    assert_eq!(ports[..3], ["USB bus 0 port 2", "USB bus 0 port 1.1", "USB bus 0 port 1.2"]);
}

#[test]
fn usb_devices_of_an_older_guest_stay_without_ports() {
    let policy = Policy { definition: Definition::Existing, ..Policy::default() };
    let guest = assigned("x86_64", "pc", "<input type='tablet' bus='usb'/>", &policy);
    assert_eq!(addresses(&guest, Kind::Input)[0], "-");
}

#[test]
fn consoles_share_port_0_and_channels_take_ports_from_1() {
    let channel = "<channel type='unix'><target type='virtio'/></channel>";
    let console = "<console type='pty'><target type='virtio'/></console>";
    let guest = libvirt("x86_64", "q35", &format!("{channel}{console}{console}{channel}"));
    let ports = addresses(&guest, Kind::Channel);
    assert_eq!(ports, ["virtio-serial controller 0 port 1", "virtio-serial controller 0 port 2"]);
}

#[test]
fn a_full_virtio_serial_controller_gets_a_second_one() {
    let channel = "<channel type='unix'><target type='virtio'/></channel>";
    let guest = libvirt("x86_64", "q35", &channel.repeat(31));
    let ports = addresses(&guest, Kind::Channel);
    assert_eq!(ports[29], "virtio-serial controller 0 port 30");
    assert_eq!(ports[30], "virtio-serial controller 1 port 1");
}

#[test]
fn channel_devices_of_s390_are_numbered_by_kind() {
    let guest = libvirt(
        "s390x",
        "s390-ccw-virtio",
        "<interface type='user'/><disk><target dev='vda'/></disk><rng model='virtio'/>",
    );
    assert_eq!(addresses(&guest, Kind::Disk), ["ccw fe.0.0000"]);
    assert_eq!(addresses(&guest, Kind::Interface), ["ccw fe.0.0001"]);
    assert_eq!(addresses(&guest, Kind::Memballoon), ["ccw fe.0.0002"]);
    assert_eq!(addresses(&guest, Kind::Rng), ["ccw fe.0.0003"]);
}

#[test]
fn pci_functions_of_s390_have_identifiers() {
    let guest = libvirt("s390x", "s390-ccw-virtio", "<controller type='usb' model='qemu-xhci'/>");
    let address = guest.devices[0].address.as_ref().unwrap().pci().unwrap();
    let zpci = address.zpci.as_ref().unwrap();
    assert_eq!((zpci.uid, zpci.fid), (Some(1), Some(0)));
}

#[test]
fn pseries_has_virtual_io_and_many_host_bridges() {
    let guest = libvirt(
        "ppc64",
        "pseries",
        "<serial type='pty'/><serial type='pty'/>\
         <hostdev mode='subsystem' type='pci'><source><address domain='0' bus='1' slot='0' \
         function='0'/></source></hostdev>",
    );
    let ports = addresses(&guest, Kind::Serial);
    assert_eq!(ports, ["spapr-vio reg 0x30000000", "spapr-vio reg 0x30001000"]);
    assert_eq!(models(&guest), [Model::PciRoot, Model::PciRoot]);
    assert_eq!(addresses(&guest, Kind::Hostdev), ["0000:01:01.0"]);
    let bridges = controllers(&guest, ControllerType::Pci);
    assert_eq!(bridges[1].model_name.as_deref(), Some("spapr-pci-host-bridge"));
    assert_eq!(bridges[1].target_index, Some(1));
}

#[test]
fn virt_uses_virtio_mmio_only_if_a_device_does() {
    let disk = "<disk><target dev='vda'/></disk>";
    let guest = libvirt("aarch64", "virt", disk);
    assert_eq!(addresses(&guest, Kind::Disk), ["0000:01:00.0"]);
    let rng = "<rng model='virtio'><address type='virtio-mmio'/></rng>";
    let guest = libvirt("aarch64", "virt", &format!("{disk}{rng}"));
    assert_eq!(addresses(&guest, Kind::Disk), ["virtio-mmio"]);
    let guest = libvirt("armv7l", "vexpress-a9", disk);
    assert_eq!(addresses(&guest, Kind::Disk), ["virtio-mmio"]);
}

#[test]
fn memory_devices_take_the_lowest_slots() {
    let dimm = "<memory model='dimm'><target><size>1</size></target></memory>";
    let placed = "<memory model='dimm'><target><size>1</size></target><address type='dimm' slot='0'/></memory>";
    let mut guest = crate::guests::guest("x86_64", "q35", &format!("{dimm}{placed}{dimm}"));
    guest.max_memory = Some(capscache_domain::MaxMemory { kib: 4096, slots: 4 });
    assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap();
    assert_eq!(
        addresses(&guest, Kind::Memory),
        ["memory slot 1", "memory slot 0", "memory slot 2"]
    );
}

#[test]
fn more_than_255_cpus_need_an_iommu_on_q35() {
    for (vcpus, count) in [(255, 0), (256, 1)] {
        let mut guest = Guest::new("x86_64", "q35");
        guest.vcpus = vcpus;
        assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap();
        let iommus = guest.devices.iter().filter(|d| d.device.kind() == Kind::Iommu);
        assert_eq!(iommus.count(), count);
    }
}

#[test]
fn the_report_says_why_a_device_is_where_it_is() {
    let mut guest = Guest::new("x86_64", "q35");
    guest.add(Disk { bus: Some(DiskBus::Virtio), ..Disk::new("vda".to_owned()) });
    let report = assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap();
    assert_eq!(report.facts, Source::BuiltIn);
    let lines = report.lines(&guest);
    assert_eq!(lines[0], "disk vda at PCI 0000:02:00.0: the lowest free slot that accepts it");
    let spare = lines.iter().find(|line| line.starts_with("pci controller 4")).unwrap();
    assert_eq!(
        *spare,
        "pci controller 4 (pcie-root-port) at PCI 0000:00:01.3: it keeps a slot free for a device that is added later; \
         the lowest free slot that accepts it"
    );
}

#[test]
fn a_device_without_a_name_of_its_own_has_its_kind_and_position_in_the_report() {
    let model = "<model type='virtio'/>";
    let devices = format!(
        "<interface type='user'>{model}</interface>\
         <interface type='user'><mac address='52:54:00:00:00:01'/>{model}</interface>\
         <interface type='user'>{model}</interface>\
         <rng model='virtio'/><rng model='virtio'/>\
         <sound model='ac97'/><sound model='es1370'/><sound model='ac97'/>"
    );
    let mut guest = guest("x86_64", "pc", &devices);
    let report = assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap();
    let lines = report.lines(&guest);
    let names = lines.iter().filter_map(|line| line.split_once(" at PCI ")).map(|(name, _)| name);
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "usb controller 0 (piix3-uhci)",
            "interface/0",
            "interface 52:54:00:00:00:01",
            "interface/2",
            "sound/0",
            "sound device es1370",
            "sound/2",
            "memory balloon",
            "rng/0",
            "rng/1",
        ]
    );
}

#[test]
fn an_address_that_was_there_before_is_given() {
    let mut guest = libvirt("x86_64", "q35", "<disk><target dev='vda'/></disk>");
    let report = assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap();
    let lines = report.lines(&guest);
    assert_eq!(lines[0], "disk vda at PCI 0000:02:00.0: the address was given");
    let (given, without): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line.ends_with("the address was given"));
    assert!(without.iter().all(|line| line.ends_with("it needs no address")), "{without:?}");
    assert_eq!((given.len(), without.len()), (8, 4), "the root bus, PS/2 and the watchdog");
}

#[test]
fn a_completed_guest_does_not_change() {
    for (arch, machine) in
        [("x86_64", "q35"), ("x86_64", "pc"), ("s390x", "s390-ccw-virtio"), ("ppc64", "pseries")]
    {
        let disk = "<disk><target dev='vda'/></disk>";
        let tablet = "<input type='tablet' bus='usb'/>";
        let devices = if arch == "s390x" { disk.to_owned() } else { format!("{disk}{tablet}") };
        let mut guest = libvirt(arch, machine, &devices);
        let before = guest.clone();
        assign(&mut guest, &Facts::built_in(arch), &Policy::default()).unwrap();
        assert_eq!(guest, before, "{machine}");
    }
}

#[test]
fn bridges_that_are_added_have_places_themselves() {
    // Every number fills the buses to another slot: some fill them exactly.
    for (machine, model) in [("pc", "virtio"), ("q35", "e1000")] {
        let interface = format!("<interface type='user'><model type='{model}'/></interface>");
        for count in (20..=130).chain([270, 300, 400, 600]) {
            let guest = libvirt("x86_64", machine, &interface.repeat(count));
            for device in &guest.devices {
                let bridge = device.controller().filter(|c| c.model == Some(Model::PciBridge));
                if let (Some(bridge), Some(Address::Pci(address))) = (bridge, &device.address) {
                    assert!(Some(address.bus) < bridge.index, "{machine} {count}: {bridge:?}");
                }
            }
        }
    }
}

#[test]
fn a_bridge_is_not_placed_on_its_own_bus() {
    // Interfaces by hand leave no slot of the root bus.
    let interface = |slot| {
        format!("<interface type='user'><address type='pci' bus='0' slot='{slot}'/></interface>")
    };
    let full: String = (2..32).map(interface).collect();
    for more in ["<controller type='pci' index='1' model='pci-bridge'/>", "<rng model='virtio'/>"] {
        let error = crate::guests::error("pc", &format!("{full}<memballoon model='none'/>{more}"));
        assert!(matches!(error, Error::NoFreeSlot { .. }), "{more}: {error}");
    }
}

/// PCI controllers of these models, by index from 1 on.
fn controllers_without_places(models: &[Model]) -> String {
    let numbered = models.iter().enumerate();
    numbered
        .map(|(n, m)| format!("<controller type='pci' index='{}' model='{m}'/>", n + 1))
        .collect()
}

#[test]
fn a_switch_is_not_placed_behind_itself() {
    use Model::{
        PcieRootPort as Port, PcieSwitchDownstreamPort as Down, PcieSwitchUpstreamPort as Up,
    };
    // The bus of each controller that is given, and the controllers that are added.
    for (given, buses, added) in [
        // A switch alone gets a port.
        (&[Up, Down][..], &[3, 1][..], &[Port][..]),
        (&[Down, Up], &[2, 3], &[Port]),
        // A port that is there is used, wherever its index is.
        (&[Up, Down, Port], &[3, 1, 0], &[]),
        (&[Port, Up, Down], &[0, 1, 2], &[]),
        // A switch may be behind another one.
        (&[Up, Down, Up, Down], &[5, 1, 2, 1], &[Port]),
        (&[Down, Up, Down, Up], &[2, 5, 2, 1], &[Port]),
    ] {
        let devices = controllers_without_places(given) + "<memballoon model='none'/>";
        let guest = libvirt("x86_64", "q35", &(devices + "<controller type='usb' model='none'/>"));
        assert_eq!(models(&guest)[1..], [given, added].concat(), "{given:?}");
        let mut placed: Vec<(u32, u32)> = Vec::new();
        for device in &guest.devices {
            if let (Some(controller), Some(Address::Pci(address))) =
                (device.controller().filter(|c| c.r#type == ControllerType::Pci), &device.address)
            {
                placed.push((controller.index.unwrap(), address.bus));
            }
        }
        placed.sort_unstable();
        let placed: Vec<u32> = placed.into_iter().map(|(_, bus)| bus).collect();
        assert_eq!(placed[..given.len()], *buses, "{given:?}");
    }
}

#[test]
fn pseries_has_31_host_bridges() {
    let interface = "<interface type='user'><model type='virtio'/></interface>";
    let board = "<memballoon model='none'/><controller type='usb' model='none'/>";
    let facts = Facts::built_in("ppc64");
    let guest = |count| {
        crate::guests::guest("ppc64", "pseries", &(board.to_owned() + &interface.repeat(count)))
    };
    // One slot of the first is kept while host bridges are counted.
    let mut full = guest(31 * 31 - 1);
    assign(&mut full, &facts, &Policy::default()).unwrap();
    let targets = controllers(&full, ControllerType::Pci).into_iter().map(|c| c.target_index);
    assert_eq!(targets.max(), Some(Some(30)));
    let before = full.clone();
    assign(&mut full, &facts, &Policy::default()).unwrap();
    assert_eq!(full, before);
    let error = assign(&mut guest(31 * 31), &facts, &Policy::default()).unwrap_err();
    assert!(error.to_string().ends_with("at most 31 host bridges: remove devices"), "{error}");
    assert!(matches!(error, Error::NoFreeSlot { .. }), "{error:?}");
}

#[test]
fn a_guest_that_is_complete_stays_as_it_is() {
    // A controller gets a number that is greater than that of one behind it.
    for r#type in ["ccid", "scsi", "virtio-serial", "sata", "usb", "pci"] {
        let model = if r#type == "pci" { "model='pcie-root-port'" } else { "" };
        for indexes in [&["", "index='0'"][..], &["", "index='2'", "", "index='0'", ""]] {
            let controllers = indexes.iter();
            let devices: String = controllers
                .map(|index| format!("<controller type='{type}' {index} {model}/>"))
                .collect();
            let devices =
                devices.replace("index='0' model='pcie-root-port'", "index='0' model='pcie-root'");
            let mut guest = libvirt("x86_64", "q35", &devices);
            let before = guest.clone();
            assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap();
            assert_eq!(guest.to_xml(), before.to_xml(), "{type}");
        }
    }
}
