//! Derivation of libvirt's capabilities from an entry.

use capscache_format::{Accelerator, Array, Entry, FactKind, Value};

use crate::arch;
use crate::caps::{
    AcceleratorCaps, Cpu, CpuData, Cpuid, Gic, Machine, QemuCaps, Sev, Sgx, SgxSection,
};
use crate::expansion::Expansions;
use crate::flags::{Emulator, FlagSet};
use crate::hyperv;
use crate::names;
use crate::release::{Release, readable};
use crate::values::{boolean, elements, is_true, some_text, text};

/// Values that libvirt stores beside those of an emulator, and that QEMU does not report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
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
    /// The microcode of the host's CPU.
    pub microcode_version: u32,
    /// The host's CPU, in one line.
    pub host_cpu_signature: Option<String>,
    /// Release and version of the host's kernel.
    pub kernel_version: Option<String>,
    /// True if KVM supports nested virtualization.
    pub kvm_supports_nesting: bool,
    /// True if KVM supports guests that the host cannot read, with other means than TDX.
    pub kvm_supports_secure_guest: bool,
    /// True if KVM supports Intel's TDX.
    pub kvm_supports_tdx: bool,
}

/// The reason why libvirt would not keep an emulator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapsError {
    /// Answers are missing because the prober lacked a resource or permission: libvirt would cache the gap.
    #[error(
        "cannot export for libvirt: the answers are incomplete, and it would cache the gap permanently: {reason}"
    )]
    Incomplete {
        /// The resource or permission that the prober lacked.
        reason: String,
    },
    /// libvirt has no name for the architecture.
    #[error(
        "cannot export for libvirt: it has no name for the architecture {arch:?}; use `export --format json`"
    )]
    UnknownArchitecture {
        /// QEMU's name of the architecture.
        arch: String,
    },
    /// libvirt refuses a QEMU as old as this one.
    #[error(
        "cannot export for libvirt: {release} requires QEMU {oldest} or later, and this is {version}; use an older release with --libvirt, or `export --format json`"
    )]
    TooOld {
        /// The release of libvirt.
        release: Release,
        /// The version of QEMU.
        version: String,
        /// The oldest version that the release accepts.
        oldest: String,
    },
    /// It ran under none of libvirt's accelerators: for example one without TCG, where there is no KVM.
    #[error(
        "cannot export for libvirt: the emulator runs under neither hardware nor TCG here; use `export --format json`"
    )]
    NoAccelerator,
    /// A query that libvirt requires was not sent, or its reply is incomplete: a recording may be cut.
    #[error(
        "cannot export for libvirt: there is no usable reply to {what}, and it keeps no emulator without one"
    )]
    Missing {
        /// The QMP command.
        what: &'static str,
    },
}

