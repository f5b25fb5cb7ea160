//! What of this host matters before an emulator is started.

use std::fs::File;
use std::path::Path;

/// Whether this process can use KVM: the node opens for reading and writing.
pub(crate) fn kvm_opens() -> bool {
    File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Whether KVM of this host can run guests of QEMU's target `arch`.
pub fn is_native(arch: &str) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => matches!(arch, "x86_64" | "i386"),
        "powerpc64" => matches!(arch, "ppc64" | "ppc"),
        "mips64" => matches!(arch, "mips64" | "mips64el" | "mips" | "mipsel"),
        host => arch == host,
    }
}

/// The target that an emulator's name promises, as far as it is known to promise one:
/// `qemu-system-ARCH`, with or without something behind it, and `qemu-kvm`.
pub(crate) fn promised_arch(emulator: &Path) -> Option<&str> {
    let name = emulator.file_name()?.to_str()?;
    if name == "qemu-kvm" {
        return Some(std::env::consts::ARCH);
    }
    let arch = name.strip_prefix("qemu-system-")?.split('-').next()?;
    Some(if arch == "ppc64le" { "ppc64" } else { arch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_read_from_the_name_where_the_name_tells() {
        let promised = |name| promised_arch(Path::new(name));
        assert_eq!(promised("/usr/bin/qemu-system-x86_64"), Some("x86_64"));
        assert_eq!(promised("/usr/bin/qemu-system-x86_64-microvm"), Some("x86_64"));
        assert_eq!(promised("/usr/bin/qemu-system-ppc64le"), Some("ppc64"));
        assert_eq!(promised("/usr/libexec/qemu-kvm"), Some(std::env::consts::ARCH));
        assert_eq!(promised("/opt/vm/emulator"), None);
    }
}
