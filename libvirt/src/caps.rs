//! The capabilities of an emulator as libvirt keeps them: the exact content of its cache file.

use serde::{Deserialize, Serialize};

use crate::flags::FlagSet;
use crate::release::Release;

/// The `<qemuCaps>` of one emulator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QemuCaps {
    /// The release of libvirt whose flags and elements these are.
    pub release: Release,
    /// The requested path.
    pub emulator: String,
    /// Change time of the emulator's inode, in seconds.
    pub qemu_ctime: i64,
    /// Modification time of QEMU's module directory, in seconds; 0 if there is none.
    pub module_directory_mtime: i64,
    /// Newest change time of libvirt's own files, in seconds.
    pub self_ctime: i64,
    /// The version of libvirt: 1,000,000 × major + 1,000 × minor + micro.
    pub self_version: u32,
    /// The capability flags.
    pub flags: FlagSet,
    /// The version of QEMU, in the same encoding.
    pub version: u32,
    /// The microcode of the host's CPU.
    pub microcode_version: u32,
    /// The host's CPU, in one line.
    pub host_cpu_signature: Option<String>,
    /// The distributor's name for the build; may be empty.
    pub package: String,
    /// Release and version of the host's kernel.
    pub kernel_version: Option<String>,
    /// The CPUID leaves that KVM supports.
    pub cpu_data: Option<CpuData>,
    /// The guest's architecture in libvirt's vocabulary.
    pub arch: String,
    /// Capabilities under KVM.
    pub kvm: AcceleratorCaps,
    /// Capabilities under Apple's Hypervisor framework.
    pub hvf: AcceleratorCaps,
    /// Capabilities under TCG.
    pub tcg: AcceleratorCaps,
    /// ARM's interrupt controllers.
    pub gic: Vec<Gic>,
    /// AMD's encrypted virtualization.
    pub sev: Option<Sev>,
    /// Intel's enclaves.
    pub sgx: Option<Sgx>,
    /// The Hyper-V enlightenments, in the order of [`HYPERV`]; empty if not supported.
    pub hyperv: Vec<String>,
    /// Their values.
    pub hyperv_values: EnlightenmentValues,
    /// True if KVM supports nested virtualization.
    pub kvm_supports_nesting: bool,
    /// True if KVM supports guests that the host cannot read.
    pub kvm_supports_secure_guest: bool,
}

/// The enlightenments of libvirt, in the order in which it writes them.
pub const HYPERV: [&str; 17] = [
    "relaxed",
    "vapic",
    "spinlocks",
    "vpindex",
    "runtime",
    "synic",
    "stimer",
    "reset",
    "vendor_id",
    "frequencies",
    "reenlightenment",
    "tlbflush",
    "ipi",
    "evmcs",
    "avic",
    "emsr_bitmap",
    "xmm_input",
];

/// Values of enlightenments beside their names, which libvirt keeps since 12.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnlightenmentValues {
    /// The number of attempts before a guest reports that a spin lock is taken; 0 if there is no limit.
    pub spinlocks: u32,
    /// Synthetic timers in direct mode; `None` if QEMU did not report it.
    pub stimer_direct: Option<bool>,
    /// Direct flushes of the TLB of nested guests; `None` if QEMU did not report it.
    pub tlbflush_direct: Option<bool>,
    /// Flushes of ranges of the TLB; `None` if QEMU did not report it.
    pub tlbflush_extended: Option<bool>,
    /// The vendor that guests get.
    pub vendor_id: Option<String>,
}

/// Capabilities under one accelerator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AcceleratorCaps {
    /// The CPU that a guest can have on this host.
    pub host_cpu: Option<HostCpu>,
    /// The CPU models, in QEMU's order.
    pub cpus: Vec<Cpu>,
    /// The machine types: libvirt's preferred one, then the others in QEMU's order.
    pub machines: Vec<Machine>,
}

/// The CPU that a guest can have on this host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostCpu {
    /// The base model of the properties.
    pub model: String,
    /// True if QEMU reported which features can be migrated.
    pub migratability: bool,
    /// The properties, in QEMU's order.
    pub properties: Vec<CpuProperty>,
    /// Deprecated features.
    pub deprecated: Vec<String>,
    /// Those among the features of this CPU, which libvirt keeps apart since 12.
    pub host_deprecated: Vec<String>,
}

/// One property of the host's CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuProperty {
    /// The name, as QEMU spells it.
    pub name: String,
    /// The value.
    pub value: CpuValue,
    /// True if a guest with it can be migrated; `None` if unknown.
    pub migratable: Option<bool>,
}

/// The value of a property of the host's CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CpuValue {
    /// A boolean.
    Boolean(bool),
    /// A string.
    String(String),
    /// A number.
    Number(i64),
}

/// A CPU model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// The name.
    pub name: String,
    /// The QOM type.
    pub typename: Option<String>,
    /// True if it runs on this host; `None` if QEMU did not report it.
    pub usable: Option<bool>,
    /// The features that keep it from running.
    pub blockers: Vec<String>,
    /// True if QEMU marks it as deprecated.
    pub deprecated: bool,
}

