//! Architectures in libvirt's vocabulary.

use crate::release::Release;

const LOONGARCH: &str = "loongarch64";

/// The architectures of which QEMU has or had an emulator, in libvirt's vocabulary.
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

/// A release's name of the architecture `target` (`query-target`); `None` if it has none.
pub(crate) fn name(target: &str, release: Release) -> Option<&'static str> {
    let name = match target {
        "i386" => "i686",
        "arm" => "armv7l",
        "or32" => "openrisc",
        other => other,
    };
    names(release).find(|known| *known == name)
}

/// The names of all architectures that a release has.
pub(crate) fn names(release: Release) -> impl Iterator<Item = &'static str> {
    let is_known = move |known: &&str| *known != LOONGARCH || release.facts().has_loongarch;
    NAMES.iter().copied().filter(is_known)
}

/// Returns the name of an architecture in the file name of its emulator (`virQEMUCapsArchToString`).
pub(crate) fn of_emulator(arch: &str) -> &str {
    match arch {
        "i686" => "i386",
        "armv6l" | "armv7l" => "arm",
        other => other,
    }
}

/// Returns libvirt's name of a host's architecture (`virArchFromHost`), given that of the kernel (`uname -m`).
pub(crate) fn of_kernel(machine: &str) -> &str {
    match machine {
        "i386" | "i486" | "i586" => "i686",
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

/// Returns true if a host can run a guest under KVM, in libvirt's opinion (`virQEMUCapsGuestIsNative`).
pub(crate) fn is_native(host: &str, guest: &str) -> bool {
    host == guest
        || matches!((host, guest), ("x86_64", "i686") | ("aarch64", "armv7l"))
        || (is_ppc64(host) && is_ppc64(guest))
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
