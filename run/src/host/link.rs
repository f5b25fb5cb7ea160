//! Network devices of the host that interfaces of a guest are connected by.

use std::path::PathBuf;

/// A network device of the host that a guest's interface is connected by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Link {
    /// A tap device that belongs to no bridge.
    Tap(Tap),
    /// A tap device that is a port of a bridge.
    Bridge {
        /// The name of the bridge.
        bridge: String,
        /// The settings of the port.
        port: Port,
        /// The tap device.
        tap: Tap,
    },
    /// A macvtap device.
    Macvtap {
        /// The name of the device that it is on.
        device: String,
        /// The mode: `vepa`, `bridge`, `private` or `passthrough`.
        mode: String,
        /// The settings of the port.
        port: Port,
        /// The name and properties.
        tap: Tap,
    },
}

/// A tap device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tap {
    /// The name; a new one if it is missing.
    pub name: Option<String>,
    /// True if the device is there already and is not changed.
    pub exists: bool,
    /// The character device; `/dev/net/tun` if it is missing.
    pub path: Option<PathBuf>,
    /// The MAC address of the guest's interface.
    pub mac: String,
    /// The largest packet in bytes, if it is set.
    pub mtu: Option<u32>,
    /// The number of packets after which the host is interrupted at the latest.
    pub coalesced_frames: Option<u32>,
    /// The number of queues.
    pub queues: u16,
    /// True if packets have the header of virtio.
    pub has_virtio_header: bool,
    /// The program that is run when the device is there.
    pub script: Option<PathBuf>,
    /// The program that is run before the device is removed.
    pub down_script: Option<PathBuf>,
    /// Addresses of the device on the host.
    pub addresses: Vec<HostIp>,
    /// Routes over the device on the host.
    pub routes: Vec<HostRoute>,
}

/// An address of a device on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostIp {
    /// The address.
    pub address: String,
    /// The length of the prefix of the network.
    pub prefix: Option<u32>,
    /// The address of the other end.
    pub peer: Option<String>,
}

/// A route of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoute {
    /// The address of the network.
    pub address: String,
    /// The length of the prefix of the network.
    pub prefix: Option<u32>,
    /// The mask of the network.
    pub netmask: Option<String>,
    /// The address of the gateway.
    pub gateway: String,
    /// The metric.
    pub metric: Option<u32>,
}

/// The settings of a port of a bridge or of another switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// The type of the port: `openvswitch`, `midonet`, `802.1Qbg` or `802.1Qbh`; an ordinary one if it is missing.
    pub r#type: Option<String>,
    /// The parameters of the type, with libvirt's names.
    pub parameters: Vec<(String, String)>,
    /// The VLANs.
    pub vlans: Vec<u16>,
    /// True if packets of the guest carry the number of their VLAN.
    pub is_trunk: bool,
    /// True if the port exchanges no packets with other isolated ports.
    pub is_isolated: bool,
    /// The group of ports of the network.
    pub group: Option<String>,
    /// True if the host follows the addresses and filters that the guest sets.
    pub trusts_guest: bool,
}
