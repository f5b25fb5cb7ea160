//! Architectures in libvirt's vocabulary.

/// libvirt's name of the architecture `target` (`query-target`); `None` if libvirt has none.
pub(crate) fn name(target: &str) -> Option<&'static str> {
    const NAMES: &[&str] = &[
        "alpha",
        "armv6l",
        "armv7b",
        "armv7l",
        "aarch64",
        "cris",
        "i686",
        "lm32",
        "loongarch64",
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
    NAMES.iter().find(|known| **known == name).copied()
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

/// The machine type that libvirt lists first.
pub(crate) fn preferred_machine(arch: &str) -> Option<&'static str> {
    Some(match arch {
        "i686" | "x86_64" => "pc",
        "aarch64" | "armv7l" | "armv7b" | "riscv32" | "riscv64" | "loongarch64" => "virt",
        "armv6l" => "integratorcp",
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
