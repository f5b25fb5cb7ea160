//! The facts of this host that libvirt keeps with an emulator's capabilities, read as libvirt reads them.

use std::fs;
use std::path::Path;

use capscache_format::Entry;

use crate::arch;
use crate::derive::Host;
use crate::flags::flag;
use crate::installed::{Installed, module_directory_mtime};
use crate::release::Release;
use crate::root::{Root, Times};

impl Host {
    /// Reads the facts of this host: QEMU's modules, kernel, CPU, microcode and KVM's parameters. The emulator and
    /// libvirt are left empty.
    pub fn of_this_host() -> Host {
        let root = Root::open(Path::new("/"), Times::Kept);
        let mtime = |root: Root| module_directory_mtime(&root, Installed::find(&root).as_ref());
        Host { module_directory_mtime: root.map_or(0, mtime), ..Host::of_kernel_and_cpu() }
    }

    /// Reads the facts of this host that are not in files of an installation.
    pub(crate) fn of_kernel_and_cpu() -> Host {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let uname = rustix::system::uname();
        let kernel = [uname.release(), uname.version()].map(|part| part.to_string_lossy());
        Host {
            kernel_version: Some(kernel.join(" ")),
            host_cpu_signature: signature(&cpuinfo),
            microcode_version: microcode(&cpuinfo),
            kvm_supports_nesting: supports_nesting(),
            kvm_supports_secure_guest: supports_secure_guest(),
            // KVM has such guests once its module has them on.
            kvm_supports_tdx: is_on("/sys/module/kvm_intel/parameters/tdx"),
            ..Host::default()
        }
    }

    /// Leaves out the microcode, which libvirt keeps only with emulators that run under KVM, if this one does not.
    /// [`QemuCaps::from_entry`](crate::QemuCaps::from_entry) leaves out the other facts of KVM.
    #[must_use]
    pub fn kept_with<B: AsRef<[u8]>>(self, entry: &Entry<B>, release: Release) -> Host {
        if flag(entry, "kvm", release).is_ok_and(capscache_format::Tri::is_yes) {
            return self;
        }
        Host { microcode_version: 0, ..self }
    }

    /// Returns whether KVM supports guests that the host cannot read, of an architecture and by the means that a
    /// release knows (`virQEMUCapsKVMSupportsSecureGuest`).
    pub(crate) fn supports_secure_guest(&self, arch: &str, release: Release) -> bool {
        let has_tdx = release.facts().has_tdx && arch::is_x86(arch);
        self.kvm_supports_secure_guest || self.kvm_supports_tdx && has_tdx
    }
}

/// Returns the architecture of this host in libvirt's vocabulary.
pub fn architecture() -> String {
    let uname = rustix::system::uname();
    arch::of_kernel(&uname.machine().to_string_lossy()).to_owned()
}

/// Returns the value of the first line of `/proc/cpuinfo` with this key.
fn value<'t>(cpuinfo: &'t str, key: &str) -> Option<&'t str> {
    let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

/// Returns the host's CPU in a line; `None` for an architecture of which libvirt keeps none.
fn signature(cpuinfo: &str) -> Option<String> {
    let of = |key| value(cpuinfo, key);
    Some(match std::env::consts::ARCH {
        "x86_64" | "x86" => format!(
            "{}, {}, family: {}, model: {}, stepping: {}",
            of("vendor_id")?,
            of("model name")?,
            of("cpu family")?,
            of("model")?,
            of("stepping")?
        ),
        "powerpc64" => format!("{}, rev {}", of("cpu")?, of("revision")?),
        "s390x" => format!(
            "{}, {}, facilities: {}",
            of("vendor_id")?,
            of("processor 0")?,
            of("facilities")?
        ),
        _ => return None,
    })
}

/// Returns the microcode version of an x86 CPU: libvirt reads the first 4,096 bytes only.
fn microcode(cpuinfo: &str) -> u32 {
    let beginning: String = cpuinfo.chars().take(4096).collect();
    let text = value(&beginning, "microcode").unwrap_or("0");
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.unwrap_or(0)
}

fn is_on(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.starts_with(['Y', 'y', '1']))
}

fn supports_nesting() -> bool {
    let modules = ["kvm_intel", "kvm_amd", "kvm_hv", "kvm"];
    modules.iter().any(|module| is_on(&format!("/sys/module/{module}/parameters/nested")))
}

fn supports_secure_guest() -> bool {
    match std::env::consts::ARCH {
        "x86_64" | "x86" => {
            is_on("/sys/module/kvm_amd/parameters/sev") && Path::new("/dev/sev").exists()
        }
        "s390x" => {
            let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
            let values = line.split_whitespace().filter_map(|word| word.strip_prefix("prot_virt="));
            let is_on = |value: &str| {
                value.starts_with(['y', 'Y', '1']) || value.to_lowercase().starts_with("on")
            };
            Path::new("/sys/firmware/uv").is_dir() && values.into_iter().any(is_on)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\n\
        model name\t: A CPU @ 2.00GHz\nstepping\t: 8\nmicrocode\t: 0x2b000603\n";

    #[test]
    fn the_signature_and_the_microcode_are_those_of_the_first_processor() {
        assert_eq!(microcode(CPUINFO), 0x2b00_0603);
        assert_eq!(microcode(&format!("{}{CPUINFO}", "flags: x\n".repeat(500))), 0);
        assert_eq!(microcode("microcode : 17\n"), 17);
        if cfg!(target_arch = "x86_64") {
            let expected = "GenuineIntel, A CPU @ 2.00GHz, family: 6, model: 143, stepping: 8";
            assert_eq!(signature(CPUINFO).as_deref(), Some(expected));
        }
    }
}