/// A machine type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The name.
    pub name: String,
    /// The alias.
    pub alias: Option<String>,
    /// True if CPUs can be plugged while it runs.
    pub hotplug_cpus: bool,
    /// The largest number of CPUs; 0 if QEMU did not report it.
    pub max_cpus: u32,
    /// True for QEMU's default.
    pub is_default: bool,
    /// The type of the default CPU.
    pub default_cpu: Option<String>,
    /// True if memory devices can be assigned to NUMA nodes.
    pub numa_mem_supported: bool,
    /// The name of the default memory backend.
    pub default_ram_id: Option<String>,
    /// True if QEMU marks it as deprecated.
    pub deprecated: bool,
    /// True if it supports ACPI; `None` if QEMU did not report it.
    pub acpi: Option<bool>,
}

/// An interrupt controller of ARM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gic {
    /// The version.
    pub version: u32,
    /// True if the kernel provides it.
    pub kernel: bool,
    /// True if QEMU emulates it.
    pub emulated: bool,
}

/// AMD's encrypted virtualization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sev {
    /// The position of the encryption bit in an address.
    pub cbitpos: u32,
    /// The number of address bits that encryption takes.
    pub reduced_phys_bits: u32,
    /// The platform's Diffie-Hellman key.
    pub pdh: String,
    /// The platform's certificates.
    pub cert_chain: String,
    /// The first CPU's identity, if QEMU reported it.
    pub cpu0_id: Option<String>,
}

/// Intel's enclaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sgx {
    /// True if launch control is configurable.
    pub flc: bool,
    /// True if the SGX1 instructions are available.
    pub sgx1: bool,
    /// True if the SGX2 instructions are available.
    pub sgx2: bool,
    /// The total size of all sections, in KiB.
    pub section_size: u64,
    /// The sections.
    pub sections: Vec<SgxSection>,
}

/// A section of memory for enclaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SgxSection {
    /// The NUMA node.
    pub node: i64,
    /// The size in KiB.
    pub size: u64,
}

/// CPUID leaves and MSRs under KVM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuData {
    /// CPUID leaves, by `eax_in` and `ecx_in`.
    pub cpuid: Vec<Cpuid>,
    /// MSRs, by index.
    pub msrs: Vec<Msr>,
}

/// One leaf of CPUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cpuid {
    /// The leaf.
    pub eax_in: u32,
    /// The subleaf.
    pub ecx_in: u32,
    /// The registers.
    pub eax: u32,
    #[expect(missing_docs, reason = "as the one above")]
    pub ebx: u32,
    #[expect(missing_docs, reason = "as the one above")]
    pub ecx: u32,
    #[expect(missing_docs, reason = "as the one above")]
    pub edx: u32,
}

/// One model-specific register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Msr {
    /// The index.
    pub index: u32,
    /// The lower half.
    pub eax: u32,
    /// The upper half.
    pub edx: u32,
}

impl CpuData {
    /// Filters the leaves that KVM supports as libvirt does: removes leaves that are all zero and values
    /// that differ between processors, and sorts by leaf and subleaf.
    pub fn of_host(leaves: impl IntoIterator<Item = Cpuid>) -> CpuData {
        const FEATURES: u32 = 1;
        const TOPOLOGY: u32 = 0xb;
        const AMD_TOPOLOGY: u32 = 0x8000_001e;
        let mut cpuid: Vec<Cpuid> = leaves.into_iter().collect();
        let is_amd = cpuid.iter().any(|leaf| {
            let vendor = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat();
            leaf.eax_in == 0 && vendor == b"AuthenticAMD"
        });
        for leaf in &mut cpuid {
            match leaf.eax_in {
                // The id of the processor that executed CPUID.
                FEATURES => leaf.ebx &= 0x00ff_ffff,
                TOPOLOGY => leaf.edx &= 0xffff_ff00,
                AMD_TOPOLOGY if is_amd => {
                    *leaf = Cpuid { eax_in: leaf.eax_in, ecx_in: leaf.ecx_in, ..Cpuid::default() };
                }
                _ => {}
            }
        }
        cpuid.retain(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx] != [0; 4]);
        cpuid.sort_by_key(|leaf| (leaf.eax_in, leaf.ecx_in));
        CpuData { cpuid, msrs: Vec::new() }
    }

    /// Removes the number of the processor from Intel's enumeration of topology, where libvirt 11.3 leaves it.
    pub(crate) fn of_any_processor(mut self) -> CpuData {
        const INTEL_TOPOLOGY: u32 = 0x1f;
        for leaf in self.cpuid.iter_mut().filter(|leaf| leaf.eax_in == INTEL_TOPOLOGY) {
            leaf.edx = 0;
        }
        self.cpuid.retain(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx] != [0; 4]);
        self
    }
}
