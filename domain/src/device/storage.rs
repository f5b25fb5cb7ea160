//! Disks, controllers, filesystems and memory.

use crate::fields::fields;
use crate::size::kib;
use crate::value::{Hex, HexLong, Switch, words};

words! {
    /// The kind of a disk device.
    pub enum DiskDevice { Disk = "disk", Cdrom = "cdrom", Floppy = "floppy", Lun = "lun" }

    /// The bus of a disk.
    pub enum DiskBus {
        None = "none",
        Fdc = "fdc",
        Ide = "ide",
        Sata = "sata",
        Scsi = "scsi",
        Usb = "usb",
        Virtio = "virtio",
        Sd = "sd",
        Xen = "xen",
        Uml = "uml",
    }

    /// The interface of a virtio device: 1.0, legacy, or both.
    pub enum VirtioModel {
        Virtio = "virtio",
        Transitional = "virtio-transitional",
        NonTransitional = "virtio-non-transitional",
    }

    /// The interface of a virtio disk, or the protocol of a USB disk.
    pub enum DiskModel {
        Virtio = "virtio",
        Transitional = "virtio-transitional",
        NonTransitional = "virtio-non-transitional",
        UsbStorage = "usb-storage",
        UsbBot = "usb-bot",
    }

    /// The type of a controller: the bus that it provides.
    pub enum ControllerType {
        Ide = "ide",
        Fdc = "fdc",
        Scsi = "scsi",
        Sata = "sata",
        VirtioSerial = "virtio-serial",
        Ccid = "ccid",
        Usb = "usb",
        Pci = "pci",
        Xenbus = "xenbus",
        Isa = "isa",
        Nvme = "nvme",
    }

    /// The model of a controller of any type.
    pub enum ControllerModel {
        // PCI
        PciRoot = "pci-root",
        PcieRoot = "pcie-root",
        PciBridge = "pci-bridge",
        DmiToPciBridge = "dmi-to-pci-bridge",
        PcieToPciBridge = "pcie-to-pci-bridge",
        PcieRootPort = "pcie-root-port",
        PcieSwitchUpstreamPort = "pcie-switch-upstream-port",
        PcieSwitchDownstreamPort = "pcie-switch-downstream-port",
        PciExpanderBus = "pci-expander-bus",
        PcieExpanderBus = "pcie-expander-bus",
        // SCSI
        Auto = "auto",
        Buslogic = "buslogic",
        Lsilogic = "lsilogic",
        Lsisas1068 = "lsisas1068",
        Vmpvscsi = "vmpvscsi",
        Ibmvscsi = "ibmvscsi",
        VirtioScsi = "virtio-scsi",
        Lsisas1078 = "lsisas1078",
        VirtioTransitional = "virtio-transitional",
        VirtioNonTransitional = "virtio-non-transitional",
        Ncr53c90 = "ncr53c90",
        Dc390 = "dc390",
        Am53c974 = "am53c974",
        // USB
        None = "none",
        Piix3Uhci = "piix3-uhci",
        Piix4Uhci = "piix4-uhci",
        Ehci = "ehci",
        Ich9Ehci1 = "ich9-ehci1",
        Ich9Uhci1 = "ich9-uhci1",
        Ich9Uhci2 = "ich9-uhci2",
        Ich9Uhci3 = "ich9-uhci3",
        Vt82c686bUhci = "vt82c686b-uhci",
        PciOhci = "pci-ohci",
        NecXhci = "nec-xhci",
        Qusb1 = "qusb1",
        Qusb2 = "qusb2",
        QemuXhci = "qemu-xhci",
        // IDE
        Piix3 = "piix3",
        Piix4 = "piix4",
        Ich6 = "ich6",
        // virtio-serial
        Virtio = "virtio",
    }

    /// The type of a filesystem.
    pub enum FilesystemType {
        Mount = "mount",
        Block = "block",
        File = "file",
        Template = "template",
        Ram = "ram",
        Bind = "bind",
        Volume = "volume",
    }

    /// The driver of a filesystem.
    pub enum FilesystemDriver {
        Path = "path",
        Handle = "handle",
        Loop = "loop",
        Nbd = "nbd",
        Ploop = "ploop",
        Virtiofs = "virtiofs",
        Mtp = "mtp",
    }

    /// The model of a memory device.
    pub enum MemoryModel {
        Dimm = "dimm",
        Nvdimm = "nvdimm",
        VirtioMem = "virtio-mem",
        VirtioPmem = "virtio-pmem",
        SgxEpc = "sgx-epc",
    }
}

