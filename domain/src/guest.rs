//! The guest: what addresses depend on, typed, and everything else as it was read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::device::{Device, DeviceKind};
use crate::fields::fields;
use crate::tree::Element;
use crate::value::{Switch, words};

words! {
    /// The virtualization that runs a guest.
    pub enum DomainType {
        Kvm = "kvm",
        Qemu = "qemu",
        Hvf = "hvf",
        Xen = "xen",
        Lxc = "lxc",
        Vbox = "vbox",
        Vmware = "vmware",
        Hyperv = "hyperv",
        Bhyve = "bhyve",
        Test = "test",
        Vz = "vz",
        Parallels = "parallels",
        Openvz = "openvz",
    }
}

fields! {
    /// The parts of `<os>` that addresses depend on.
    pub struct Os {
        required {
            /// The type: `hvm` for all machines of QEMU.
            #[serde(default = "hvm")]
            r#type: String = "os/type",
        }
        optional {
            /// The architecture in libvirt's words; that of the emulator if it is missing.
            arch: String = "os/type@arch",
            /// The machine type; the emulator's default if it is missing.
            machine: String = "os/type@machine",
        }
    }

    /// The parts of `<features>` that addresses depend on.
    #[derive(Default)]
    pub struct Features {
        optional {
            /// On if the machine has a PS/2 keyboard and mouse.
            ps2: Switch = "features/ps2@state",
        }
    }
}

/// A cell of the guest's NUMA topology.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NumaCell {
    /// The number of the cell.
    pub id: u32,
    /// The virtual CPUs, as in `0-3,8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// The memory in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<u64>,
}

/// The limits of memory hotplug.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MaxMemory {
    /// The largest memory in KiB.
    pub kib: u64,
    /// The number of memory slots.
    pub slots: u32,
}

/// A guest.
///
/// [`Guest::from_xml`] reads one and keeps all that the typed fields do not hold; [`Guest::to_xml`] writes it back.
/// A program can also build one from its parts, or deserialize it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Guest {
    /// The virtualization.
    #[serde(default = "default_type")]
    pub r#type: DomainType,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The memory in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<u64>,
    /// The limits of memory hotplug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<MaxMemory>,
    /// The largest number of virtual CPUs.
    #[serde(default = "default_vcpus")]
    pub vcpus: u32,
    /// Architecture and machine.
    pub os: Os,
    /// Features of the machine.
    #[serde(default)]
    pub features: Features,
    /// The cells of the NUMA topology, in order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numa: Vec<NumaCell>,
    /// The devices, in the order in which they were read or added.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// The `<domain>` that was read, with an empty `<devices>`.
    #[serde(skip)]
    pub(crate) tree: Option<Arc<Element>>,
    /// The offsets at which the lines of the text start that was read.
    #[serde(skip)]
    pub(crate) lines: Option<Arc<[u32]>>,
}

/// The tree of a guest that was not read.
static NO_TREE: Element = Element::empty();

fn hvm() -> String {
    "hvm".to_owned()
}

fn default_type() -> DomainType {
    DomainType::Kvm
}

fn default_vcpus() -> u32 {
    1
}

impl Guest {
    /// Creates a guest without devices, with one virtual CPU.
    pub fn new(arch: impl Into<String>, machine: impl Into<String>) -> Guest {
        Guest {
            r#type: default_type(),
            name: None,
            uuid: None,
            memory_kib: None,
            max_memory: None,
            vcpus: default_vcpus(),
            os: Os { r#type: hvm(), arch: Some(arch.into()), machine: Some(machine.into()) },
            features: Features::default(),
            numa: Vec::new(),
            devices: Vec::new(),
            tree: None,
            lines: None,
        }
    }

    /// Adds a device without an address, and returns it.
    pub fn add(&mut self, kind: impl Into<DeviceKind>) -> &mut Device {
        self.devices.push(Device::new(kind));
        let last = self.devices.len() - 1;
        &mut self.devices[last]
    }

    /// The `<domain>` that was read, without its devices: what the typed fields do not hold.
    pub fn tree(&self) -> &Element {
        self.tree.as_deref().unwrap_or(&NO_TREE)
    }

    /// Returns the line, from 1, of an element or attribute at an offset in the text that was read; `None` for what was
    /// not read.
    pub fn line(&self, offset: u32) -> Option<u32> {
        let lines = self.lines.as_deref().filter(|_| offset > 0)?;
        u32::try_from(lines.partition_point(|start| *start <= offset)).ok()
    }

    /// Sorts the devices into the order in which libvirt writes them; those of a kind keep their order.
    pub fn sort_devices(&mut self) {
        self.devices.sort_by_key(|device| device.device.kind());
    }
}
