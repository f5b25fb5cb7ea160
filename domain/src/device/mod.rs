//! Devices of a guest, one type for each element of `<devices>`.

mod character;
mod display;
mod network;
mod other;
mod storage;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::Fault;
use crate::fields::check_repeated;
use crate::tree::Element;

pub use character::{
    Channel, ChannelType, Console, ConsoleType, Parallel, Serial, SerialType, Smartcard,
    SmartcardMode, Tpm, TpmModel,
};
pub use display::{
    Audio, AudioType, Graphics, GraphicsType, Input, InputBus, InputType, Sound, SoundModel, Video,
    VideoModel,
};
pub use network::{
    Hostdev, HostdevMode, HostdevModel, HostdevProtocol, HostdevType, Interface, InterfaceType,
    Redirdev, RedirdevBus, Vsock,
};
pub use other::{
    Crypto, CryptoModel, CryptoType, Emulator, Hub, HubType, Iommu, IommuModel, Lease, Memballoon,
    MemballoonModel, Nvram, Panic, PanicModel, Pstore, PstoreBackend, Redirfilter, Rng, Shmem,
    ShmemModel, Watchdog, WatchdogModel,
};
pub use storage::{
    Controller, ControllerModel, ControllerType, Disk, DiskBus, DiskDevice, DiskModel, Filesystem,
    FilesystemDriver, FilesystemType, Memory, MemoryModel, VirtioModel,
};

/// A device: its kind, its address, and its element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The kind of device, with the facts that addresses depend on.
    pub device: DeviceKind,
    /// The address in the guest; `None` if it is still to be assigned, or if the device has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The name by which QEMU and libvirt's API refer to the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The element that was read; `None` for a device that was not. Copies of a device share it.
    #[serde(skip)]
    pub(crate) element: Option<Arc<Element>>,
}

/// The elements of a device that typed fields are read from.
const READ_ONCE: &[&str] = &["target", "model", "driver", "alias", "address"];

/// The element of a device that was not read.
static NO_ELEMENT: Element = Element::empty();

macro_rules! kinds {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)+) => {
        /// The kind of a device. The order is that in which libvirt writes them.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
        #[serde(tag = "kind")]
        #[non_exhaustive]
        pub enum DeviceKind {
            $($(#[$meta])* #[serde(rename = $name)] $variant($variant),)+
            /// An element that is not understood and is carried through unchanged.
            #[serde(skip)]
            Unknown,
        }

        /// The name of an element of `<devices>`. The order is that in which libvirt writes them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$meta])* $variant,)+
            /// An element that is not understood.
            Unknown,
        }

        impl Kind {
            /// All kinds, in order.
            pub const ALL: &[Kind] = &[$(Kind::$variant,)+ Kind::Unknown];
        }

        impl DeviceKind {
            /// The name of the element; empty for [`DeviceKind::Unknown`].
            pub fn name(&self) -> &'static str {
                match self { $(DeviceKind::$variant(_) => $name,)+ DeviceKind::Unknown => "" }
            }

            /// The kind, without the facts.
            pub fn kind(&self) -> Kind {
                match self {
                    $(DeviceKind::$variant(_) => Kind::$variant,)+
                    DeviceKind::Unknown => Kind::Unknown,
                }
            }

            fn read(element: &Element) -> Result<DeviceKind, Fault> {
                match element.name.as_str() {
                    $($name => $variant::read(element).map(DeviceKind::$variant),)+
                    _ => Ok(DeviceKind::Unknown),
                }
            }

            fn write(&self, element: &mut Element) {
                match self { $(DeviceKind::$variant(d) => d.write(element),)+ DeviceKind::Unknown => {} }
            }
        }

        $(impl From<$variant> for DeviceKind {
            fn from(device: $variant) -> DeviceKind { DeviceKind::$variant(device) }
        })+
    };
}

