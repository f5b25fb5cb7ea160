//! Settings of a process that are not options of QEMU.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// A setting of a process that is not an option of QEMU: it is applied when the process starts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setup {
    /// The host's CPUs on which all threads run, in order; set before the program is executed.
    Cpus(Vec<u32>),
    /// The host's NUMA nodes on whose CPUs all threads run, in order; set before the program is executed.
    CpusOfNodes(Vec<u32>),
    /// The host's CPUs on which a thread runs, instead of those of all threads; set through the monitor's numbers of threads
    /// before the guest runs.
    Pin {
        /// The thread.
        thread: Thread,
        /// The CPUs, in order.
        cpus: Vec<u32>,
    },
    /// The host's NUMA nodes on which the memory of all threads is allocated; set before the program is executed.
    MemoryNodes {
        /// The use of the nodes.
        policy: NodePolicy,
        /// The nodes, in order.
        nodes: Vec<u32>,
    },
    /// The process may lock all of its memory; set before the program is executed.
    LockedMemory,
    /// The virtual CPUs that are plugged in, in order, through the monitor before the guest runs; those of a group that is
    /// plugged in as one are all named.
    PlugCpus(Vec<u32>),
    /// The variables of the firmware, a file; created as a copy of the template before QEMU starts, if it does not exist.
    Variables {
        /// The file.
        path: PathBuf,
        /// The template; `None` if the file must exist.
        template: Option<PathBuf>,
    },
    /// The file of a persistent store; created before QEMU starts, if it does not exist, and given its size.
    Store {
        /// The file.
        path: PathBuf,
        /// The size in KiB.
        kib: u64,
    },
    /// An object of QEMU by whose threads memory was allocated; deleted through the monitor before the guest runs.
    ThreadContext {
        /// The id of the object.
        id: String,
    },
    /// A directory of the guest on a hugetlbfs, which QEMU expects to be there; created before QEMU starts.
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The process may send any command to SCSI devices: `CAP_SYS_RAWIO`; set before the program is executed.
    RawIo,
    /// The memory that the guest has at first; set through the monitor before the guest runs.
    Balloon {
        /// The size in KiB.
        kib: u64,
    },
    /// A network interface has no link; set through the monitor before the guest runs.
    NoLink {
        /// The id of the interface.
        id: String,
    },
    /// The limits of the throughput of a disk: `block_set_io_throttle`; set through the monitor before the guest runs.
    DiskLimits {
        /// The arguments of the request, in JSON.
        arguments: String,
    },
    /// The period of the statistics of the balloon; set through the monitor before the guest runs.
    BalloonStatistics {
        /// The id of the balloon.
        id: String,
        /// The period in seconds.
        seconds: u32,
    },
    /// A process that emulates a TPM; it runs before QEMU starts.
    Tpm(Swtpm),
    /// The guest's own D-Bus; its daemon runs before QEMU starts.
    Bus {
        /// The socket.
        socket: PathBuf,
    },
    /// A process that implements a video device; it runs before QEMU starts.
    Video(VideoProcess),
    /// The password of a graphical console; set through the monitor before the guest runs.
    Password(Password),
}

/// The emulator of a TPM: swtpm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swtpm {
    /// The socket that QEMU connects to.
    pub socket: PathBuf,
    /// The version of the TPM: `1.2` or `2.0`.
    pub version: String,
    /// The type of the place of its state, `file` or `dir`, and its path; `None` for a directory of the guest.
    pub source: Option<(String, String)>,
    /// The UUID of the secret that encrypts the state.
    pub secret: Option<String>,
    /// True if the state is kept when the guest is undefined.
    pub is_persistent: bool,
    /// The level of debug messages.
    pub debug: u32,
    /// The banks of registers that are active; empty for the default.
    pub banks: Vec<String>,
    /// The name of the profile and how disabled algorithms are removed from it.
    pub profile: Option<(String, Option<String>)>,
}

/// The implementation of a video device: vhost-user-gpu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoProcess {
    /// The alias of the device, as in the descriptor of its socket.
    pub alias: String,
    /// True if it renders with a GPU.
    pub is_accelerated: bool,
    /// The GPU that renders.
    pub render_node: Option<String>,
}

/// The password of a graphical console, which is set over the monitor.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// `vnc` or `spice`.
    pub protocol: &'static str,
    /// The password.
    pub password: Zeroizing<String>,
    /// The treatment of clients that are connected: `keep`, `disconnect` or `fail`.
    pub connected: Option<String>,
    /// The time at which it expires, as `YYYY-MM-DDTHH:MM:SS` in UTC.
    pub valid_to: Option<String>,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// A thread of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Thread {
    /// All threads that are not those of CPUs and I/O threads.
    Emulator,
    /// The thread of a virtual CPU.
    Vcpu(u32),
    /// An I/O thread.
    IoThread(u32),
}

/// The use of NUMA nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePolicy {
    /// No memory is allocated elsewhere.
    Bind,
    /// Memory is allocated elsewhere if the nodes have none left.
    Preferred,
    /// Pages are spread over the nodes.
    Interleave,
    /// The control group permits no other nodes; the policy of the process is the default one.
    Restrictive,
}

impl NodePolicy {
    /// Returns the name in QEMU; `None` for one that QEMU does not apply.
    pub fn name(self) -> Option<&'static str> {
        match self {
            NodePolicy::Bind => Some("bind"),
            NodePolicy::Preferred => Some("preferred"),
            NodePolicy::Interleave => Some("interleave"),
            NodePolicy::Restrictive => None,
        }
    }
}