fields! {
    /// A disk, CD-ROM drive or floppy drive.
    pub struct Disk {
        required {
            /// The name of the target, as in `sda`, which also determines addresses on a drive controller.
            dev: String = "target@dev",
        }
        optional {
            /// The type of the source.
            source_type: String = "@type",
            /// The kind of device; `disk` if it is missing.
            device: DiskDevice = "@device",
            /// The bus; derived from the name of the target if it is missing.
            bus: DiskBus = "target@bus",
            /// The interface of a virtio disk, or the protocol of a USB disk.
            model: DiskModel = "@model",
        }
    }

    /// A controller.
    pub struct Controller {
        required {
            /// The bus that it provides.
            r#type: ControllerType = "@type",
        }
        optional {
            /// The index, unique among the controllers of a type; assigned if it is missing.
            index: u32 = "@index",
            /// The model.
            model: ControllerModel = "@model",
            /// The number of ports, of USB and virtio-serial.
            ports: u32 = "@ports",
            /// The first port of a companion that shares the ports of a USB 2 controller.
            master_startport: u32 = "master@startport",
            /// The device of QEMU that implements a PCI controller.
            model_name: String = "model@name",
            /// The chassis number of a conventional bridge.
            chassis_nr: u32 = "target@chassisNr",
            /// The chassis number of a PCIe port.
            chassis: u32 = "target@chassis",
            /// The port number of a PCIe port.
            port: Hex = "target@port",
            /// The bus number of an expander.
            bus_nr: u32 = "target@busNr",
            /// The number of a host bridge of pseries.
            target_index: u32 = "target@index",
            /// `on` if devices can be plugged in and out while the guest runs.
            hotplug: Switch = "target@hotplug",
            /// The NUMA node of the guest that the bus belongs to.
            node: u32 = "target/node",
        }
    }

    /// A filesystem shared with the guest.
    pub struct Filesystem {
        optional {
            /// The type.
            r#type: FilesystemType = "@type",
            /// The driver; `path` if it is missing.
            driver: FilesystemDriver = "driver@type",
            /// The interface of the virtio device.
            model: VirtioModel = "@model",
            /// The tag or the mount point in the guest.
            dir: String = "target@dir",
        }
    }

    /// A memory device.
    pub struct Memory {
        required {
            /// The model.
            model: MemoryModel = "@model",
        }
        optional {
            /// The size, in the unit of its element.
            size: u64 = "target/size",
            /// The unit of the size; KiB if it is missing.
            size_unit: String = "target/size@unit",
            /// The size of the label of an NVDIMM.
            label_size: u64 = "target/label/size",
            /// The unit of the label's size.
            label_size_unit: String = "target/label/size@unit",
            /// The alignment of an NVDIMM.
            align_size: u64 = "source/alignsize",
            /// The unit of the alignment.
            align_size_unit: String = "source/alignsize@unit",
            /// The size of the blocks of virtio-mem.
            block_size: u64 = "target/block",
            /// The unit of the size of a block.
            block_size_unit: String = "target/block@unit",
            /// The NUMA node of the guest.
            node: u32 = "target/node",
            /// The physical address of memory that is a PCI device.
            base: HexLong = "target/address@base",
        }
    }
}

impl Memory {
    /// Returns the size of a block of virtio-mem, in bytes; `None` if it names none, or if the unit is not valid.
    pub fn block_bytes(&self) -> Option<u64> {
        kib(&self.block_size?.to_string(), self.block_size_unit.as_deref())?.checked_mul(1024)
    }

    /// Returns the size that the guest sees, in bytes: an NVDIMM has its label at the end, the size of which is
    /// aligned.
    ///
    /// `None` if there is no size or a unit is not valid.
    pub fn size_bytes(&self) -> Option<u64> {
        /// The alignment of memory that names none: a page of most hosts.
        const ALIGN_KIB: u64 = 4;
        let in_kib = |size: Option<u64>, unit: &Option<String>| match size {
            Some(size) => kib(&size.to_string(), unit.as_deref()),
            None => Some(0),
        };
        self.size?;
        let mut size = in_kib(self.size, &self.size_unit)?;
        if self.model == MemoryModel::Nvdimm {
            let align = match in_kib(self.align_size, &self.align_size_unit)? {
                0 => ALIGN_KIB,
                align => align,
            };
            let label = in_kib(self.label_size, &self.label_size_unit)?;
            size = size.saturating_sub(label.checked_next_multiple_of(align)?);
        }
        size.checked_mul(1024)
    }
}
