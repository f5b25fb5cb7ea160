//! CPUs.

use super::domain::{Domain, VirtType};
use super::machine::has_host_cpu_only;
use super::parts;
use super::surroundings::Surroundings;
use crate::arch;
use crate::caps::{AcceleratorCaps, Cpu, CpuProperty, CpuValue, HostCpu, QemuCaps};
use crate::cpu_map::{CpuMap, GuestCpu};
use crate::names::x86_feature_of_qemu;

/// The CPUs that a guest can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuModes {
    /// The host's CPU, and whether a guest with it can be migrated; `None` if not supported.
    pub host_passthrough: Option<Vec<&'static str>>,
    /// The CPU with all features that the emulator has, in the same way.
    pub maximum: Option<Vec<&'static str>>,
    /// A model that is close to the host's CPU.
    pub host_model: Mode<HostModel>,
    /// The models that a guest can name: ordered by name since 11.3, in QEMU's order before.
    pub custom: Mode<Vec<CustomModel>>,
}

/// A mode of CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode<T> {
    /// It is supported.
    Supported(T),
    /// It is not supported.
    Unsupported,
    /// It depends on what was not given: libvirt's CPU map, or the host's CPU on ppc64.
    Unknown,
}

/// A model that is close to the host's CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostModel {
    /// The model and its features.
    pub cpu: GuestCpu,
    /// True if a guest can get another model where the emulator lacks this one.
    pub has_fallback: bool,
    /// The largest number of bits of physical addresses; `None` if there is no limit.
    pub phys_addr_bits: Option<u32>,
}

/// A CPU model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomModel {
    /// The name.
    pub name: String,
    /// True if it runs on this host; `None` if QEMU did not report it.
    pub usable: Option<bool>,
    /// True if QEMU marks it as deprecated.
    pub deprecated: bool,
    /// The vendor; `None` if libvirt does not know it.
    pub vendor: Option<String>,
    /// The name of the version that it is an alias of.
    pub canonical: Option<String>,
    /// The features that keep it from running, in libvirt's words, ordered.
    pub blockers: Vec<String>,
}

/// Derives the CPUs (`virQEMUCapsFillDomainCPUCaps`).
pub(super) fn modes(caps: &QemuCaps, domain: &Domain, surroundings: &Surroundings<'_>) -> CpuModes {
    let Domain { virt_type, machine } = domain;
    let host = surroundings.host_arch.as_deref();
    let is_native = host.is_none_or(|host| arch::is_native(host, &caps.arch));
    let has_models =
        !(arch::is_s390(&caps.arch) && *virt_type == VirtType::Kvm && has_host_cpu_only(machine));
    let can_migrate = caps.flags.has("cpu.migratable");
    let migratable = if can_migrate { vec!["on", "off"] } else { vec!["off"] };
    let has_maximum = has_models && caps.flags.has("cpu-max");
    let (host_model, custom) = match has_models {
        true => (
            if is_native { host_model(caps, *virt_type, surroundings) } else { Mode::Unsupported },
            custom(caps, virt_type.of(caps), surroundings),
        ),
        false => (Mode::Unsupported, Mode::Unsupported),
    };
    CpuModes {
        host_passthrough: (virt_type.is_accelerated() && is_native).then_some(migratable),
        maximum: has_maximum.then(|| vec!["on", "off"]),
        host_model,
        custom,
    }
}

/// Derives the model that is close to the host's CPU (`virQEMUCapsInitHostCPUModel`).
fn host_model(
    caps: &QemuCaps,
    virt_type: VirtType,
    surroundings: &Surroundings<'_>,
) -> Mode<HostModel> {
    let accelerator = virt_type.of(caps);
    let (cpu, has_fallback) = match (&accelerator.host_cpu, caps.arch.as_str()) {
        (Some(host), own) if arch::is_x86(own) => {
            let Some(map) = surroundings.cpu_map else { return Mode::Unknown };
            (host_model_of_x86(caps, accelerator, host, map), false)
        }
        (Some(host), own) if arch::is_s390(own) => (Some(host_model_of_s390(host)), false),
        (_, own) if arch::is_ppc64(own) || arch::is_x86(own) => {
            let Some(cpu) = &surroundings.host_cpu else { return Mode::Unknown };
            (Some(cpu.clone()), true)
        }
        _ => (None, false),
    };
    let has_bits =
        virt_type.is_accelerated() && parts::has(caps.release, "cpu/host-model/maxphysaddr");
    let bits = surroundings.phys_addr_bits.filter(|_| has_bits);
    cpu.map_or(Mode::Unsupported, |mut cpu| {
        if caps.release.facts().sorts_features {
            cpu.features.sort();
        }
        Mode::Supported(HostModel { cpu, has_fallback, phys_addr_bits: bits })
    })
}

