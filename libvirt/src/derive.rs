//! From what an emulator answered to what libvirt keeps of it.

use capscache_format::{Accelerator, Entry, FactKind, Value};

use crate::arch;
use crate::caps::{
    AcceleratorCaps, Cpu, CpuData, CpuProperty, CpuValue, Cpuid, Gic, HYPERV, HostCpu, Machine,
    QemuCaps, Sev, Sgx, SgxSection,
};
use crate::flags::{Emulator, FlagSet, is_true};

/// What libvirt keeps of an emulator that no QEMU can tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
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
    /// The microcode of the host's CPU.
    pub microcode_version: u32,
    /// The host's CPU in a line.
    pub host_cpu_signature: Option<String>,
    /// Release and version of the host's kernel.
    pub kernel_version: Option<String>,
    /// KVM runs guests that run guests.
    pub kvm_supports_nesting: bool,
    /// KVM runs guests that the host cannot look into.
    pub kvm_supports_secure_guest: bool,
}

/// Why libvirt would keep nothing of an emulator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapsError {
    /// Answers are missing because the prober was short of something: libvirt would take that for good.
    #[error(
        "the answers are incomplete, and libvirt would keep what is missing for good: {reason}"
    )]
    Incomplete {
        /// What the prober was short of.
        reason: String,
    },
    /// libvirt has no name for the architecture.
    #[error(
        "libvirt has no name for the architecture {arch:?}, and cannot use such an emulator; \
         `export --format json` can"
    )]
    UnknownArchitecture {
        /// QEMU's name of it.
        arch: String,
    },
    /// It ran under nothing that libvirt starts emulators under, as one without TCG where there is no
    /// KVM.
    #[error(
        "the emulator runs under neither hardware nor TCG here, and libvirt cannot use it; \
         `export --format json` can"
    )]
    NoAccelerator,
    /// The emulator was never asked what libvirt must know, or did not tell all of it: a recording may
    /// be cut.
    #[error(
        "there is no answer to {what} that libvirt could use, and it keeps nothing of an emulator without"
    )]
    Missing {
        /// The QMP command.
        what: &'static str,
    },
}

impl QemuCaps {
    /// What libvirt would keep of an emulator.
    ///
    /// # Errors
    /// [`CapsError`].
    pub fn from_entry<B: AsRef<[u8]>>(
        entry: &Entry<B>,
        surroundings: Surroundings,
    ) -> Result<QemuCaps, CapsError> {
        if let Some(short) = entry.incomplete() {
            return Err(CapsError::Incomplete { reason: short.reason });
        }
        let emulator = Emulator::of(entry);
        let arch = emulator
            .arch
            .ok_or_else(|| CapsError::UnknownArchitecture { arch: entry.arch().to_owned() })?;
        for (kind, what) in [
            (FactKind::Version, "query-version"),
            (FactKind::Schema, "query-qmp-schema"),
            (FactKind::Types, "qom-list-types"),
            (FactKind::CommandLineOptions, "query-command-line-options"),
            (FactKind::MigrationCapabilities, "query-migrate-capabilities"),
        ] {
            entry.core(kind).map_err(|_| CapsError::Missing { what })?;
        }
        let ran_tcg = emulator.told(Accelerator::Tcg, FactKind::Ran).is_some();
        if emulator.hardware.is_none() && !ran_tcg {
            return Err(CapsError::NoAccelerator);
        }
        let flags = emulator.flags();
        // Without TCG there is no second pass; without hardware the first one is TCG's.
        let has_tcg = emulator.hardware.is_none() || flags.has("tcg");
        let has_sev = flags.has("sev-guest") || flags.has("sev-snp-guest");
        let sev = sev(&emulator).filter(|_| has_sev);
        let told = |kind| emulator.first_told(kind).is_some();
        for (is_told, what) in [
            (told(FactKind::Kvm), "query-kvm"),
            (told(FactKind::Machines), "query-machines"),
            (
                !has_tcg || emulator.told(Accelerator::Tcg, FactKind::Machines).is_some(),
                "query-machines under TCG",
            ),
            (sev.is_some() || !has_sev, "query-sev-capabilities"),
        ] {
            if !is_told {
                return Err(CapsError::Missing { what });
            }
        }
        let Surroundings { kernel_version, host_cpu_signature, .. } = surroundings;
        let is_accelerated = emulator.hardware.is_some();
        let version = entry.version();
        let part = |number: u64| u32::try_from(number).unwrap_or(0);
        let version = part(version.major)
            .saturating_mul(1_000_000)
            .saturating_add(part(version.minor).saturating_mul(1000))
            .saturating_add(part(version.micro));
        let of = |accelerator| accelerator_caps(&emulator, arch, &flags, accelerator);
        let hardware = emulator.hardware;
        let only = |accelerator| hardware == Some(accelerator);
        Ok(QemuCaps {
            emulator: surroundings.emulator,
            qemu_ctime: surroundings.qemu_ctime,
            module_directory_mtime: surroundings.module_directory_mtime,
            self_ctime: surroundings.self_ctime,
            self_version: surroundings.self_version,
            version,
            microcode_version: surroundings.microcode_version,
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
            hyperv: hyperv(&emulator, arch),
            kvm_supports_nesting: surroundings.kvm_supports_nesting && only(Accelerator::Kvm),
            kvm_supports_secure_guest: surroundings.kvm_supports_secure_guest
                && only(Accelerator::Kvm),
            flags,
        })
    }
}

