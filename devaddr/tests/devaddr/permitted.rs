//! Refusals of what libvirt does not permit, and of what its rules leave open.

use capscache_devaddr::{Definition, Error, Facts, Policy, SlotKind, assign};
use capscache_domain::{
    Address, ControllerModel as Model, ControllerType, Guest, Kind, PciAddress,
};

use crate::guests::{addresses, assigned, controllers, guest, models};

/// Returns the error of a guest that is refused.
fn refused(arch: &str, machine: &str, devices: &str) -> Error {
    let mut guest = guest(arch, machine, devices);
    assign(&mut guest, &Facts::built_in(arch), &Policy::default()).unwrap_err()
}

fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Conflict { .. })
}

fn is_wrong_controller(error: &Error) -> bool {
    matches!(error, Error::Controller { .. })
}

fn is_wrong_type(error: &Error) -> bool {
    matches!(error, Error::WrongAddressType { .. })
}

#[test]
fn a_floppy_drive_is_on_fdc_and_nothing_else_is() {
    for disk in [
        "<disk device='floppy'><target dev='fda' bus='sata'/></disk>",
        "<disk><target dev='sda' bus='fdc'/></disk>",
        "<disk device='floppy'><target dev='sda' bus='fdc'/></disk>",
    ] {
        assert!(is_conflict(&refused("x86_64", "pc", disk)), "{disk}");
    }
    let floppy = "<disk device='floppy'><target dev='fda'/></disk>";
    assert!(is_wrong_controller(&refused("ppc64", "pseries", floppy)));
}

#[test]
fn a_disk_has_the_name_of_a_whole_disk() {
    for name in ["vdb1", "nvme0", "disk", "vdaaaaaaaaaaaaaaaaaaaa"] {
        let disk = format!("<disk><target dev='{name}' bus='virtio'/></disk>");
        assert!(is_conflict(&refused("x86_64", "q35", &disk)), "{name}");
    }
}

#[test]
fn an_input_device_is_on_a_bus_that_it_can_be_on() {
    for input in [
        "<input type='tablet' bus='ps2'/>",
        "<input type='mouse' bus='xen'/>",
        "<input type='passthrough' bus='usb'/>",
        "<input type='evdev' bus='usb'/>",
    ] {
        assert!(is_conflict(&refused("x86_64", "pc", input)), "{input}");
    }
}

#[test]
fn only_some_video_devices_can_be_second() {
    let videos = |second: &str| {
        format!("<video><model type='qxl'/></video><video><model type='{second}'/></video>")
    };
    assert!(is_conflict(&refused("x86_64", "pc", &videos("cirrus"))));
    assert!(is_conflict(&refused("x86_64", "pc", "<video><model type='xen'/></video>")));
    let guest = assigned("x86_64", "pc", &videos("virtio"), &Policy::default());
    assert_eq!(addresses(&guest, Kind::Video), ["0000:00:02.0", "0000:00:04.0"]);
}

#[test]
fn a_part_of_a_machine_is_not_on_another_machine() {
    for (arch, machine, device) in [
        ("aarch64", "virt", "<panic model='isa'/>"),
        ("x86_64", "pc", "<panic model='pseries'/>"),
        ("x86_64", "pc", "<panic model='s390'/>"),
        ("x86_64", "pc", "<watchdog model='itco'/>"),
        ("x86_64", "pc", "<iommu model='intel'/>"),
        ("x86_64", "pc", "<iommu model='virtio'/>"),
        ("x86_64", "q35", "<iommu model='smmuv3'/>"),
        ("x86_64", "q35", "<iommu model='amd'/>"),
    ] {
        assert!(is_conflict(&refused(arch, machine, device)), "{machine} {device}");
    }
}

#[test]
fn an_address_is_of_a_type_that_the_device_can_have() {
    for device in [
        "<watchdog model='i6300esb'><address type='isa'/></watchdog>",
        "<watchdog model='ib700'><address type='pci' slot='5'/></watchdog>",
        "<panic model='isa'><address type='pci' slot='5'/></panic>",
        "<serial type='pty'><target type='isa-serial'/><address type='pci' slot='5'/></serial>",
        "<serial type='pty'><target type='usb-serial'/><address type='isa'/></serial>",
        "<disk><target dev='vda'/><address type='ccw' cssid='0xfe' ssid='0' devno='1'/></disk>",
        "<tpm model='tpm-tis'><address type='unassigned'/></tpm>",
    ] {
        assert!(is_wrong_type(&refused("x86_64", "pc", device)), "{device}");
    }
}

