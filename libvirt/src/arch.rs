//! Architectures in libvirt's vocabulary.

use crate::release::Release;

const LOONGARCH: &str = "loongarch64";

/// A release's name of the architecture `target` (`query-target`); `None` if it has none.
pub(crate) fn name(target: &str, release: Release) -> Option<&'static str> {
    const NAMES: &[&str] = &[
        "alpha",
        "armv6l",
        "armv7b",
        "armv7l",
        "aarch64",
        "cris",
        "i686",
        "lm32",
        LOONGARCH,
        "m68k",
        "microblaze",
        "microblazeel",
        "mips",
        "mipsel",
        "mips64",
        "mips64el",
        "openrisc",
        "ppc",
        "ppcle",
        "ppc64",
        "ppc64le",
        "ppcemb",
        "riscv32",
        "riscv64",
        "s390",
        "s390x",
        "sh4",
        "sh4eb",
        "sparc",
        "sparc64",
        "unicore32",
        "x86_64",
        "xtensa",
        "xtensaeb",
    ];
    let name = match target {
        "i386" => "i686",
        "arm" => "armv7l",
        "or32" => "openrisc",
        other => other,
    };
    let is_known = |known: &str| known != LOONGARCH || release.facts().has_loongarch;
    NAMES.iter().copied().find(|known| *known == name && is_known(known))
}

pub(crate) fn is_x86(arch: &str) -> bool {
    matches!(arch, "i686" | "x86_64")
}

pub(crate) fn is_arm(arch: &str) -> bool {
    matches!(arch, "armv6l" | "armv7b" | "armv7l" | "aarch64")
}

pub(crate) fn is_s390(arch: &str) -> bool {
    matches!(arch, "s390" | "s390x")
}

pub(crate) fn is_ppc64(arch: &str) -> bool {
    matches!(arch, "ppc64" | "ppc64le")
}

/// Returns true for architectures whose interrupt controller libvirt queries.
pub(crate) fn has_gic(arch: &str) -> bool {
    matches!(arch, "armv6l" | "armv7l" | "aarch64")
}

/// The machine type that a release lists first.
pub(crate) fn preferred_machine(arch: &str, release: Release) -> Option<&'static str> {
    let prefers_virt = release.facts().prefers_virt;
    Some(match arch {
        "i686" | "x86_64" => "pc",
        "aarch64" | "armv7l" | "armv7b" if prefers_virt => "virt",
        "aarch64" | "armv7l" | "armv7b" | "armv6l" => "integratorcp",
        "riscv32" | "riscv64" if prefers_virt => "virt",
        "riscv32" | "riscv64" => "spike_v1.10",
        LOONGARCH => "virt",
        "ppc64" | "ppc64le" => "pseries",
        "ppc" | "ppcle" => "g3beige",
        "ppcemb" => "bamboo",
        "s390" | "s390x" => "s390-ccw-virtio",
        "sparc" => "SS-5",
        "sparc64" => "sun4u",
        "mips" | "mipsel" | "mips64" | "mips64el" => "malta",
        "alpha" => "clipper",
        "cris" => "axis-dev88",
        "lm32" => "lm32-evr",
        "m68k" => "mcf5208evb",
        "microblaze" | "microblazeel" => "petalogix-s3adsp1800",
        "openrisc" => "or1k-sim",
        "sh4" | "sh4eb" => "shix",
        "unicore32" => "puv3",
        "xtensa" | "xtensaeb" => "sim",
        _ => return None,
    })
}
