//! Network interfaces, and devices of the host.

use crate::device::storage::VirtioModel;
use crate::fields::fields;
use crate::value::{Hex, YesNo, words};

words! {
    /// The type of a network interface.
    pub enum InterfaceType {
        User = "user",
        Ethernet = "ethernet",
        Vhostuser = "vhostuser",
        Server = "server",
        Client = "client",
        Mcast = "mcast",
        Network = "network",
        Bridge = "bridge",
        Internal = "internal",
        Direct = "direct",
        Hostdev = "hostdev",
        Udp = "udp",
        Vdpa = "vdpa",
        Null = "null",
        Vds = "vds",
    }

    /// The mode of a device of the host.
    pub enum HostdevMode { Subsystem = "subsystem", Capabilities = "capabilities" }

    /// The type of a device of the host.
    pub enum HostdevType {
        Usb = "usb",
        Pci = "pci",
        Scsi = "scsi",
        ScsiHost = "scsi_host",
        Mdev = "mdev",
        Storage = "storage",
        Misc = "misc",
        Net = "net",
    }

    /// The model of a device of the host.
    pub enum HostdevModel {
        Virtio = "virtio",
        Transitional = "virtio-transitional",
        NonTransitional = "virtio-non-transitional",
        VfioPci = "vfio-pci",
        VfioCcw = "vfio-ccw",
        VfioAp = "vfio-ap",
    }

    /// The protocol of a SCSI device or adapter of the host.
    pub enum HostdevProtocol { Adapter = "adapter", Iscsi = "iscsi", None = "none", Vhost = "vhost" }

    /// The bus of a redirected device.
    pub enum RedirdevBus { Usb = "usb" }
}

fields! {
    /// A network interface.
    pub struct Interface {
        required {
            /// The type.
            r#type: InterfaceType = "@type",
        }
        optional {
            /// The MAC address.
            mac: String = "mac@address",
            /// The model: `virtio`, `e1000`, or another of QEMU's; a default if it is missing.
            model: String = "model@type",
            /// The network, of an interface of type `network`.
            network: String = "source@network",
            /// The type of the host's device, of an interface of type `hostdev`.
            host_type: String = "source/address@type",
            /// The PCI domain of the host's device.
            host_domain: Hex = "source/address@domain",
            /// The PCI bus of the host's device.
            host_bus: Hex = "source/address@bus",
            /// The PCI slot of the host's device.
            host_slot: Hex = "source/address@slot",
            /// The PCI function of the host's device.
            host_function: Hex = "source/address@function",
        }
    }

    /// A device of the host that is assigned to the guest.
    pub struct Hostdev {
        required {
            /// The type.
            r#type: HostdevType = "@type",
        }
        optional {
            /// The mode; `subsystem` if it is missing.
            mode: HostdevMode = "@mode",
            /// The model.
            model: HostdevModel = "@model",
            /// `yes` if the driver binds the device.
            managed: YesNo = "@managed",
            /// The protocol of a SCSI device or adapter.
            protocol: HostdevProtocol = "source@protocol",
            /// The PCI domain on the host.
            host_domain: Hex = "source/address@domain",
            /// The bus on the host: PCI, USB or SCSI.
            host_bus: Hex = "source/address@bus",
            /// The PCI slot on the host.
            host_slot: Hex = "source/address@slot",
            /// The PCI function on the host.
            host_function: Hex = "source/address@function",
            /// The USB device on the host.
            host_device: Hex = "source/address@device",
            /// The target of a SCSI device on the host.
            host_target: u32 = "source/address@target",
            /// The unit of a SCSI device on the host.
            host_unit: u64 = "source/address@unit",
            /// The UUID of a mediated device.
            uuid: String = "source/address@uuid",
            /// The adapter of a SCSI device on the host.
            adapter: String = "source/adapter@name",
            /// The name of an iSCSI target.
            name: String = "source@name",
            /// The world-wide port name of a vhost SCSI adapter.
            wwpn: String = "source@wwpn",
        }
    }

    /// A USB device redirected from elsewhere.
    pub struct Redirdev {
        optional {
            /// The bus; `usb` if it is missing.
            bus: RedirdevBus = "@bus",
            /// The type of the connection.
            r#type: String = "@type",
        }
    }

    /// A socket for communication with the host.
    pub struct Vsock {
        optional {
            /// The interface of the virtio device.
            model: VirtioModel = "@model",
        }
    }
}