impl QemuCaps {
    /// Derives the capabilities that a release of libvirt would keep of an emulator.
    ///
    /// # Errors
    /// [`CapsError`].
    pub fn from_entry<B: AsRef<[u8]>>(
        entry: &Entry<B>,
        host: Host,
        release: Release,
    ) -> Result<QemuCaps, CapsError> {
        if let Some(incomplete) = entry.incomplete() {
            return Err(CapsError::Incomplete { reason: incomplete.reason });
        }
        let emulator = Emulator::of(entry, release);
        let arch = emulator
            .arch
            .ok_or_else(|| CapsError::UnknownArchitecture { arch: entry.arch().to_owned() })?;
        let oldest = release.facts().oldest_qemu;
        if emulator.version < oldest {
            let [version, oldest] = [emulator.version, oldest].map(readable);
            return Err(CapsError::TooOld { release, version, oldest });
        }
        for (kind, what) in [
            (FactKind::Version, "query-version"),
            (FactKind::Schema, "query-qmp-schema"),
            (FactKind::Types, "qom-list-types"),
            (FactKind::CommandLineOptions, "query-command-line-options"),
            (FactKind::MigrationCapabilities, "query-migrate-capabilities"),
        ] {
            entry.core(kind).map_err(|_| CapsError::Missing { what })?;
        }
        let ran_tcg = emulator.answer(Accelerator::Tcg, FactKind::Ran).is_some();
        if emulator.hardware.is_none() && !ran_tcg {
            return Err(CapsError::NoAccelerator);
        }
        let mut flags = emulator.flags();
        if host.kvm_supports_tdx && emulator.lacks_only_the_host_for("tdx-guest") {
            flags.insert("tdx-guest");
        }
        // Without TCG there is no second pass; without hardware the first one is TCG's.
        let has_tcg = emulator.hardware.is_none() || flags.has("tcg");
        let has_sev = flags.has("sev-guest") || flags.has("sev-snp-guest");
        let sev = sev(&emulator).filter(|_| has_sev);
        let answered = |kind| emulator.first_answer(kind).is_some();
        for (is_answered, what) in [
            (answered(FactKind::Kvm), "query-kvm"),
            (answered(FactKind::Machines), "query-machines"),
            (
                !has_tcg || emulator.answer(Accelerator::Tcg, FactKind::Machines).is_some(),
                "query-machines under TCG",
            ),
            (sev.is_some() || !has_sev, "query-sev-capabilities"),
        ] {
            if !is_answered {
                return Err(CapsError::Missing { what });
            }
        }
        let has_secure_guests = host.supports_secure_guest(arch, release);
        let Host { kernel_version, host_cpu_signature, .. } = host;
        let is_accelerated = emulator.hardware.is_some();
        let of = |accelerator| accelerator_caps(&emulator, arch, &flags, accelerator);
        let hardware = emulator.hardware;
        let only = |accelerator| hardware == Some(accelerator);
        let (hyperv, hyperv_values) = hyperv::enlightenments(&emulator, arch);
        Ok(QemuCaps {
            release,
            emulator: host.emulator,
            qemu_ctime: host.qemu_ctime,
            module_directory_mtime: host.module_directory_mtime,
            self_ctime: host.self_ctime,
            self_version: host.self_version,
            version: emulator.version,
            microcode_version: host.microcode_version,
            host_cpu_signature: host_cpu_signature.filter(|_| is_accelerated),
            package: entry.package().to_owned(),
            kernel_version: kernel_version.filter(|_| is_accelerated),
            cpu_data: cpu_data(&emulator).filter(|_| is_accelerated && arch::is_x86(arch)),
            arch: arch.to_owned(),
            kvm: if only(Accelerator::Kvm) { of(Accelerator::Kvm) } else { Default::default() },
            hvf: if only(Accelerator::Hvf) { of(Accelerator::Hvf) } else { Default::default() },
            tcg: if has_tcg { of(Accelerator::Tcg) } else { AcceleratorCaps::default() },
            gic: gic(&emulator, arch),
            sev,
            sgx: sgx(&emulator).filter(|_| flags.has("sgx-epc")),
            hyperv,
            hyperv_values,
            kvm_supports_nesting: host.kvm_supports_nesting && only(Accelerator::Kvm),
            kvm_supports_secure_guest: has_secure_guests && only(Accelerator::Kvm),
            flags,
        })
    }
}

fn accelerator_caps(
    emulator: &Emulator<'_>,
    arch: &str,
    flags: &FlagSet,
    accelerator: Accelerator,
) -> AcceleratorCaps {
    let cpus = emulator
        .answer(accelerator, FactKind::CpuDefinitions)
        .filter(|_| flags.has("query-cpu-definitions"));
    AcceleratorCaps {
        host_cpu: Expansions::new(emulator, arch, accelerator).host_cpu(),
        cpus: elements(cpus).filter_map(|model| cpu(model, arch, emulator.release)).collect(),
        machines: machines(emulator, accelerator, arch),
    }
}

fn cpu(model: Value<'_>, arch: &str, release: Release) -> Option<Cpu> {
    let name = text(model, "name")?;
    let blockers = model.get("unavailable-features").and_then(Value::as_array);
    Some(Cpu {
        name: match arch::is_ppc64(arch) {
            true => names::ppc64_model(&name, release).to_owned(),
            false => name,
        },
        typename: some_text(model, "typename"),
        usable: blockers.map(Array::is_empty),
        blockers: blockers
            .into_iter()
            .flat_map(Array::iter)
            .filter_map(Value::as_str)
            .map(|name| if arch::is_x86(arch) { blocker(name, release) } else { name }.to_owned())
            .collect(),
        deprecated: is_true(model.get("deprecated")),
    })
}

/// Features with different spellings in libvirt and QEMU: it reads both and writes QEMU's.
fn blocker(name: &str, release: Release) -> &str {
    match name {
        "hv-vendor_id" | "hv-emsr_bitmap" | "hv-xmm_input" | names::NOT_RESPELT_AT_FIRST
            if !release.facts().spells_all_blockers =>
        {
            name
        }
        "hv-vendor_id" => "hv-vendor-id",
        "hv-emsr_bitmap" => "hv-emsr-bitmap",
        "hv-xmm_input" => "hv-xmm-input",
        other => names::x86_feature_to_qemu(other),
    }
}

