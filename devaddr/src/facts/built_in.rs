//! Facts about QEMU since 4.2, as it is usually built.

use super::{Facts, Part, Source, bit};

impl Facts {
    /// Returns the facts for an architecture, without an emulator.
    ///
    /// They say which of the devices that matter QEMU builds for the architecture by default. An emulator that was
    /// built with fewer devices differs: use [`Facts::from_entry`] where there is one.
    pub fn built_in(arch: &str) -> Facts {
        let parts = Part::ALL.iter().filter(|part| has(arch, **part));
        Facts {
            source: Source::BuiltIn,
            arch: arch.to_owned(),
            version: None,
            default_machine: default_machine(arch).map(str::to_owned),
            parts: parts.fold(0, |parts, part| parts | bit(*part)),
            unknown: 0,
        }
    }
}

/// Returns the machine type of a guest that names none.
pub(super) fn default_machine(arch: &str) -> Option<&'static str> {
    Some(match arch {
        "i686" | "x86_64" => "pc",
        "ppc64" | "ppc64le" => "pseries",
        "ppc" => "g3beige",
        "s390x" => "s390-ccw-virtio",
        "armv6l" => "integratorcp",
        "armv7l" | "aarch64" | "riscv32" | "riscv64" | "loongarch64" => "virt",
        "sparc" => "SS-5",
        "sparc64" => "sun4u",
        "alpha" => "clipper",
        "mips" | "mipsel" | "mips64" | "mips64el" => "malta",
        "m68k" => "mcf5208evb",
        "sh4" | "sh4eb" => "shix",
        _ => return None,
    })
}

/// Returns whether QEMU has a device for an architecture.
pub(super) fn has(arch: &str, part: Part) -> bool {
    match (arch, part) {
        // s390 has PCI, with few devices; SPARC has SBus.
        ("s390" | "s390x", part) => {
            matches!(part, Part::Zpci | Part::QemuXhci | Part::VirtioScsi | Part::VirtioNet)
        }
        ("sparc", _) | (_, Part::Zpci) => false,
        ("ppc" | "ppc64" | "ppc64le", Part::Gpex) => false,
        _ => true,
    }
}
