//! Devices.

use super::machine;
use super::parts;
use super::section::{Enumeration, Section, chosen};
use super::surroundings::Surroundings;
use crate::arch;
use crate::caps::QemuCaps;

/// Controllers of USB, one of which is required to assign a USB device of the host.
const USB_CONTROLLERS: [&str; 8] = [
    "piix3-usb-uhci",
    "piix4-usb-uhci",
    "usb-ehci",
    "ich9-usb-ehci1",
    "vt82c686b-usb-uhci",
    "pci-ohci",
    "nec-usb-xhci",
    "qemu-xhci",
];

/// Returns all kinds of devices, in libvirt's order.
pub(super) fn all(caps: &QemuCaps, machine: &str, surroundings: &Surroundings<'_>) -> Vec<Section> {
    let all = [
        disk(caps, machine),
        graphics(caps, surroundings),
        video(caps),
        hostdev(caps, surroundings),
        rng(caps),
        filesystem(caps),
        tpm(caps, surroundings),
        Section::unless_empty("redirdev", vec![of(caps, "bus", &[("usb-redir", "usb")])]),
        channel(caps),
        crypto(caps),
        interface(caps),
        panic(caps, machine),
        console(caps),
    ];
    all.into_iter().filter_map(|device| parts::reported(caps.release, device)).collect()
}

/// Returns a list of those values whose flag is set.
fn of(caps: &QemuCaps, name: &'static str, values: &[(&'static str, &'static str)]) -> Enumeration {
    let is_set = |(flag, _): &&(&'static str, &'static str)| caps.flags.has(flag);
    Enumeration { name, values: values.iter().filter(is_set).map(|(_, value)| *value).collect() }
}

/// Returns the models of a virtio device that exists as a transitional one too.
fn virtio_models(caps: &QemuCaps, has_device: bool) -> Enumeration {
    let has_both = has_device && caps.flags.has("virtio-pci-non-transitional");
    let models = [
        (has_device, "virtio"),
        (has_both, "virtio-transitional"),
        (has_both, "virtio-non-transitional"),
    ];
    Enumeration::of("model", &models)
}

fn disk(caps: &QemuCaps, machine: &str) -> Section {
    let has = |flag| caps.flags.has(flag);
    let has_controller = !caps.release.facts().needs_floppy_controller || has("bus-floppy");
    let has_floppy = has_controller && !machine::is_pseries(machine, &caps.arch);
    let devices = [(true, "disk"), (true, "cdrom"), (has_floppy, "floppy"), (true, "lun")];
    let buses = [
        (machine::has_ide(machine, &caps.arch), "ide"),
        (has_floppy, "fdc"),
        (true, "scsi"),
        (true, "virtio"),
        (has("usb-storage") || has("usb-bot"), "usb"),
        (has("ich9-ahci"), "sata"),
        (has("nvme-ns"), "nvme"),
    ];
    let enums = vec![
        Enumeration::of("diskDevice", &devices),
        Enumeration::of("bus", &buses),
        virtio_models(caps, true),
    ];
    Section::new("disk", enums)
}

fn graphics(caps: &QemuCaps, surroundings: &Surroundings<'_>) -> Section {
    let has = |flag| caps.flags.has(flag);
    let has_dbus = has("display-dbus");
    let types = [
        (has("sdl"), "sdl"),
        (has("vnc"), "vnc"),
        (has_dbus && surroundings.has_rdp, "rdp"),
        (has("spice"), "spice"),
        (has("egl-headless"), "egl-headless"),
        (has_dbus, "dbus"),
    ];
    Section::new("graphics", vec![Enumeration::of("type", &types)])
}

fn video(caps: &QemuCaps) -> Section {
    let has = |flag| caps.flags.has(flag);
    let models = [
        (has("VGA"), "vga"),
        (has("cirrus-vga"), "cirrus"),
        (has("vmware-svga"), "vmvga"),
        (has("qxl"), "qxl"),
        (has("virtio-gpu"), "virtio"),
        (true, "none"),
        (has("bochs-display"), "bochs"),
        (has("ramfb"), "ramfb"),
    ];
    Section::new("video", vec![Enumeration::of("modelType", &models)])
}