fn text(object: Value<'_>, key: &str) -> Option<String> {
    object.get(key)?.as_str().map(str::to_owned)
}

/// As [`text`], where nothing is the same as empty.
fn some_text(object: Value<'_>, key: &str) -> Option<String> {
    text(object, key).filter(|text| !text.is_empty())
}

fn boolean(object: Value<'_>, key: &str) -> Option<bool> {
    object.get(key)?.as_bool()
}

fn elements(list: Option<Value<'_>>) -> impl Iterator<Item = Value<'_>> {
    list.and_then(Value::as_array).into_iter().flat_map(capscache_format::Array::iter)
}

fn accelerator_caps(
    emulator: &Emulator<'_>,
    arch: &str,
    flags: &FlagSet,
    accelerator: Accelerator,
) -> AcceleratorCaps {
    let cpus = emulator
        .told(accelerator, FactKind::CpuDefinitions)
        .filter(|_| flags.has("query-cpu-definitions"));
    AcceleratorCaps {
        host_cpu: Expansions::new(emulator, arch, accelerator).host_cpu(),
        cpus: elements(cpus).filter_map(|model| cpu(model, arch)).collect(),
        machines: machines(emulator.told(accelerator, FactKind::Machines), arch),
    }
}

fn cpu(model: Value<'_>, arch: &str) -> Option<Cpu> {
    let name = text(model, "name")?;
    let blockers = model.get("unavailable-features").and_then(Value::as_array);
    Some(Cpu {
        name: if arch::is_ppc64(arch) { ppc64_name(name) } else { name },
        typename: some_text(model, "typename"),
        usable: blockers.map(capscache_format::Array::is_empty),
        blockers: blockers
            .into_iter()
            .flat_map(capscache_format::Array::iter)
            .filter_map(Value::as_str)
            .map(|name| if arch::is_x86(arch) { blocker(name) } else { name }.to_owned())
            .collect(),
        deprecated: is_true(model.get("deprecated")),
    })
}

/// libvirt's spelling of the models of ppc64, whatever QEMU's is.
fn ppc64_name(name: String) -> String {
    const NAMES: [&str; 7] =
        ["POWER6", "POWER7", "POWER8", "POWER9", "POWER10", "POWERPC_e5500", "POWERPC_e6500"];
    let known = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(&name));
    known.map_or(name, str::to_owned)
}

/// Features that libvirt spells otherwise than QEMU: it reads both spellings and writes QEMU's.
fn blocker(name: &str) -> &str {
    match name {
        "cmp_legacy" => "cmp-legacy",
        "ds_cpl" => "ds-cpl",
        "fxsr_opt" => "fxsr-opt",
        "kvm_pv_eoi" => "kvm-pv-eoi",
        "kvm_pv_unhalt" => "kvm-pv-unhalt",
        "lahf_lm" => "lahf-lm",
        "nodeid_msr" => "nodeid-msr",
        "perfctr_core" => "perfctr-core",
        "perfctr_nb" => "perfctr-nb",
        "tsc_adjust" => "tsc-adjust",
        "pclmuldq" => "pclmulqdq",
        "vmx-invvpid-single-context-noglobals" => "vmx-invept-single-context-noglobals",
        "hv-vendor_id" => "hv-vendor-id",
        "hv-emsr_bitmap" => "hv-emsr-bitmap",
        "hv-xmm_input" => "hv-xmm-input",
        other => other,
    }
}

/// The machines, without the one that is none; libvirt's favourite goes first.
fn machines(answer: Option<Value<'_>>, arch: &str) -> Vec<Machine> {
    let mut machines: Vec<Machine> = elements(answer).filter_map(machine).collect();
    machines.retain(|machine| machine.name != "none");
    let preferred = arch::preferred_machine(arch);
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

fn machine(answer: Value<'_>) -> Option<Machine> {
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
        acpi: boolean(answer, "acpi"),
    })
}

