//! Character devices.

use crate::fields::fields;
use crate::value::words;

words! {
    /// The type of a serial port.
    pub enum SerialType {
        IsaSerial = "isa-serial",
        UsbSerial = "usb-serial",
        PciSerial = "pci-serial",
        SpaprVioSerial = "spapr-vio-serial",
        SystemSerial = "system-serial",
        SclpSerial = "sclp-serial",
        IsaDebug = "isa-debug",
    }

    /// The type of a console.
    pub enum ConsoleType {
        Serial = "serial",
        Xen = "xen",
        Uml = "uml",
        Virtio = "virtio",
        Lxc = "lxc",
        Openvz = "openvz",
        Sclp = "sclp",
        Sclplm = "sclplm",
    }

    /// The type of a channel.
    pub enum ChannelType { Guestfwd = "guestfwd", Virtio = "virtio", Xen = "xen" }

    /// The mode of a smart card.
    pub enum SmartcardMode {
        Host = "host",
        HostCertificates = "host-certificates",
        Passthrough = "passthrough",
    }

    /// The model of a TPM.
    pub enum TpmModel {
        Tis = "tpm-tis",
        Crb = "tpm-crb",
        Spapr = "tpm-spapr",
        SpaprProxy = "spapr-tpm-proxy",
    }
}

fields! {
    /// A serial port.
    pub struct Serial {
        optional {
            /// The type of the host's side: `pty`, `unix`, …
            r#type: String = "@type",
            /// The type; the machine's own if it is missing.
            target_type: SerialType = "target@type",
            /// The number of the port.
            port: u32 = "target@port",
            /// The device of QEMU that implements it.
            target_model: String = "target/model@name",
        }
    }

    /// A parallel port.
    pub struct Parallel {
        optional {
            /// The type of the host's side.
            r#type: String = "@type",
            /// The number of the port.
            port: u32 = "target@port",
        }
    }

    /// A console.
    pub struct Console {
        optional {
            /// The type of the host's side.
            r#type: String = "@type",
            /// The type; `serial` if it is missing, which stands for the first serial port.
            target_type: ConsoleType = "target@type",
            /// The number of the console.
            port: u32 = "target@port",
        }
    }

    /// A channel between host and guest.
    pub struct Channel {
        optional {
            /// The type of the host's side.
            r#type: String = "@type",
            /// The type.
            target_type: ChannelType = "target@type",
            /// The name in the guest.
            name: String = "target@name",
        }
    }

    /// A smart card.
    pub struct Smartcard {
        optional {
            /// The mode.
            mode: SmartcardMode = "@mode",
        }
    }

    /// A TPM.
    pub struct Tpm {
        optional {
            /// The model; the machine's own if it is missing.
            model: TpmModel = "@model",
            /// The type of the backend.
            backend: String = "backend@type",
        }
    }
}