fn hostdev(caps: &QemuCaps, surroundings: &Surroundings<'_>) -> Section {
    let has_usb = USB_CONTROLLERS.iter().any(|flag| caps.flags.has(flag));
    let has_vfio = surroundings.has_vfio && caps.flags.has("vfio-pci");
    let has_iommufd =
        surroundings.has_vfio && surroundings.has_iommufd && caps.flags.has("iommufd");
    let policies = vec!["default", "mandatory", "requisite", "optional"];
    let enums = vec![
        Enumeration { name: "mode", values: vec!["subsystem"] },
        Enumeration { name: "startupPolicy", values: policies },
        Enumeration::of("subsysType", &[(has_usb, "usb"), (true, "pci"), (true, "scsi")]),
        Enumeration { name: "capsType", values: Vec::new() },
        Enumeration::of("pciBackend", &[(has_vfio, "default"), (has_vfio, "vfio")]),
        Enumeration::of("iommufd", &[(has_iommufd, "yes"), (true, "no")]),
    ];
    Section::new("hostdev", enums)
}

fn rng(caps: &QemuCaps) -> Section {
    let backends = [("rng-random", "random"), ("rng-egd", "egd"), ("rng-builtin", "builtin")];
    let models = virtio_models(caps, caps.flags.has("virtio-rng"));
    Section::new("rng", vec![models, of(caps, "backendModel", &backends)])
}

fn filesystem(caps: &QemuCaps) -> Section {
    let has_virtiofs = caps.flags.has("vhost-user-fs");
    let drivers = [(true, "path"), (true, "handle"), (has_virtiofs, "virtiofs")];
    Section::new("filesystem", vec![Enumeration::of("driverType", &drivers)])
}

fn tpm(caps: &QemuCaps, surroundings: &Surroundings<'_>) -> Section {
    let models = [
        ("tpm-tis", "tpm-tis"),
        ("tpm-crb", "tpm-crb"),
        ("tpm-spapr", "tpm-spapr"),
        ("spapr-tpm-proxy", "spapr-tpm-proxy"),
    ];
    let has_emulator = surroundings.swtpm.is_some() && caps.flags.has("tpm-emulator");
    let backends = [
        (caps.flags.has("tpm-passthrough"), "passthrough"),
        (has_emulator, "emulator"),
        (has_emulator, "external"),
    ];
    let mut enums = vec![of(caps, "model", &models), Enumeration::of("backendModel", &backends)];
    let swtpm = surroundings.swtpm.unwrap_or_default();
    let versions = [(swtpm.has_1_2, "1.2"), (swtpm.has_2_0, "2.0")];
    let versions = Enumeration::of("backendVersion", &versions);
    enums.extend(Some(versions).filter(|versions| !versions.values.is_empty()));
    Section::unless_empty("tpm", enums)
}

fn channel(caps: &QemuCaps) -> Section {
    let types = [(true, "pty"), (true, "unix"), (caps.flags.has("spice"), "spicevmc")];
    Section::new("channel", vec![Enumeration::of("type", &types)])
}

fn crypto(caps: &QemuCaps) -> Section {
    let has_kernel = caps.flags.has("cryptodev-backend-lkcf");
    let enums = vec![
        of(caps, "model", &[("virtio-crypto", "virtio")]),
        Enumeration { name: "type", values: vec!["qemu"] },
        Enumeration::of("backendModel", &[(true, "builtin"), (has_kernel, "lkcf")]),
    ];
    Section::new("crypto", enums)
}

fn interface(caps: &QemuCaps) -> Section {
    let backends = [("netdev.user", "default"), ("netdev.stream", "passt")];
    Section::new("interface", vec![of(caps, "backendType", &backends)])
}

fn panic(caps: &QemuCaps, machine: &str) -> Section {
    let models = [
        (caps.flags.has("pvpanic"), "isa"),
        (machine::is_pseries(machine, &caps.arch), "pseries"),
        (arch::is_x86(&caps.arch), "hyperv"),
        (arch::is_s390(&caps.arch), "s390"),
        (caps.flags.has("pvpanic-pci"), "pvpanic"),
    ];
    Section::unless_empty("panic", vec![Enumeration::of("model", &models)])
}

fn console(caps: &QemuCaps) -> Section {
    const ALWAYS: [&str; 10] =
        ["null", "vc", "pty", "dev", "file", "pipe", "stdio", "udp", "tcp", "unix"];
    let has_spice = caps.flags.has("spice");
    let others = [
        (has_spice, "spicevmc"),
        (has_spice, "spiceport"),
        (caps.flags.has("chardev.qemu-vdagent"), "qemu-vdagent"),
        (true, "dbus"),
    ];
    let types = ALWAYS.into_iter().chain(chosen(&others)).collect();
    Section::new("console", vec![Enumeration { name: "type", values: types }])
}