/// What KVM said of CPUID when the emulator was asked: libvirt compares it with what KVM says when it
/// reads the file, so it must be as old as the other answers.
fn cpu_data(emulator: &Emulator<'_>) -> Option<CpuData> {
    let leaves = emulator.told(Accelerator::Kvm, FactKind::SupportedCpuid)?.as_array()?;
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
    let answer = emulator.first_told(FactKind::Gic).filter(|_| arch::has_gic(arch));
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
    let answer = emulator.first_told(FactKind::Sev)?;
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
    let answer = emulator.first_told(FactKind::Sgx)?;
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

/// The Hyper-V enlightenments that the host's CPU has, asked of the first pass.
fn hyperv(emulator: &Emulator<'_>, arch: &str) -> Vec<String> {
    if !(arch::is_x86(arch) || arch::is_arm(arch)) {
        return Vec::new();
    }
    let expansions = Expansions::new(emulator, arch, emulator.first());
    let props = [("migratable", false), ("hv-passthrough", true)];
    let props = expansions.model("full", &props).and_then(|model| model.get("props"));
    let Some(props) = props.and_then(Value::as_object) else { return Vec::new() };
    let is_counted = |value: Value<'_>| {
        is_true(Some(value)) || value.as_i64().is_some_and(|n| n > 0) || value.as_str().is_some()
    };
    let has = |known: &str| {
        props.iter().any(|(name, value)| {
            let name = name.strip_prefix("hv-");
            let is_known =
                name.is_some_and(|name| name == known || name.replace('-', "_") == known);
            is_known && is_counted(value)
        })
    };
    HYPERV.iter().filter(|known| has(known)).map(|known| (*known).to_owned()).collect()
}

/// The answers of `query-cpu-model-expansion` under one accelerator, by what was asked.
struct Expansions<'e, 'a> {
    emulator: &'e Emulator<'a>,
    arch: &'e str,
    accelerator: Accelerator,
    /// The model that libvirt asks about: without hardware the first pass asks for the host's too.
    name: &'static str,
    /// Whether libvirt asks at all.
    is_asked: bool,
    /// Whether libvirt has to expand the static expansion, which has other names in QEMU of old.
    is_twofold: bool,
}

impl<'e, 'a> Expansions<'e, 'a> {
    fn new(emulator: &'e Emulator<'a>, arch: &'e str, accelerator: Accelerator) -> Self {
        let is_second = accelerator == Accelerator::Tcg && emulator.hardware.is_some();
        let name = if is_second { "max" } else { "host" };
        let has = |flag| emulator.has_named(flag).is_yes();
        Expansions {
            emulator,
            arch,
            accelerator,
            name,
            is_asked: has("query-cpu-model-expansion"),
            is_twofold: arch::is_x86(arch) && !has("canonical-cpu-features"),
        }
    }

    /// What libvirt keeps of the CPU that a guest can have.
    fn host_cpu(&self) -> Option<HostCpu> {
        let plain = self.expanded(&[])?;
        let model = text(plain.get("model")?, "name")?;
        let props = plain.get("model")?.get("props").and_then(Value::as_object);
        if props.is_none() && !arch::is_s390(self.arch) {
            return None;
        }
        let others = self.unmigratable();
        let properties = props.into_iter().flat_map(capscache_format::Object::iter);
        let properties = properties.filter_map(|(name, value)| {
            let other = others.and_then(|others| boolean(others, name));
            property(name, value, other)
        });
        let deprecated = |answer: Value<'_>| -> Vec<String> {
            let names = elements(answer.get("deprecated-props"));
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut deprecated_features = deprecated(plain);
        if self.emulator.has_named("query-cpu-model-expansion.deprecated-props").is_yes() {
            let full = self.answer("full", |model| is_model(model, self.name, &[]));
            let names = full.map(deprecated).unwrap_or_default();
            if !names.is_empty() {
                deprecated_features = names;
            }
        }
        Some(HostCpu {
            model,
            migratability: others.is_some(),
            properties: properties.collect(),
            deprecated: deprecated_features,
        })
    }