fn host_model_of_x86(
    caps: &QemuCaps,
    accelerator: &AcceleratorCaps,
    host: &HostCpu,
    map: &CpuMap,
) -> Option<GuestCpu> {
    let models: Vec<_> = accelerator.cpus.iter().map(name_and_blockers).collect();
    let mut cpu = map.host_model(host, &models, false)?;
    // QEMU without this property does not report features of model-specific registers.
    let has_registers = caps.flags.has("cpu-unavailable-features");
    cpu.features.retain(|(name, _)| has_registers || !map.is_of_registers(name));
    Some(cpu)
}

fn name_and_blockers(cpu: &Cpu) -> (&str, Vec<&str>) {
    (&cpu.name, cpu.blockers.iter().map(String::as_str).collect())
}

/// Returns QEMU's own model; all its properties of two values are features.
fn host_model_of_s390(host: &HostCpu) -> GuestCpu {
    let feature = |property: &CpuProperty| match property.value {
        CpuValue::Boolean(is_on) => Some((property.name.clone(), is_on)),
        _ => None,
    };
    GuestCpu {
        model: host.model.clone(),
        vendor: None,
        features: host.properties.iter().filter_map(feature).collect(),
    }
}

/// Derives the models that a guest can name: on x86 and ppc64 those that libvirt has, on other architectures that it
/// has a driver for all.
fn custom(
    caps: &QemuCaps,
    accelerator: &AcceleratorCaps,
    surroundings: &Surroundings<'_>,
) -> Mode<Vec<CustomModel>> {
    let arch = caps.arch.as_str();
    let has_map = arch::is_x86(arch) || arch::is_ppc64(arch);
    let is_free = match arch {
        "riscv64" => parts::has(caps.release, "cpu/custom/riscv64"),
        "loongarch64" => true,
        arch => arch::is_arm(arch) || arch::is_s390(arch),
    };
    let map = match surroundings.cpu_map {
        _ if !has_map && !is_free || accelerator.cpus.is_empty() => return Mode::Unsupported,
        None if has_map => return Mode::Unknown,
        map => map.filter(|_| has_map),
    };
    let is_allowed =
        |cpu: &&Cpu| cpu.name != "host" && map.is_none_or(|map| map.has_model(&cpu.name));
    let models = accelerator.cpus.iter().filter(is_allowed);
    let mut models: Vec<_> = models.map(|cpu| custom_model(cpu, caps, map)).collect();
    if caps.release.facts().sorts_models {
        models.sort_by(|a, b| a.name.cmp(&b.name));
    }
    if models.is_empty() { Mode::Unsupported } else { Mode::Supported(models) }
}

fn custom_model(cpu: &Cpu, caps: &QemuCaps, map: Option<&CpuMap>) -> CustomModel {
    let arch = caps.arch.as_str();
    let reports = |part| parts::has(caps.release, part);
    let is_of_ibm = arch::is_s390(arch)
        && reports("cpu/custom/vendor of s390")
        && (cpu.name.starts_with('z') || cpu.name.starts_with("gen"));
    let vendor = map.and_then(|map| map.vendor_of(&cpu.name)).or(is_of_ibm.then_some("IBM"));
    let name = |name: &String| match arch::is_x86(arch) {
        true => x86_feature_of_qemu(name).to_owned(),
        false => name.clone(),
    };
    let mut blockers: Vec<String> = cpu.blockers.iter().map(name).collect();
    blockers.sort_unstable();
    blockers.dedup();
    if !reports("cpu/custom/blockers") {
        blockers.clear();
    }
    let canonical = map.and_then(|map| map.canonical(&cpu.name));
    let canonical = canonical.filter(|_| reports("cpu/custom/canonical"));
    CustomModel {
        name: cpu.name.clone(),
        usable: cpu.usable,
        deprecated: cpu.deprecated,
        vendor: vendor.map(str::to_owned),
        canonical: canonical.map(str::to_owned),
        blockers,
    }
}
