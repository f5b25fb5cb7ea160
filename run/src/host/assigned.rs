//! Devices of the host that a guest uses itself.

use super::Port;

/// A PCI device of the host that is assigned to a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The address on the host, as in `0000:06:12.5`.
    pub address: String,
    /// True if the device is bound to the driver before QEMU starts, and given back when it ends.
    pub is_managed: bool,
    /// The driver of the kernel; `vfio-pci`, or a better one for the device, if it is missing.
    pub driver: Option<String>,
    /// The settings of a network device that is assigned as an interface.
    pub network: Option<AssignedNetwork>,
}

/// The settings of a network device that is assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedNetwork {
    /// The MAC address.
    pub mac: String,
    /// The settings of the port of the switch.
    pub port: Port,
}