    /// The properties where what cannot be migrated was wanted too.
    fn unmigratable(&self) -> Option<Value<'a>> {
        if !arch::is_x86(self.arch) {
            return None;
        }
        self.expanded(&[("migratable", false)])?.get("model")?.get("props")
    }

    /// The expansion that libvirt wants: of what kind, depends on the architecture and on QEMU's
    /// age.
    fn expanded(&self, props: &[(&str, bool)]) -> Option<Value<'a>> {
        let asked = |model: Value<'_>| is_model(model, self.name, props);
        if arch::is_arm(self.arch) {
            return self.answer("full", asked);
        }
        let fixed = self.answer("static", asked)?;
        if self.is_twofold {
            let model = fixed.get("model")?;
            return self.answer("full", |asked| is_equal(asked, model));
        }
        Some(fixed)
    }

    /// The model in the answer about the model with these properties.
    fn model(&self, kind: &str, props: &[(&str, bool)]) -> Option<Value<'a>> {
        self.answer(kind, |model| is_model(model, self.name, props))?.get("model")
    }

    /// The answer to the first question of this kind about this model, if it was not refused.
    fn answer(&self, kind: &str, is_asked: impl Fn(Value<'_>) -> bool) -> Option<Value<'a>> {
        if !self.is_asked {
            return None;
        }
        let asked = elements(self.emulator.told(self.accelerator, FactKind::HostCpu));
        let mut matching = asked.filter(|asked| {
            let arguments = asked.get("arguments");
            let kind_is = arguments.and_then(|a| a.get("type")?.as_str()) == Some(kind);
            kind_is && arguments.and_then(|a| a.get("model")).is_some_and(&is_asked)
        });
        matching.next()?.get("return").filter(|answer| !answer.is_null())
    }
}

/// Whether a model is the one with this name and these properties, and no others.
fn is_model(model: Value<'_>, name: &str, props: &[(&str, bool)]) -> bool {
    let own = model.get("props").and_then(Value::as_object);
    model.get("name").and_then(Value::as_str) == Some(name)
        && own.map_or(0, capscache_format::Object::len) == props.len()
        && props
            .iter()
            .all(|(key, value)| own.and_then(|own| own.get(key)?.as_bool()) == Some(*value))
}

/// Whether two models are the same: name and every property, in whatever order.
fn is_equal(a: Value<'_>, b: Value<'_>) -> bool {
    let scalar = |value: Value<'_>| serde_text(value);
    let props = |value: Value<'_>| {
        let object = value.get("props").and_then(Value::as_object);
        let pairs = object.into_iter().flat_map(capscache_format::Object::iter);
        let mut pairs: Vec<(String, String)> =
            pairs.map(|(name, value)| (name.to_owned(), scalar(value))).collect();
        pairs.sort();
        pairs
    };
    text(a, "name") == text(b, "name") && props(a) == props(b)
}

/// A scalar in a form that tells every two apart.
fn serde_text(value: Value<'_>) -> String {
    format!("{:?} {:?} {:?} {:?}", value.as_bool(), value.as_i64(), value.as_u64(), value.as_str())
}

/// A property of the host's CPU, given its value where what cannot be migrated was wanted too: a
/// switch that is on only there is on, and cannot be migrated.
fn property(name: &str, value: Value<'_>, unmigratable: Option<bool>) -> Option<CpuProperty> {
    let name = name.to_owned();
    let plain = |value| Some(CpuProperty { name: name.clone(), value, migratable: None });
    if let Some(on) = value.as_bool() {
        let migratable = match (on, unmigratable) {
            (true, Some(_)) => Some(true),
            (false, Some(true)) => Some(false),
            _ => None,
        };
        let value = CpuValue::Boolean(on || migratable == Some(false));
        return Some(CpuProperty { name, value, migratable });
    }
    if let Some(number) = value.as_i64() {
        return plain(CpuValue::Number(number));
    }
    plain(CpuValue::String(value.as_str()?.to_owned()))
}

impl<'a> Emulator<'a> {
    /// The CPU that a guest can have under an accelerator; `None` where libvirt keeps none.
    pub fn host_cpu(&self, accelerator: Accelerator) -> Option<HostCpuView<'a>> {
        let expansions = Expansions::new(self, self.arch?, accelerator);
        let props = expansions.expanded(&[])?.get("model")?.get("props")?;
        Some(HostCpuView { props, others: expansions.unmigratable() })
    }
}

/// The CPU that a guest can have, one property at a time.
#[derive(Clone, Copy, Debug)]
pub struct HostCpuView<'a> {
    props: Value<'a>,
    /// The properties where what cannot be migrated was wanted too.
    others: Option<Value<'a>>,
}

impl HostCpuView<'_> {
    /// A property as libvirt keeps it, if it does.
    pub fn property(&self, name: &str) -> Option<CpuProperty> {
        let other = self.others.and_then(|others| boolean(others, name));
        property(name, self.props.get(name)?, other)
    }
}