/// The machine types without `none`; libvirt's preferred one comes first.
fn machines(emulator: &Emulator<'_>, accelerator: Accelerator, arch: &str) -> Vec<Machine> {
    let answer = emulator.answer(accelerator, FactKind::Machines);
    let has_acpi = emulator.release.facts().has_acpi;
    let mut machines: Vec<Machine> =
        elements(answer).filter_map(|answer| machine(answer, has_acpi)).collect();
    machines.retain(|machine| machine.name != "none");
    let preferred = arch::preferred_machine(arch, emulator.release);
    let is_preferred = |machine: &Machine| {
        preferred.is_some_and(|name| machine.name == name || machine.alias.as_deref() == Some(name))
    };
    let first = machines
        .iter()
        .rposition(is_preferred)
        .or_else(|| machines.iter().rposition(|machine| machine.is_default));
    if let Some(first) = first {
        machines[..=first].rotate_right(1);
    }
    machines
}

fn machine(answer: Value<'_>, has_acpi: bool) -> Option<Machine> {
    let max_cpus = answer.get("cpu-max").and_then(Value::as_u64);
    Some(Machine {
        name: text(answer, "name")?,
        alias: text(answer, "alias"),
        hotplug_cpus: is_true(answer.get("hotpluggable-cpus")),
        max_cpus: max_cpus.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        is_default: is_true(answer.get("is-default")),
        default_cpu: text(answer, "default-cpu-type"),
        numa_mem_supported: boolean(answer, "numa-mem-supported").unwrap_or(true),
        default_ram_id: text(answer, "default-ram-id"),
        deprecated: is_true(answer.get("deprecated")),
        acpi: boolean(answer, "acpi").filter(|_| has_acpi),
    })
}

/// KVM's CPUID at the time of the probe: libvirt compares it with KVM's current one when it reads the
/// file, so it must be as old as the other answers.
fn cpu_data(emulator: &Emulator<'_>) -> Option<CpuData> {
    let leaves = emulator.answer(Accelerator::Kvm, FactKind::SupportedCpuid)?.as_array()?;
    let leaf = |leaf: Value<'_>| {
        let number = |key| u32::try_from(leaf.get(key)?.as_u64()?).ok();
        Some(Cpuid {
            eax_in: number("function")?,
            ecx_in: number("index")?,
            eax: number("eax")?,
            ebx: number("ebx")?,
            ecx: number("ecx")?,
            edx: number("edx")?,
        })
    };
    Some(CpuData::of_host(leaves.iter().map(leaf).collect::<Option<Vec<_>>>()?))
}

fn gic(emulator: &Emulator<'_>, arch: &str) -> Vec<Gic> {
    let answer = emulator.first_answer(FactKind::Gic).filter(|_| arch::has_gic(arch));
    let gic = |answer: Value<'_>| {
        Some(Gic {
            version: u32::try_from(answer.get("version")?.as_u64()?).ok()?,
            kernel: is_true(answer.get("kernel")),
            emulated: is_true(answer.get("emulated")),
        })
    };
    elements(answer).filter_map(gic).collect()
}

fn sev(emulator: &Emulator<'_>) -> Option<Sev> {
    let answer = emulator.first_answer(FactKind::Sev)?;
    let number = |key| u32::try_from(answer.get(key)?.as_u64()?).ok();
    Some(Sev {
        cbitpos: number("cbitpos")?,
        reduced_phys_bits: number("reduced-phys-bits")?,
        pdh: text(answer, "pdh")?,
        cert_chain: text(answer, "cert-chain")?,
        cpu0_id: text(answer, "cpu0-id"),
    })
}

fn sgx(emulator: &Emulator<'_>) -> Option<Sgx> {
    const KIB: u64 = 1024;
    let answer = emulator.first_answer(FactKind::Sgx)?;
    let section = |section: Value<'_>| {
        Some(SgxSection {
            node: section.get("node")?.as_i64()?,
            size: section.get("size")?.as_u64()? / KIB,
        })
    };
    let sections: Vec<SgxSection> = elements(answer.get("sections")).filter_map(section).collect();
    let total = answer.get("section-size").and_then(Value::as_u64);
    let sum = || sections.iter().fold(0_u64, |sum, section| sum.saturating_add(section.size));
    Some(Sgx {
        flc: is_true(answer.get("flc")),
        sgx1: is_true(answer.get("sgx1")),
        sgx2: is_true(answer.get("sgx2")),
        section_size: total.map_or_else(sum, |total| total / KIB),
        sections,
    })
}
