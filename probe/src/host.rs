//! Checks of this host before an emulator is started.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::spawn::{KVM, opens_as};
use crate::user::User;

/// Returns whether an emulator that runs as `user`, or else as the caller, can use KVM: the node opens for
/// reading and writing. The check for another user takes a process.
///
/// # Errors
/// Those of the operating system, if that process cannot be made or may not become `user`.
pub fn kvm_opens(user: Option<&User>) -> io::Result<bool> {
    match user {
        Some(user) => opens_as(user, KVM),
        None => {
            let path = Path::new(OsStr::from_bytes(KVM.to_bytes()));
            Ok(File::options().read(true).write(true).open(path).is_ok())
        }
    }
}

/// Returns the largest number of CPUs that a guest of KVM can have on this host: `KVM_CAP_MAX_VCPUS`, else
/// `KVM_CAP_NR_VCPUS`, else 4, as the kernel documents it. `None` where `/dev/kvm` cannot be queried.
#[cfg(target_arch = "x86_64")]
pub fn kvm_max_vcpus() -> Option<u32> {
    let most = kvm_ioctls::Kvm::new().ok()?.get_max_vcpus();
    u32::try_from(most).ok()
}

/// Returns `None`: only KVM of x86 is queried.
#[cfg(not(target_arch = "x86_64"))]
pub fn kvm_max_vcpus() -> Option<u32> {
    None
}

/// Returns whether KVM of this host can run guests of QEMU's target `arch`.
pub fn is_native(arch: &str) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => matches!(arch, "x86_64" | "i386"),
        "powerpc64" => matches!(arch, "ppc64" | "ppc"),
        "mips64" => matches!(arch, "mips64" | "mips64el" | "mips" | "mipsel"),
        host => arch == host,
    }
}

/// Returns the target in an emulator's name, for names of the form `qemu-system-ARCH`, with or without a
/// suffix, and `qemu-kvm`.
pub(crate) fn arch_from_name(emulator: &Path) -> Option<&str> {
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
    fn the_target_is_read_from_names_of_a_known_form() {
        let named = |name| arch_from_name(Path::new(name));
        assert_eq!(named("/usr/bin/qemu-system-x86_64"), Some("x86_64"));
        assert_eq!(named("/usr/bin/qemu-system-x86_64-microvm"), Some("x86_64"));
        assert_eq!(named("/usr/bin/qemu-system-ppc64le"), Some("ppc64"));
        assert_eq!(named("/usr/libexec/qemu-kvm"), Some(std::env::consts::ARCH));
        assert_eq!(named("/opt/vm/emulator"), None);
    }
}
