//! What libvirt keeps of an emulator: everything that its cache file holds, and nothing else.

use serde::{Deserialize, Serialize};

use crate::flags::FlagSet;

/// The `<qemuCaps>` of one emulator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QemuCaps {
    /// The path that was asked for.
    pub emulator: String,
    /// When the emulator's inode last changed, in seconds.
    pub qemu_ctime: i64,
    /// When QEMU's directory of modules last changed, in seconds; 0 where there is none.
    pub module_directory_mtime: i64,
    /// When libvirt's own files last changed, in seconds.
    pub self_ctime: i64,
    /// The version of libvirt: 1,000,000 × major + 1,000 × minor + micro.
    pub self_version: u32,
    /// The capability flags.
    pub flags: FlagSet,
    /// The version of QEMU, in the same form.
    pub version: u32,
    /// The microcode of the host's CPU.
    pub microcode_version: u32,
    /// The host's CPU in a line.
    pub host_cpu_signature: Option<String>,
    /// The distributor's name for the build; may be empty.
    pub package: String,
    /// Release and version of the host's kernel.
    pub kernel_version: Option<String>,
    /// The CPUID leaves that KVM supports.
    pub cpu_data: Option<CpuData>,
    /// The guest's architecture in libvirt's words.
    pub arch: String,
    /// What there is under KVM.
    pub kvm: AcceleratorCaps,
    /// What there is under Apple's Hypervisor framework.
    pub hvf: AcceleratorCaps,
    /// What there is under TCG.
    pub tcg: AcceleratorCaps,
    /// Interrupt controllers of ARM.
    pub gic: Vec<Gic>,
    /// AMD's encrypted virtualization.
    pub sev: Option<Sev>,
    /// Intel's enclaves.
    pub sgx: Option<Sgx>,
    /// The Hyper-V enlightenments, of [`HYPERV`] and in its order; empty: not supported.
    pub hyperv: Vec<String>,
    /// KVM runs guests that run guests.
    pub kvm_supports_nesting: bool,
    /// KVM runs guests that the host cannot look into.
    pub kvm_supports_secure_guest: bool,
}

/// The enlightenments that libvirt knows, in the order in which it writes them.
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

/// What there is under one accelerator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AcceleratorCaps {
    /// The CPU that a guest can have here.
    pub host_cpu: Option<HostCpu>,
    /// The CPU models, in QEMU's order.
    pub cpus: Vec<Cpu>,
    /// The machines: libvirt's preferred one, then the others in QEMU's order.
    pub machines: Vec<Machine>,
}

/// The CPU that a guest can have here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostCpu {
    /// The model that the properties are counted from.
    pub model: String,
    /// QEMU told which features can be migrated.
    pub migratability: bool,
    /// The properties, in QEMU's order.
    pub properties: Vec<CpuProperty>,
    /// Features that QEMU advises against.
    pub deprecated: Vec<String>,
}

/// One property of the host's CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuProperty {
    /// Its name, as QEMU spells it.
    pub name: String,
    /// Its value.
    pub value: CpuValue,
    /// Whether a guest with it can be migrated, where that is known.
    pub migratable: Option<bool>,
}

/// The value of a property of the host's CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CpuValue {
    /// A switch.
    Boolean(bool),
    /// A text.
    String(String),
    /// A number.
    Number(i64),
}

/// A CPU model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Its name.
    pub name: String,
    /// Its QOM type.
    pub typename: Option<String>,
    /// Whether it runs here, where QEMU told.
    pub usable: Option<bool>,
    /// What keeps it from running.
    pub blockers: Vec<String>,
    /// QEMU advises against it.
    pub deprecated: bool,
}

/// A machine type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Another name.
    pub alias: Option<String>,
    /// CPUs can be added while it runs.
    pub hotplug_cpus: bool,
    /// How many CPUs it can have; 0 where QEMU did not tell.
    pub max_cpus: u32,
    /// QEMU's default.
    pub is_default: bool,
    /// The type of the CPU that it has by default.
    pub default_cpu: Option<String>,
    /// Memory devices can be assigned to NUMA nodes.
    pub numa_mem_supported: bool,
    /// The name of its memory backend.
    pub default_ram_id: Option<String>,
    /// QEMU advises against it.
    pub deprecated: bool,
    /// It has ACPI, where QEMU told.
    pub acpi: Option<bool>,
}

/// An interrupt controller of ARM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gic {
    /// The version.
    pub version: u32,
    /// The kernel has it.
    pub kernel: bool,
    /// QEMU emulates it.
    pub emulated: bool,
}

/// AMD's encrypted virtualization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sev {
    /// The place of the encryption bit in an address.
    pub cbitpos: u32,
    /// How many bits an address loses.
    pub reduced_phys_bits: u32,
    /// The platform's Diffie-Hellman key.
    pub pdh: String,
    /// The platform's certificates.
    pub cert_chain: String,
    /// The first CPU's identity, where QEMU told.
    pub cpu0_id: Option<String>,
}

/// Intel's enclaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sgx {
    /// Launch control can be set.
    pub flc: bool,
    /// The first instruction set.
    pub sgx1: bool,
    /// The second one.
    pub sgx2: bool,
    /// All sections together, in KiB.
    pub section_size: u64,
    /// The sections.
    pub sections: Vec<SgxSection>,
}

/// A section of memory for enclaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SgxSection {
    /// Its NUMA node.
    pub node: i64,
    /// Its size in KiB.
    pub size: u64,
}

/// What CPUID and MSRs say under KVM.
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
    /// Its number.
    pub index: u32,
    /// The lower half.
    pub eax: u32,
    /// The upper half.
    pub edx: u32,
}

impl CpuData {
    /// What libvirt keeps of the leaves that KVM supports: without those that are all zero, without
    /// what differs from one processor to the next, by leaf and subleaf.
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
                // Which processor asked.
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
}