#[test]
fn a_ccw_address_is_given_whole_or_not_at_all() {
    let with = |address: &str| {
        format!(
            "<domain type='kvm'><os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type></os><devices>\
             <disk><target dev='vda'/><address type='ccw' {address}/></disk></devices></domain>"
        )
    };
    assert!(Guest::from_xml(&with("")).is_ok());
    assert!(Guest::from_xml(&with("cssid='0xfe' ssid='0x0' devno='0x1'")).is_ok());
    let error = Guest::from_xml(&with("cssid='0xfe' ssid='0x0'")).unwrap_err();
    assert!(error.to_string().contains("devno"), "{error}");
}

#[test]
fn a_controller_has_the_options_of_its_model() {
    for (machine, controller) in [
        ("pc", "<controller type='scsi' model='lsilogic'><driver queues='2'/></controller>"),
        ("pc", "<controller type='virtio-serial'><driver cmd_per_lun='2'/></controller>"),
        ("pc", "<controller type='usb' model='ich9-ehci1' ports='4'/>"),
        ("pc", "<controller type='usb' model='qusb2'/>"),
        ("pc", "<controller type='pci' model='pci-bridge'><pcihole64>1</pcihole64></controller>"),
    ] {
        assert!(is_wrong_controller(&refused("x86_64", machine, controller)), "{controller}");
    }
    let hole =
        "<controller type='pci' index='0' model='pcie-root'><pcihole64>1</pcihole64></controller>";
    assigned("x86_64", "q35", hole, &Policy::default());
}

#[test]
fn memory_starts_at_a_multiple_of_its_blocks() {
    let memory = |base: &str| {
        format!(
            "<memory model='virtio-mem'><target><size unit='MiB'>8</size><block unit='MiB'>2</block>\
             <address base='{base}'/></target></memory>"
        )
    };
    assert!(is_conflict(&refused("x86_64", "q35", &memory("0x140100000"))));
    assigned("x86_64", "q35", &memory("0x140000000"), &Policy::default());
}

#[test]
fn a_usb_device_of_the_host_is_there_once() {
    let hostdev = "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0x5678'/></source></hostdev>";
    let error = refused("x86_64", "pc", &hostdev.repeat(2));
    assert!(matches!(error, Error::Duplicate { .. }));
    let other = hostdev.replace("0x5678", "0x5679");
    assigned("x86_64", "pc", &format!("{hostdev}{other}"), &Policy::default());
}

#[test]
fn an_lsilogic_controller_has_one_target() {
    let disk = "<disk><target dev='sda' bus='scsi'/><address type='drive' target='1'/></disk>";
    let lsilogic = "<controller type='scsi' index='0' model='lsilogic'/>";
    let error = refused("x86_64", "pc", &format!("{disk}{lsilogic}"));
    assert!(matches!(error, Error::OutOfRange { .. }));
    let virtio = "<controller type='scsi' index='0' model='virtio-scsi'/>";
    assigned("x86_64", "pc", &format!("{disk}{virtio}"), &Policy::default());
}

#[test]
fn an_lsisas1068_has_two_units_for_devices_of_the_host() {
    let hostdev = |n: u32| {
        format!(
            "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/>\
             <address bus='0' target='0' unit='{n}'/></source></hostdev>"
        )
    };
    let hostdevs: String = (0..3).map(hostdev).collect();
    for (model, place) in [
        ("virtio-scsi", "controller 0 bus 0 target 0 unit 2"),
        ("lsisas1068", "controller 1 bus 0 target 0 unit 0"),
    ] {
        let controller = format!("<controller type='scsi' index='0' model='{model}'/>");
        let guest =
            assigned("x86_64", "pc", &format!("{controller}{hostdevs}"), &Policy::default());
        assert_eq!(addresses(&guest, Kind::Hostdev).pop().as_deref(), Some(place));
    }
}

