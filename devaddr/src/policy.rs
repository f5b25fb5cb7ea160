//! Policies: what of libvirt's choices to change.

use serde::{Deserialize, Serialize};

/// The rules by which devices get addresses.
///
/// The default is libvirt's, for a guest that is defined anew. Each rule applies to all devices; an entry of
/// [`Policy::devices`] changes it for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Policy {
    /// The history of the guest: new, or defined before.
    pub definition: Definition,
    /// The number of free hotpluggable slots that the guest has after each change; `None` for libvirt's rule: one
    /// port, and only for a new guest whose PCIe controllers were all added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare: Option<u32>,
    /// The kind of slot of devices that can be in either; `None` for libvirt's rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotKind>,
    /// True if devices on PCIe can be unplugged while the guest runs; `None` for libvirt's rule: all can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hotplug: Option<bool>,
    /// True if up to eight devices share a slot, as its functions. They can only be plugged together.
    pub packed: bool,
    /// True if every NUMA node of the guest has an expander with a free slot, also one without devices.
    pub expanders: bool,
    /// Rules for single devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DevicePolicy>,
}

/// Rules for one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DevicePolicy {
    /// The device: its alias, the name of a disk, the MAC address of an interface, or its kind and its position among
    /// those of the kind, as in `hostdev/0`.
    pub device: String,
    /// The NUMA node of the guest that the device belongs to: it is placed below an expander of that node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// The kind of slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotKind>,
    /// True if the device can be unplugged while the guest runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotplug: Option<bool>,
    /// True if it shares a slot with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<bool>,
}

/// A kind of slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SlotKind {
    /// Conventional PCI. Devices that exist for PCIe only stay there.
    Pci,
    /// PCIe, on machines that have it: no conventional bridge is added.
    Pcie,
}

/// The history of a guest. libvirt leaves open in older guests what it did not assign in the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Definition {
    /// The guest is defined anew: USB devices get ports, hubs are added where ports run out, and USB controllers of
    /// pseries are of the newest model.
    #[default]
    New,
    /// The guest was defined before: USB devices without a port stay without, and models are those of the past.
    Existing,
}

impl Policy {
    /// Returns true if a rule about PCI slots differs from libvirt's.
    pub(crate) fn changes_slots(&self) -> bool {
        self.slot.is_some()
            || self.hotplug.is_some()
            || self.packed
            || self.expanders
            || !self.devices.is_empty()
    }

    /// Returns true if some devices need ports with hotplug, or without.
    pub(crate) fn changes_hotplug(&self) -> bool {
        self.hotplug.is_some() || self.devices.iter().any(|device| device.hotplug.is_some())
    }

    /// Returns true if devices are placed by NUMA node.
    pub(crate) fn places_by_node(&self) -> bool {
        self.expanders || self.devices.iter().any(|device| device.node.is_some())
    }
}
