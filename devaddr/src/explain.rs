//! Reasons for addresses and implicit devices.

use std::fmt;

use capscache_domain::{Device, DeviceKind, Guest};
use serde::{Deserialize, Serialize};

use crate::describe::names;
use crate::facts::Source;

/// The result of assigning addresses: why each device is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// The source of the facts that were used.
    pub facts: Source,
    /// The reasons, in the order of [`Guest::devices`].
    pub reasons: Vec<Reason>,
}

/// The reason for one device's address, or for the device itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Reason {
    /// The position in [`Guest::devices`].
    pub device: usize,
    /// The reason.
    pub why: Why,
}

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Why {
    /// The machine always has the device.
    PartOfMachine,
    /// The guest gets the device unless it says otherwise.
    ByDefault,
    /// Another device needs the controller.
    NeededByDevice,
    /// A controller was added since no free slot was left for a device.
    NoFreeSlotLeft,
    /// The controller keeps a slot free for a device that is added later.
    SpareSlot,
    /// The address was given.
    Given,
    /// The machine has a fixed place for the device.
    FixedPlace,
    /// The place that real hardware uses was free.
    CustomaryPlace,
    /// The place follows from the name of the disk.
    FromName,
    /// The lowest free slot that accepts the device.
    LowestFree,
    /// The functions of a USB 2 controller share a slot.
    Companion,
    /// The lowest free port of the first controller.
    LowestPort,
    /// The lowest free number.
    LowestNumber,
    /// The machine itself numbers devices of this bus.
    NumberedByMachine,
    /// The same place as the serial port that the console stands for.
    SameAsSerial,
    /// The bus belongs to the NUMA node of the device.
    NearNode,
    /// The device shares a slot with others, as the policy says.
    Packed,
}

impl Why {
    /// Returns true for a reason why a device is at its address; the others are reasons why it is there at all.
    pub fn is_about_address(self) -> bool {
        !matches!(
            self,
            Why::PartOfMachine
                | Why::ByDefault
                | Why::NeededByDevice
                | Why::NoFreeSlotLeft
                | Why::SpareSlot
        )
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::PartOfMachine => "the machine always has it",
            Why::ByDefault => "a guest has it unless it says otherwise",
            Why::NeededByDevice => "another device needs it",
            Why::NoFreeSlotLeft => "no free slot was left for a device",
            Why::SpareSlot => "it keeps a slot free for a device that is added later",
            Why::Given => "the address was given",
            Why::FixedPlace => "the machine has a fixed place for it",
            Why::CustomaryPlace => "the place of this device on real hardware was free",
            Why::FromName => "the place follows from its name",
            Why::LowestFree => "the lowest free slot that accepts it",
            Why::Companion => "the parts of a USB 2 controller share a slot",
            Why::LowestPort => "the lowest free port of the first controller",
            Why::LowestNumber => "the lowest free number",
            Why::NumberedByMachine => "the machine numbers devices of this bus",
            Why::SameAsSerial => "it is the serial port with this number",
            Why::NearNode => "the bus belongs to the NUMA node of the device",
            Why::Packed => "functions of one slot are shared, as the policy says",
        })
    }
}

impl Report {
    /// Returns one line for each device of the guest: device, address, reasons. A device without a name of its own has
    /// its kind and position, as in [`DevicePolicy::device`](crate::DevicePolicy::device).
    pub fn lines(&self, guest: &Guest) -> Vec<String> {
        let mut reasons: Vec<Vec<String>> = vec![Vec::new(); guest.devices.len()];
        for reason in &self.reasons {
            if let Some(of_device) = reasons.get_mut(reason.device) {
                of_device.push(reason.why.to_string());
            }
        }
        let devices = names(&guest.devices).into_iter().zip(&guest.devices);
        // libvirt lists the path of the emulator among the devices.
        let is_device = |device: &Device| !matches!(device.device, DeviceKind::Emulator(_));
        devices
            .zip(reasons)
            .filter(|((_, device), _)| is_device(device))
            .map(|((name, device), reasons)| line(&name, device, &reasons))
            .collect()
    }
}

fn line(name: &str, device: &Device, reasons: &[String]) -> String {
    let reasons = match reasons {
        [] if device.address.is_none() => "it needs no address".to_owned(),
        [] => Why::Given.to_string(),
        reasons => reasons.join("; "),
    };
    match &device.address {
        Some(address) => format!("{name} at {address}: {reasons}"),
        None => format!("{name}: {reasons}"),
    }
}
