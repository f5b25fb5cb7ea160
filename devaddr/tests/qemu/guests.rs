//! Guests whose devices are to be assigned addresses, for each machine.

use capscache_domain::{
    Controller, ControllerModel as Model, ControllerType, DiskBus, Filesystem, Hub, HubType,
    InputBus, InputType, Interface, InterfaceType, Iommu, IommuModel, MemoryModel, PanicModel,
    Redirdev, Rng, SerialType, Smartcard, SmartcardMode, Sound, SoundModel, Switch, VideoModel,
    VirtioModel, Watchdog, WatchdogModel,
};

use crate::build::*;

type Named = (&'static str, Build);

pub(crate) fn pc() -> Vec<Named> {
    let pc = || Build::new("x86_64", "pc");
    vec![
        ("nothing", pc()),
        (
            "a desktop",
            pc().with(video(VideoModel::Vga))
                .with(tablet(0))
                .with(Sound::new(SoundModel::Ac97))
                .with(cdrom("hd", DiskBus::Ide, 0))
                .with(nic("e1000"))
                .with(vd(0)),
        ),
        ("29 disks", pc().many(29, vd)),
        ("40 disks", pc().many(40, vd)),
        ("100 interfaces", pc().many(100, |_| nic("virtio"))),
        ("9 USB tablets", pc().many(9, tablet)),
        ("40 USB tablets", pc().many(40, tablet)),
        ("tablets on a controller with 4 ports", {
            let xhci = Controller { ports: Some(4), ..usb(0, Model::QemuXhci) };
            pc().with(xhci).many(12, tablet)
        }),
        (
            "a USB 2 group, given in part",
            pc().with(usb(0, Model::Ich9Ehci1))
                .with(companion(Model::Ich9Uhci1, 0))
                .with(companion(Model::Ich9Uhci2, 2))
                .with(companion(Model::Ich9Uhci3, 4))
                .many(8, tablet),
        ),
        (
            "two USB controllers",
            pc().with(usb(0, Model::Piix3Uhci)).with(usb(1, Model::NecXhci)).many(3, tablet),
        ),
        (
            "hubs by hand",
            pc().at(usb_port(0, "1"), Hub::new(HubType::Usb))
                .at(usb_port(0, "1.3"), Hub::new(HubType::Usb))
                .at(usb_port(0, "1.3.2"), tablet(0))
                .many(5, tablet),
        ),
        ("7 SCSI disks of lsilogic", pc().many(7, sd)),
        ("9 SCSI disks of virtio", pc().with(scsi(0, Model::VirtioScsi)).many(9, sd)),
        (
            "SCSI controllers of each model",
            pc().with(scsi(0, Model::Lsilogic))
                .with(scsi(1, Model::VirtioScsi))
                .with(scsi(2, Model::Lsisas1068))
                .with(scsi(3, Model::Lsisas1078))
                .with(scsi(4, Model::Vmpvscsi))
                .at(scsi_unit(1, 3, 2), sd(0))
                .at(scsi_unit(2, 5, 0), sd(1))
                .at(scsi_unit(4, 2, 0), sd(2)),
        ),
        ("40 channels and a console", pc().many(40, channel).with(console())),
        ("4 IDE disks and 2 floppies", {
            let floppy = |n| disk("fd", DiskBus::Fdc, n);
            pc().many(4, |n| disk("hd", DiskBus::Ide, n)).many(2, floppy)
        }),
        ("8 SATA disks", pc().many(8, |n| disk("sd", DiskBus::Sata, n))),
        (
            "three video devices",
            pc().with(video(VideoModel::Cirrus))
                .with(video(VideoModel::Qxl))
                .with(video(VideoModel::Qxl)),
        ),
        (
            "serial ports",
            pc().with(serial(SerialType::IsaSerial))
                .with(serial(SerialType::PciSerial))
                .with(serial(SerialType::UsbSerial)),
        ),
        (
            "one of each",
            pc().memory()
                .with(rng())
                .with(balloon())
                .with(Watchdog::new(WatchdogModel::I6300esb))
                .with(shmem(0))
                .with(vsock())
                .with(crypto())
                .with(panic(PanicModel::Isa))
                .with(panic(PanicModel::Pvpanic))
                .with(input(InputType::Keyboard, InputBus::Virtio))
                .with(filesystem(0))
                .with(host(0))
                .with(Redirdev { r#type: Some("spicevmc".to_owned()), ..Redirdev::new() })
                .with(memory(MemoryModel::Dimm))
                .with(memory(MemoryModel::Nvdimm))
                .with(memory(MemoryModel::VirtioMem)),
        ),
        ("a smart card", pc().with(Smartcard { mode: Some(SmartcardMode::Passthrough) })),
        (
            "functions of a slot by hand",
            pc().at(pci(0, 4, 0), nic("e1000"))
                .at(pci(0, 4, 1), nic("e1000"))
                .at(pci(0, 5, 0), vd(0))
                .many(3, |_| nic("virtio")),
        ),
        (
            "bridges by hand",
            pc().with(bridge(1, Model::PciBridge))
                .at(pci(1, 3, 0), bridge(2, Model::PciBridge))
                .at(pci(2, 7, 0), nic("rtl8139"))
                .many(35, vd),
        ),
        (
            "an expander",
            pc().memory()
                .with(Controller { node: Some(1), ..bridge(1, Model::PciExpanderBus) })
                .at(pci(1, 0, 0), nic("virtio"))
                .with(bridge(2, Model::PciBridge))
                .many(3, vd),
        ),
        (
            "transitional devices",
            pc().with(nic("virtio-transitional"))
                .with(Rng::new(VirtioModel::Transitional))
                .with(Rng::new(VirtioModel::NonTransitional)),
        ),
    ]
}

pub(crate) fn q35() -> Vec<Named> {
    let q35 = || Build::new("x86_64", "q35");
    let root_port = |index| bridge(index, Model::PcieRootPort);
    vec![
        ("nothing", q35()),
        (
            "a desktop",
            q35()
                .with(video(VideoModel::Virtio))
                .with(tablet(0))
                .with(Sound::new(SoundModel::Ich9))
                .with(cdrom("sd", DiskBus::Sata, 0))
                .with(nic("e1000e"))
                .with(vd(0)),
        ),
        ("a server", q35().many(3, vd).many(2, |_| nic("virtio")).with(rng()).with(channel(0))),
        ("60 interfaces", q35().many(60, |_| nic("virtio"))),
        (
            "conventional devices",
            q35()
                .with(nic("rtl8139"))
                .with(nic("e1000"))
                .with(Sound::new(SoundModel::Ac97))
                .with(serial(SerialType::PciSerial))
                .with(Watchdog::new(WatchdogModel::I6300esb)),
        ),
        ("40 conventional devices", q35().many(40, |_| nic("rtl8139"))),
        (
            "a DMI bridge by hand",
            q35()
                .with(bridge(1, Model::DmiToPciBridge))
                .with(bridge(2, Model::PciBridge))
                .many(3, |_| nic("rtl8139")),
        ),
        ("9 SATA disks", q35().many(9, |n| disk("sd", DiskBus::Sata, n))),
        (
            "a switch by hand",
            q35()
                .with(root_port(1))
                .with(bridge(2, Model::PcieSwitchUpstreamPort))
                .with(bridge(3, Model::PcieSwitchDownstreamPort))
                .with(bridge(4, Model::PcieSwitchDownstreamPort))
                .with(bridge(5, Model::PcieSwitchDownstreamPort))
                .many(4, |_| nic("virtio")),
        ),
        (
            "expanders",
            q35()
                .memory()
                .with(Controller { node: Some(0), ..bridge(1, Model::PcieExpanderBus) })
                .with(Controller { node: Some(1), ..bridge(2, Model::PcieExpanderBus) })
                .at(pci(1, 0, 0), root_port(3))
                .at(pci(2, 0, 0), root_port(4))
                .at(pci(3, 0, 0), nic("virtio"))
                .at(pci(4, 0, 0), vd(0))
                .with(vd(1)),
        ),
        (
            "USB 2 groups",
            q35()
                .with(usb(0, Model::Ich9Ehci1))
                .with(companion(Model::Ich9Uhci1, 0))
                .with(companion(Model::Ich9Uhci2, 2))
                .with(companion(Model::Ich9Uhci3, 4))
                .many(9, tablet),
        ),
        ("ports without hotplug", {
            let fixed = |index| Controller { hotplug: Some(Switch::Off), ..root_port(index) };
            q35().with(fixed(1)).with(fixed(2)).with(fixed(3)).many(3, vd).with(rng())
        }),
        ("floppies", q35().many(2, |n| disk("fd", DiskBus::Fdc, n))),
        (
            "transitional devices",
            q35()
                .with(nic("virtio-transitional"))
                .with(Rng::new(VirtioModel::Transitional))
                .with(Rng::new(VirtioModel::NonTransitional))
                .with(Filesystem { model: Some(VirtioModel::Transitional), ..filesystem(0) }),
        ),
        (
            "devices of the host",
            q35()
                .many(3, host)
                .with(Interface { host_bus: Some(capscache_domain::Hex(9)), ..hostdev_nic() }),
        ),
        (
            "one of each",
            q35()
                .memory()
                .with(rng())
                .with(balloon())
                .with(shmem(0))
                .with(vsock())
                .at(pci(0, 9, 0), crypto())
                .with(panic(PanicModel::Pvpanic))
                .with(input(InputType::Tablet, InputBus::Virtio))
                .with(filesystem(0))
                .with(memory(MemoryModel::Dimm))
                .with(memory(MemoryModel::Dimm))
                .with(memory(MemoryModel::VirtioMem))
                .with(Iommu::new(IommuModel::Virtio)),
        ),
        (
            "functions of a slot by hand",
            q35()
                .at(first(0, 5), root_port(1))
                .at(pci(0, 5, 1), root_port(2))
                .at(first(1, 0), nic("virtio"))
                .at(pci(1, 0, 1), nic("virtio"))
                .at(pci(0, 7, 0), vd(0))
                .many(2, |n| vd(n + 1)),
        ),
        ("25 root ports by hand", {
            let guest = (1..26).fold(q35(), |guest, index| guest.with(root_port(index)));
            guest.many(20, vd)
        }),
        ("SCSI disks", q35().with(scsi(0, Model::VirtioScsi)).many(20, sd)),
        ("three video devices", {
            let (bochs, virtio) = (video(VideoModel::Bochs), video(VideoModel::Virtio));
            q35().with(bochs).with(virtio).with(video(VideoModel::Qxl))
        }),
    ]
}

fn hostdev_nic() -> Interface {
    Interface { host_type: Some("pci".to_owned()), ..Interface::new(InterfaceType::Hostdev) }
}

/// Guests of `virt`, on any architecture.
pub(crate) fn virt(arch: &'static str) -> Vec<Named> {
    let virt = || Build::new(arch, "virt");
    vec![
        ("nothing", virt()),
        (
            "a server",
            virt().many(2, vd).with(nic("virtio")).with(rng()).with(balloon()).with(channel(0)),
        ),
        (
            "a desktop",
            virt()
                .with(usb(0, Model::QemuXhci))
                .with(video(VideoModel::Virtio))
                .with(input(InputType::Keyboard, InputBus::Usb))
                .with(tablet(0))
                .with(cdrom("sd", DiskBus::Scsi, 0)),
        ),
        ("40 disks", virt().many(40, vd)),
        ("conventional devices", virt().with(nic("e1000")).with(serial(SerialType::PciSerial))),
        (
            "a conventional root port",
            virt().with(bridge(1, Model::PcieToPciBridge)).many(2, |_| nic("rtl8139")),
        ),
    ]
}

pub(crate) fn pseries() -> Vec<Named> {
    let pseries = || Build::new("ppc64", "pseries");
    let host_bridge = |index| {
        let target_index = Some(index);
        Controller { target_index, ..bridge(index, Model::PciRoot) }
    };
    vec![
        ("nothing", pseries()),
        (
            "a server",
            pseries()
                .many(3, vd)
                .with(nic("virtio"))
                .many(3, |_| serial(SerialType::SpaprVioSerial))
                .many(2, |_| nic("spapr-vlan")),
        ),
        ("SCSI disks", pseries().many(4, sd)),
        (
            "two vscsi controllers",
            pseries().with(scsi(0, Model::Ibmvscsi)).with(scsi(1, Model::Ibmvscsi)).many(3, sd),
        ),
        ("70 disks", pseries().many(70, vd)),
        ("12 USB tablets", pseries().many(12, tablet)),
        ("devices of the host", pseries().many(3, host).many(2, vd)),
        (
            "host bridges by hand",
            pseries()
                .with(host_bridge(1))
                .with(host_bridge(2))
                .at(pci(1, 3, 0), nic("virtio"))
                .at(pci(2, 1, 0), bridge(3, Model::PciBridge))
                .at(pci(3, 2, 0), vd(0))
                .with(vd(1)),
        ),
        ("memory", pseries().memory().many(2, |_| memory(MemoryModel::Dimm))),
        (
            "a desktop",
            pseries()
                .with(video(VideoModel::Vga))
                .with(scsi(0, Model::VirtioScsi))
                .with(cdrom("sd", DiskBus::Scsi, 0))
                .with(Sound::new(SoundModel::Ich6)),
        ),
    ]
}

pub(crate) fn s390() -> Vec<Named> {
    let s390 = || Build::new("s390x", "s390-ccw-virtio");
    vec![
        ("nothing", s390()),
        ("a server", s390().many(3, vd).with(nic("virtio")).with(rng()).with(balloon())),
        ("SCSI disks", s390().with(scsi(0, Model::VirtioScsi)).many(9, sd)),
        ("channels", s390().many(3, channel).with(console())),
        (
            "device numbers by hand",
            s390()
                .at(ccw(0), vd(1))
                .at(ccw(2), nic("virtio"))
                .many(2, |n| vd(n + 2))
                .at(ccw(0xffff), rng()),
        ),
        ("devices of the host", s390().many(2, host)),
        (
            "a desktop",
            s390()
                .with(video(VideoModel::Virtio))
                .with(input(InputType::Keyboard, InputBus::Virtio))
                .with(input(InputType::Tablet, InputBus::Virtio)),
        ),
        ("300 disks", s390().many(300, vd)),
    ]
}

/// A switch that has no port to be in, other than its own.
pub(crate) fn switch_alone() -> Named {
    let guest = Build::new("x86_64", "q35")
        .with(bridge(1, Model::PcieSwitchUpstreamPort))
        .with(bridge(2, Model::PcieSwitchDownstreamPort))
        .with(vd(0));
    ("a switch by hand, without a port for it", guest)
}

/// A guest in which devices of all kinds of buses have addresses.
pub(crate) fn placed() -> Build {
    let port = Controller { index: Some(0), ..Controller::new(ControllerType::VirtioSerial) };
    let second = Controller { chassis_nr: Some(1), ..bridge(1, Model::PciBridge) };
    Build::new("x86_64", "pc")
        .with(bridge(0, Model::PciRoot))
        .at(pci(0, 3, 0), second)
        .at(pci(0, 1, 2), usb(0, Model::Piix3Uhci))
        .at(pci(0, 4, 0), scsi(0, Model::VirtioScsi))
        .at(pci(0, 5, 0), port)
        .at(pci(1, 2, 0), vd(0))
        .at(usb_port(0, "1"), Hub::new(HubType::Usb))
        .at(usb_port(0, "1.4"), tablet(0))
        .at(scsi_unit(0, 3, 7), sd(0))
        .at(serial_port(0, 9), channel(0))
}