kinds! {
    /// The path of the emulator.
    Emulator = "emulator",
    /// A disk.
    Disk = "disk",
    /// A controller.
    Controller = "controller",
    /// A lease.
    Lease = "lease",
    /// A filesystem.
    Filesystem = "filesystem",
    /// A network interface.
    Interface = "interface",
    /// A smart card.
    Smartcard = "smartcard",
    /// A serial port.
    Serial = "serial",
    /// A parallel port.
    Parallel = "parallel",
    /// A console.
    Console = "console",
    /// A channel.
    Channel = "channel",
    /// An input device.
    Input = "input",
    /// A TPM.
    Tpm = "tpm",
    /// A graphical console.
    Graphics = "graphics",
    /// A sound device.
    Sound = "sound",
    /// An audio backend.
    Audio = "audio",
    /// A video device.
    Video = "video",
    /// A device of the host.
    Hostdev = "hostdev",
    /// A redirected device.
    Redirdev = "redirdev",
    /// A filter of redirected devices.
    Redirfilter = "redirfilter",
    /// A hub.
    Hub = "hub",
    /// A watchdog.
    Watchdog = "watchdog",
    /// A memory balloon.
    Memballoon = "memballoon",
    /// A source of random numbers.
    Rng = "rng",
    /// Non-volatile memory.
    Nvram = "nvram",
    /// A panic notifier.
    Panic = "panic",
    /// Shared memory.
    Shmem = "shmem",
    /// A memory device.
    Memory = "memory",
    /// A cryptographic accelerator.
    Crypto = "crypto",
    /// An IOMMU.
    Iommu = "iommu",
    /// A socket.
    Vsock = "vsock",
    /// A persistent store.
    Pstore = "pstore",
}

impl Device {
    /// Creates a device without an address.
    pub fn new(kind: impl Into<DeviceKind>) -> Device {
        Device { device: kind.into(), address: None, alias: None, element: None }
    }

    /// Creates a device with an address.
    pub fn with_address(kind: impl Into<DeviceKind>, address: Address) -> Device {
        Device { address: Some(address), ..Device::new(kind) }
    }

    /// The element that the device was read from, with all that the typed fields do not hold.
    pub fn element(&self) -> &Element {
        self.element.as_deref().unwrap_or(&NO_ELEMENT)
    }

    /// The element that the device was read from, for changes of what the typed fields do not hold.
    pub fn element_mut(&mut self) -> &mut Element {
        Arc::make_mut(self.element.get_or_insert_default())
    }

    /// Returns the controller, if it is one.
    pub fn controller(&self) -> Option<&Controller> {
        match &self.device {
            DeviceKind::Controller(controller) => Some(controller),
            _ => None,
        }
    }

    /// Reads a child of `<devices>`.
    pub(crate) fn read(element: Element) -> Result<Device, Fault> {
        let below = |fault: Fault| fault.below(&format!("/{}", element.name));
        let device = DeviceKind::read(&element).map_err(below)?;
        let mut address = None;
        if device != DeviceKind::Unknown {
            check_repeated(&element, READ_ONCE).map_err(below)?;
            let read = element.child("address").map(Address::read).transpose();
            address = read.map_err(|fault| below(fault.below("/address")))?;
        }
        let alias = element.child("alias").and_then(|e| e.attribute("name")).map(str::to_owned);
        Ok(Device { device, address, alias, element: Some(Arc::new(element)) })
    }

    /// Returns the element with the present kind and address.
    pub(crate) fn to_element(&self) -> Element {
        let mut element = self.element().clone();
        if self.device == DeviceKind::Unknown {
            return element;
        }
        if element.name.is_empty() {
            self.device.name().clone_into(&mut element.name);
        }
        let children = element.children.len();
        self.device.write(&mut element);
        if let Some(alias) = &self.alias {
            element.child_or_new("alias").set("name", alias);
        }
        // The address goes after children that were added.
        if element.children.len() > children {
            element.remove_children("address");
        }
        match (&self.address, element.child_mut("address")) {
            (Some(address), Some(old)) => {
                let mut new = address.to_element();
                new.keep_offsets(old);
                *old = new;
            }
            (Some(address), None) => element.push(address.to_element()),
            (None, _) => element.remove_children("address"),
        }
        element
    }
}
