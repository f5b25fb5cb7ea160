//! Devices of the platform, and devices of virtio that belong to no other group.

use crate::device::storage::VirtioModel;
use crate::fields::fields;
use crate::value::words;

words! {
    /// The type of a hub.
    pub enum HubType { Usb = "usb" }

    /// The model of a watchdog.
    pub enum WatchdogModel {
        I6300esb = "i6300esb",
        Ib700 = "ib700",
        Diag288 = "diag288",
        Itco = "itco",
    }

    /// The model of a memory balloon.
    pub enum MemballoonModel {
        Virtio = "virtio",
        Xen = "xen",
        None = "none",
        Transitional = "virtio-transitional",
        NonTransitional = "virtio-non-transitional",
    }

    /// The model of a panic notifier.
    pub enum PanicModel {
        Isa = "isa",
        Pseries = "pseries",
        Hyperv = "hyperv",
        S390 = "s390",
        Pvpanic = "pvpanic",
    }

    /// The model of shared memory.
    pub enum ShmemModel {
        Ivshmem = "ivshmem",
        Plain = "ivshmem-plain",
        Doorbell = "ivshmem-doorbell",
    }

    /// The model of an IOMMU.
    pub enum IommuModel { Intel = "intel", Smmuv3 = "smmuv3", Virtio = "virtio", Amd = "amd" }

    /// The model of a cryptographic accelerator.
    pub enum CryptoModel { Virtio = "virtio" }

    /// The type of a cryptographic accelerator.
    pub enum CryptoType { Qemu = "qemu" }

    /// The backend of a persistent store.
    pub enum PstoreBackend { AcpiErst = "acpi-erst" }
}

fields! {
    /// A hub.
    pub struct Hub {
        required {
            /// The type.
            r#type: HubType = "@type",
        }
    }

    /// A watchdog.
    pub struct Watchdog {
        required {
            /// The model.
            model: WatchdogModel = "@model",
        }
        optional {
            /// The action when it expires.
            action: String = "@action",
        }
    }

    /// A memory balloon.
    pub struct Memballoon {
        required {
            /// The model.
            model: MemballoonModel = "@model",
        }
    }

    /// A source of random numbers.
    pub struct Rng {
        required {
            /// The interface of the virtio device.
            model: VirtioModel = "@model",
        }
    }

    /// The non-volatile memory of pseries.
    pub struct Nvram {}

    /// A panic notifier.
    pub struct Panic {
        optional {
            /// The model; that of the machine if it is missing.
            model: PanicModel = "@model",
        }
    }

    /// Memory shared between guests.
    pub struct Shmem {
        optional {
            /// The name on the host.
            name: String = "@name",
            /// The model; `ivshmem` if it is missing.
            model: ShmemModel = "model@type",
        }
    }

    /// An IOMMU.
    pub struct Iommu {
        required {
            /// The model.
            model: IommuModel = "@model",
        }
    }

    /// A cryptographic accelerator.
    pub struct Crypto {
        optional {
            /// The model.
            model: CryptoModel = "@model",
            /// The type.
            r#type: CryptoType = "@type",
        }
    }

    /// A persistent store for the guest's crash messages.
    pub struct Pstore {
        optional {
            /// The backend.
            backend: PstoreBackend = "@backend",
        }
    }

    /// The path of the emulator.
    pub struct Emulator {}

    /// A lease of a lock manager.
    pub struct Lease {}

    /// A filter of redirected devices.
    pub struct Redirfilter {}
}