#[test]
fn q35_falls_back_to_usb_2() {
    let mut guest = guest("x86_64", "q35", "");
    let facts = Facts::built_in("x86_64").without("qemu-xhci").without("nec-usb-xhci");
    assign(&mut guest, &facts, &Policy::default()).unwrap();
    let usb: Vec<_> =
        controllers(&guest, ControllerType::Usb).iter().filter_map(|c| c.model).collect();
    let parts = [Model::Ich9Ehci1, Model::Ich9Uhci1, Model::Ich9Uhci2, Model::Ich9Uhci3];
    assert_eq!(usb, parts);
    let places = addresses(&guest, Kind::Controller);
    for function in ["7", "0", "1", "2"] {
        assert!(places.contains(&format!("0000:00:1d.{function}")), "{places:?}");
    }
}

#[test]
fn a_device_whose_slot_is_not_certain_needs_an_address_or_a_policy() {
    for device in [
        "<crypto model='virtio' type='qemu'><backend model='builtin'/></crypto>",
        "<interface type='user'><model type='vmxnet3'/></interface>",
    ] {
        assert!(is_conflict(&refused("x86_64", "q35", device)), "{device}");
        assigned("x86_64", "pc", device, &Policy::default());
        let policy = Policy { slot: Some(SlotKind::Pcie), ..Policy::default() };
        let guest = assigned("x86_64", "q35", device, &policy);
        assert!(!models(&guest).contains(&Model::PcieToPciBridge));
    }
}

#[test]
fn a_model_that_is_not_certain_must_be_named() {
    for definition in [Definition::New, Definition::Existing] {
        let mut guest = guest("riscv64", "virt", "<controller type='usb'/>");
        let policy = Policy { definition, ..Policy::default() };
        let error = assign(&mut guest, &Facts::built_in("riscv64"), &policy).unwrap_err();
        assert!(matches!(error, Error::NoDefaultModel { .. }), "{error}");
    }
}

#[test]
fn an_address_of_a_bus_that_the_machine_does_not_have_is_refused() {
    for address in [
        "<address type='ccw' cssid='0xfe' ssid='0' devno='1'/>",
        "<address type='virtio-mmio'/>",
        "<address type='spapr-vio' reg='0x2000'/>",
        "<address type='virtio-s390'/>",
    ] {
        let disk = format!("<disk type='file'><target dev='vda' bus='virtio'/>{address}</disk>");
        let error = refused("x86_64", "q35", &disk);
        assert!(matches!(error, Error::WrongAddressType { .. }), "{address}: {error}");
    }
}

#[test]
fn a_part_of_an_address_that_is_out_of_range_is_named() {
    for (address, shown) in [
        (
            PciAddress { slot: 5, function: 8, ..PciAddress::default() },
            "function 8 is not from 0 to 7",
        ),
        (PciAddress { slot: 32, ..PciAddress::default() }, "slot 32 is not from 0 to 31"),
        (
            PciAddress { slot: 5, function: u32::MAX, ..PciAddress::default() },
            "function 4294967295",
        ),
    ] {
        let mut guest = guest("x86_64", "q35", "<rng model='virtio'/>");
        let rng = guest.devices.iter_mut().find(|device| device.device.name() == "rng").unwrap();
        rng.address = Some(Address::Pci(address));
        let error = assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap_err();
        assert!(error.to_string().contains(shown), "{error}");
    }
}

#[test]
fn virtio_devices_of_microvm_are_on_virtio_mmio_and_others_are_refused() {
    let mut microvm = guest("x86_64", "microvm", "<rng model='virtio'/><memballoon model='none'/>");
    assign(&mut microvm, &Facts::built_in("x86_64"), &Policy::default()).unwrap();
    let rng = microvm.devices.iter().find(|device| device.device.name() == "rng").unwrap();
    assert_eq!(rng.address, Some(Address::VirtioMmio));
    let error = refused("x86_64", "microvm", "<sound model='ac97'/>");
    assert!(matches!(error, Error::NoBus { .. }), "{error}");
}

#[test]
fn the_architecture_and_the_machine_that_were_left_open_are_written_into_the_guest() {
    let mut guest = guest("x86_64", "q35", "");
    (guest.os.arch, guest.os.machine) = (None, None);
    assign(&mut guest, &Facts::built_in("x86_64"), &Policy::default()).unwrap();
    assert_eq!(
        (guest.os.arch.as_deref(), guest.os.machine.as_deref()),
        (Some("x86_64"), Some("pc"))
    );
}
