//! The places of the host that a command line names.

mod assigned;
mod below;
mod display;
mod firmware;
mod link;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use assigned::{Assigned, AssignedNetwork};
pub use below::{Below, Probe};
pub use display::{CharacterTls, Sasl, Spice, Tls, Vnc};
pub use firmware::Firmware;
pub(crate) use firmware::{Flash, FlashMode, Mapping};
pub use link::{HostIp, HostRoute, Link, Port, Tap};

/// The lowest number that a guest can have at a socket to the host; smaller ones are reserved.
pub(crate) const FIRST_CID: u32 = 3;

/// The places of the host that a command line names: directories of the guest and of the root.
#[derive(Clone, Debug)]
pub struct Host {
    /// The emulator of a guest that names none.
    pub emulator: PathBuf,
    /// The directory of the guest: its master key, sockets and home.
    pub guest_dir: PathBuf,
    /// The guest's directory of the sockets of channels that name no path.
    pub channel_dir: PathBuf,
    /// The directory of the variables of firmware.
    pub nvram_dir: PathBuf,
    /// The folder of libvirt's map of CPU models, for guests of x86 whose CPU is close to the host's; `None` if libvirt is
    /// not installed.
    pub cpu_map: Option<PathBuf>,
    /// Returns descriptions of firmware, by priority.
    pub firmware: fn() -> Vec<Firmware>,
    /// Files of code of UEFI and templates of their variables, of firmware without a description: `nvram` in libvirt's
    /// `qemu.conf`.
    pub flash_pairs: Vec<(String, String)>,
    /// The guest's directory of memory in files.
    pub memory_dir: PathBuf,
    /// The size of ordinary pages in KiB.
    pub page_kib: u64,
    /// The guest's directories on each hugetlbfs, with the size of their pages in KiB; the first is that of the default
    /// size.
    pub hugepages: Vec<(u64, PathBuf)>,
    /// The time, from which clocks of guests may differ.
    pub now: SystemTime,
    /// The environment that is passed on.
    pub environment: Vec<(String, String)>,
    /// Variables that name the user, which follow the home.
    pub user: Vec<(String, String)>,
    /// Returns the number in QEMU of a descriptor, before which so many others were passed.
    pub number: fn(&Descriptor, usize) -> i32,
    /// Returns the link that a network of libvirt stands for: to a bridge, or macvtap.
    pub network: fn(&str) -> Option<Link>,
    /// The NUMA nodes.
    pub nodes: Vec<u32>,
    /// Returns the NUMA nodes that are best for a number of CPUs and a size of memory in MiB, in order; `None` if nothing
    /// advises on them.
    pub advised_nodes: fn(u32, u64) -> Option<Vec<u32>>,
    /// Returns the NUMA node of a CPU.
    pub node_of_cpu: fn(u32) -> Option<u32>,
    /// The number of a guest that has a socket to the host and names none.
    pub vsock_cid: u32,
    /// The daemon of virtiofs.
    pub virtiofsd: PathBuf,
    /// The start of the paths of the sockets of passt, which end with the alias of the interface.
    pub passt_prefix: PathBuf,
    /// Returns the bus and the device of the only USB device of a vendor and product.
    pub usb_device: fn(vendor: u32, product: u32) -> Option<(u32, u32)>,
    /// Reads the header of an image at a path, in a format with images below it; `None` if headers are not read, and QEMU
    /// finds the image below. The error is the cause, in words.
    pub probe: fn(&Path, &str) -> Result<Option<Probe>, String>,
    /// Returns true if a file exists that a guest can be started without.
    pub exists: fn(&Path) -> bool,
    /// Returns true if a device can be opened for reading and writing, where a guest can be started without it.
    pub opens: fn(&Path) -> bool,
    /// Returns true if a block device is a CD-ROM drive.
    pub is_cdrom: fn(&Path) -> bool,
    /// TLS of disks over NBD; `None` if there are no certificates.
    pub nbd_tls: Option<Tls>,
    /// Returns the character device of a SCSI device, by the name of its adapter (`scsi_host0`), and its bus, target and
    /// unit.
    pub scsi_generic: fn(adapter: &str, address: [u64; 3]) -> Option<PathBuf>,
    /// True if `/dev/vhost-net` serves guests without KVM too. libvirt uses it with KVM only.
    pub vhost_without_kvm: bool,
    /// True if a guest without graphics and audio backends gets the audio backend of the host, and none otherwise.
    pub allows_host_audio: bool,
    /// Variables of our own environment from which options take defaults: those of audio.
    pub variables: Vec<(String, String)>,
    /// The socket of the process that emulates a TPM.
    pub tpm_socket: PathBuf,
    /// The socket of the guest's own D-Bus.
    pub bus_socket: PathBuf,
    /// TLS of character devices.
    pub character_tls: CharacterTls,
    /// Settings of VNC.
    pub vnc: Vnc,
    /// Settings of SPICE.
    pub spice: Spice,
    /// The GPU that renders for guests that name none, as in `/dev/dri/renderD128`.
    pub render_node: Option<PathBuf>,
}

impl Host {
    /// The directory of the directories of guests.
    pub(crate) fn library_dir(&self) -> Option<&Path> {
        self.guest_dir.parent()
    }

    /// Returns a variable of our own environment from which options take defaults.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A process that serves a device of the guest: it listens at its socket before QEMU starts, and ends with QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// The program: a path, or a name to search for.
    pub program: PathBuf,
    /// The arguments.
    pub args: Vec<String>,
    /// The socket.
    pub socket: PathBuf,
}

/// A descriptor that QEMU inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Descriptor {
    /// A listening socket for the monitor.
    Monitor,
    /// A listening socket of a character device.
    Listen {
        /// The path.
        path: PathBuf,
    },
    /// A file that a character device writes to.
    Output {
        /// The path.
        path: PathBuf,
        /// True if the file is continued; it is truncated otherwise.
        append: bool,
    },
    /// The log of a character device, to which its output is copied.
    Log {
        /// The path.
        path: PathBuf,
        /// True if the file is continued; it is truncated otherwise.
        append: bool,
    },
    /// A TPM of the host.
    Tpm {
        /// The path of the device.
        path: PathBuf,
    },
    /// The file by which a command of a TPM of the host is cancelled.
    TpmCancel {
        /// The path of the device.
        path: PathBuf,
    },
    /// The socket of the process that implements a video device.
    VideoProcess {
        /// The alias of the device.
        alias: String,
    },
    /// A queue of a tap or macvtap device.
    Tap {
        /// The device.
        link: Arc<Link>,
        /// The number of the queue, from 0.
        queue: u16,
    },
    /// A queue of vhost-net.
    VhostNet {
        /// The character device.
        path: PathBuf,
        /// The number of the queue, from 0.
        queue: u16,
    },
    /// A vDPA device.
    Vdpa {
        /// The character device.
        path: PathBuf,
    },
    /// `/dev/vhost-scsi`.
    VhostScsi,
    /// `/dev/vhost-vsock`, with the number of the guest set.
    VhostVsock {
        /// The number; `None` for one that is free.
        cid: Option<u32>,
    },
}
