//! The domain capabilities of libvirt: what a guest of one machine type under one accelerator can have.
//!
//! [`Domain`] chooses machine type and accelerator, [`Surroundings`] holds the facts of the host, and [`DomainCaps`] is
//! derived from both and from the emulator's capabilities, for the release that these are of. The rules are those of
//! `virQEMUCapsFillDomainCaps` in libvirt's `src/qemu/qemu_capabilities.c`, the order that of
//! `src/conf/domain_capabilities.c`. The parts of a release are data ([`parts`]).

mod cpu;
mod devices;
mod domain;
mod features;
mod firmware;
mod machine;
mod parts;
mod section;
mod surroundings;
mod write;

pub use cpu::{CpuModes, CustomModel, HostModel, Mode};
pub use domain::{Domain, DomainError, VirtType};
pub use features::{Features, Hyperv, SevSupport};
pub use firmware::DescriptorError;
pub use section::{Enumeration, Section};
pub use surroundings::{
    DEFAULT_FIRMWARE, LoaderFirmware, Presence, SevGuests, Surroundings, Swtpm,
};

use crate::caps::QemuCaps;
use section::chosen;

/// The `<domainCapabilities>` of an emulator for one machine type under one accelerator.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainCaps {
    /// The requested path of the emulator.
    pub path: String,
    /// The accelerator.
    pub virt_type: VirtType,
    /// The name of the machine type, never an alias.
    pub machine: String,
    /// The guest's architecture in libvirt's vocabulary.
    pub arch: String,
    /// The largest number of CPUs; 0 if unknown, and then not written.
    pub max_vcpus: u32,
    /// The kinds of firmware that a guest can request.
    pub firmware: Enumeration,
    /// The features of firmware that a guest can request; `None` if the release does not report them.
    pub firmware_features: Option<Section>,
    /// The files of firmware, in order of precedence.
    pub loaders: Vec<String>,
    /// The properties of these files.
    pub loader: Vec<Enumeration>,
    /// True if QEMU can keep the variables of firmware in a store; `None` if the release does not report it.
    pub varstore: Option<bool>,
    /// The CPUs.
    pub cpu: CpuModes,
    /// The kinds of memory.
    pub memory_backing: Section,
    /// The kinds of devices, in libvirt's order.
    pub devices: Vec<Section>,
    /// Features of the machine and of the host.
    pub features: Features,
}

impl DomainCaps {
    /// Derives the capabilities that libvirt would report for a domain.
    pub fn from_caps(
        caps: &QemuCaps,
        domain: &Domain,
        surroundings: &Surroundings<'_>,
    ) -> DomainCaps {
        let Domain { virt_type, machine } = domain;
        let machines = &virt_type.of(caps).machines;
        let max_cpus = machines.iter().find(|own| own.name == *machine && own.max_cpus > 0);
        let max_cpus = max_cpus.map_or(0, |machine| machine.max_cpus);
        let limit = surroundings.kvm_max_vcpus.filter(|_| *virt_type == VirtType::Kvm);
        let LoaderFirmware { bios, efi, secure, loaders, .. } = &surroundings.firmware;
        let has = |part| parts::has(caps.release, part);
        DomainCaps {
            path: caps.emulator.clone(),
            virt_type: *virt_type,
            machine: machine.clone(),
            arch: caps.arch.clone(),
            max_vcpus: limit.map_or(max_cpus, |limit| max_cpus.min(limit)),
            firmware: Enumeration::of("firmware", &[(*bios, "bios"), (*efi, "efi")]),
            firmware_features: parts::reported(
                caps.release,
                firmware_features(&surroundings.firmware),
            ),
            loaders: loaders.clone(),
            loader: vec![
                Enumeration { name: "type", values: vec!["rom", "pflash"] },
                Enumeration { name: "readonly", values: vec!["yes", "no"] },
                Enumeration { name: "secure", values: chosen(&[(*secure, "yes"), (true, "no")]) },
            ],
            varstore: has("varstore")
                .then(|| surroundings.firmware.has_varstore && caps.flags.has("uefi-vars")),
            cpu: cpu::modes(caps, domain, surroundings),
            memory_backing: memory_backing(caps),
            devices: devices::all(caps, machine, surroundings),
            features: features::all(caps, domain, surroundings),
        }
    }

    /// Returns true if the CPU models are unknown because libvirt's CPU map was not given.
    pub fn lacks_cpu_map(&self) -> bool {
        self.cpu.custom == Mode::Unknown
    }
}

/// Returns for each feature whether a firmware has it, and whether one lacks it.
fn firmware_features(firmware: &LoaderFirmware) -> Section {
    let list = |name, presence: Presence| {
        Enumeration::of(name, &[(presence.some_have, "yes"), (presence.some_lack, "no")])
    };
    let lists = vec![
        list("secureBoot", firmware.secure_boot),
        list("enrolledKeys", firmware.enrolled_keys),
    ];
    Section::new("firmwareFeatures", lists)
}

fn memory_backing(caps: &QemuCaps) -> Section {
    let memfd = caps.flags.has("memory-backend-memfd");
    let sources = [(true, "file"), (true, "anonymous"), (memfd, "memfd")];
    Section::new("memoryBacking", vec![Enumeration::of("sourceType", &sources)])
}
