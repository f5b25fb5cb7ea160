//! The rules by which libvirt accepts or discards a file of its cache.
//!
//! libvirt checks a file when it loads it (`virQEMUCapsLoadCache`), and again before each use (`virQEMUCapsIsValid`, both
//! in `src/qemu/qemu_capabilities.c`; equal in 9.0 and 11.3, and in 12 but for TDX, which it counts as KVM's support for
//! secure guests, and one more accelerator). What the guest's architecture makes irrelevant is not compared: an emulator
//! that KVM cannot accelerate here depends on files only.

use capscache_format::Escaped;

use crate::arch;
use crate::caps::{CpuData, QemuCaps};
use crate::derive::Host;

/// The present state of everything that libvirt compares a file with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Present {
    /// The values that libvirt stores in a file; all those of the host are set, whether KVM is usable or not.
    pub host: Host,
    /// The host's architecture in libvirt's vocabulary.
    pub arch: String,
    /// True if the user that libvirt runs emulators as may open `/dev/kvm` for reading and writing.
    pub kvm_usable: bool,
    /// The CPUID leaves that KVM supports; `None` if libvirt could not query it, and then nothing is compared.
    pub cpu_data: Option<CpuData>,
}

/// The first reason for which libvirt discards a file, in the order in which it compares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Outdated {
    /// Another release of libvirt wrote it.
    #[error("libvirt's release changed: recorded {recorded}, found {found}")]
    Release {
        /// `<selfvers>`.
        recorded: u32,
        /// The version of libvirt.
        found: u32,
    },
    /// The daemon or a driver of libvirt was installed since, or another daemon wrote it.
    #[error("libvirt's own files changed: recorded {recorded}, found {found}")]
    SelfCtime {
        /// `<selfctime>`, in seconds.
        recorded: i64,
        /// The newest change time of libvirt's files, in seconds.
        found: i64,
    },
    /// It describes another emulator.
    #[error("it describes another emulator, {}", Escaped::new(recorded))]
    Emulator {
        /// `<emulator>`.
        recorded: String,
    },
    /// Modules of QEMU were installed or removed.
    #[error("QEMU's module directory changed: recorded {recorded}, found {found}")]
    Modules {
        /// `<qemumoddirmtime>`, in seconds; 0 if there was none.
        recorded: i64,
        /// The modification time of the directory, in seconds.
        found: i64,
    },
    /// The emulator was replaced, or its owner, mode or links changed.
    #[error("the emulator changed: recorded {recorded}, found {found}")]
    QemuCtime {
        /// `<qemuctime>`, in seconds.
        recorded: i64,
        /// The change time of the emulator, in seconds.
        found: i64,
    },
    /// It has no answers under KVM, which libvirt's user of QEMU may open.
    #[error("it has nothing about KVM, which is usable for the user that libvirt runs QEMU as")]
    KvmUsable,
    /// It has answers under KVM, which libvirt's user of QEMU may not open.
    #[error("it is about KVM, which is not usable for the user that libvirt runs QEMU as")]
    KvmNotUsable,
    /// It comes from a host with another CPU.
    #[error("the host's CPU changed: recorded {recorded:?}, found {found:?}")]
    Cpu {
        /// `<hostCPUSignature>`.
        recorded: Option<String>,
        /// The host's CPU, in one line.
        found: Option<String>,
    },
    /// The microcode was updated.
    #[error("the microcode changed: recorded {recorded}, found {found}")]
    Microcode {
        /// `<microcodeVersion>`.
        recorded: u32,
        /// The version of the host's microcode.
        found: u32,
    },
    /// Another kernel runs.
    #[error("the kernel changed: recorded {recorded:?}, found {found:?}")]
    Kernel {
        /// `<kernelVersion>`.
        recorded: Option<String>,
        /// Release and version of the running kernel.
        found: Option<String>,
    },
    /// KVM supports other features of the CPU.
    #[error("the CPU features that KVM supports changed (<cpudata>)")]
    CpuData,
    /// A parameter of KVM's module changed.
    #[error("KVM's support for nested guests changed: recorded {recorded}, found {}", !recorded)]
    Nesting {
        /// True if the file has `<kvmSupportsNesting>`.
        recorded: bool,
    },
    /// A parameter of KVM's module changed, or the device of the platform's firmware.
    #[error("KVM's support for secure guests changed: recorded {recorded}, found {}", !recorded)]
    SecureGuest {
        /// True if the file has `<kvmSupportsSecureGuest>`.
        recorded: bool,
    },
}

impl Present {
    /// Returns whether libvirt accepts the content of a file, which then starts no emulator.
    ///
    /// The number of the processor in the CPUID leaf 0x1f is not compared: libvirt 11.3 compares it by mistake, and
    /// accepts a file of a host with that leaf only on the processor that wrote it.
    ///
    /// # Errors
    /// [`Outdated`], the first reason why not.
    pub fn check(&self, caps: &QemuCaps) -> Result<(), Outdated> {
        let host = &self.host;
        differs(caps.self_version, host.self_version, |recorded, found| Outdated::Release {
            recorded,
            found,
        })?;
        differs(caps.self_ctime, host.self_ctime, |recorded, found| Outdated::SelfCtime {
            recorded,
            found,
        })?;
        if caps.emulator != host.emulator {
            return Err(Outdated::Emulator { recorded: caps.emulator.clone() });
        }
        let modules = (caps.module_directory_mtime, host.module_directory_mtime);
        // Without the directory libvirt compares nothing.
        if modules.1 != 0 {
            differs(modules.0, modules.1, |recorded, found| Outdated::Modules { recorded, found })?;
        }
        differs(caps.qemu_ctime, host.qemu_ctime, |recorded, found| Outdated::QemuCtime {
            recorded,
            found,
        })?;
        if !arch::is_native(&self.arch, &caps.arch) {
            return Ok(());
        }
        match (caps.flags.has("kvm"), self.kvm_usable) {
            (false, true) => return Err(Outdated::KvmUsable),
            (true, false) => return Err(Outdated::KvmNotUsable),
            (true, true) | (false, false) => {}
        }
        // `virQEMUCapsHaveAccel`
        if ["kvm", "hvf", "mshv"].iter().any(|accelerator| caps.flags.has(accelerator)) {
            self.check_host(caps)?;
        }
        if caps.flags.has("kvm") { self.check_kvm(caps) } else { Ok(()) }
    }

    /// Compares what matters only with an accelerator.
    fn check_host(&self, caps: &QemuCaps) -> Result<(), Outdated> {
        let host = &self.host;
        if caps.host_cpu_signature != host.host_cpu_signature {
            let recorded = caps.host_cpu_signature.clone();
            return Err(Outdated::Cpu { recorded, found: host.host_cpu_signature.clone() });
        }
        differs(caps.microcode_version, host.microcode_version, |recorded, found| {
            Outdated::Microcode { recorded, found }
        })?;
        if caps.kernel_version != host.kernel_version {
            let recorded = caps.kernel_version.clone();
            return Err(Outdated::Kernel { recorded, found: host.kernel_version.clone() });
        }
        let leaves = |data: &CpuData| data.clone().of_any_processor();
        if self.cpu_data.as_ref().is_some_and(|found| {
            caps.cpu_data.as_ref().map(leaves).as_ref() != Some(&leaves(found))
        }) {
            return Err(Outdated::CpuData);
        }
        Ok(())
    }

    /// Compares what matters only under KVM.
    fn check_kvm(&self, caps: &QemuCaps) -> Result<(), Outdated> {
        let host = &self.host;
        if caps.kvm_supports_nesting != host.kvm_supports_nesting {
            return Err(Outdated::Nesting { recorded: caps.kvm_supports_nesting });
        }
        if caps.kvm_supports_secure_guest != host.supports_secure_guest(&self.arch, caps.release) {
            return Err(Outdated::SecureGuest { recorded: caps.kvm_supports_secure_guest });
        }
        Ok(())
    }
}

/// Returns an error made of two values that are not equal.
fn differs<T: PartialEq, E>(recorded: T, found: T, error: impl Fn(T, T) -> E) -> Result<(), E> {
    if recorded == found { Ok(()) } else { Err(error(recorded, found)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::Cpuid;
    use crate::flags::FlagSet;
    use crate::release::Release;

    fn leaf(eax_in: u32, edx: u32) -> Cpuid {
        Cpuid { eax_in, eax: 7, edx, ..Cpuid::default() }
    }

    /// A host, and the file that libvirt keeps there.
    fn scene() -> (Present, QemuCaps) {
        let host = Host {
            emulator: "/usr/bin/qemu-system-x86_64".to_owned(),
            qemu_ctime: 10,
            module_directory_mtime: 11,
            self_ctime: 12,
            self_version: 11_003_000,
            microcode_version: 13,
            host_cpu_signature: Some("a CPU".to_owned()),
            kernel_version: Some("6.1 #1".to_owned()),
            kvm_supports_nesting: true,
            ..Host::default()
        };
        let cpu_data = Some(CpuData::of_host([leaf(1, 2), leaf(0x1f, 0)]));
        let mut flags = FlagSet::default();
        assert!(flags.insert("kvm"));
        let caps = QemuCaps {
            release: Release::V11_3,
            emulator: host.emulator.clone(),
            qemu_ctime: 10,
            module_directory_mtime: 11,
            self_ctime: 12,
            self_version: 11_003_000,
            microcode_version: 13,
            host_cpu_signature: host.host_cpu_signature.clone(),
            kernel_version: host.kernel_version.clone(),
            kvm_supports_nesting: true,
            cpu_data: cpu_data.clone(),
            arch: "x86_64".to_owned(),
            flags,
            ..QemuCaps::default()
        };
        (Present { host, arch: "x86_64".to_owned(), kvm_usable: true, cpu_data }, caps)
    }

    #[test]
    fn a_file_of_this_very_host_is_accepted() {
        let (present, caps) = scene();
        assert_eq!(present.check(&caps), Ok(()));
    }

    #[test]
    fn each_difference_is_the_reason_and_what_does_not_depend_on_the_host_is_compared_for_all() {
        type Change = fn(&mut QemuCaps);
        // The change of a file, the reason, and whether it also counts for an emulator that is not native.
        let changes: [(Change, Outdated, bool); 12] = [
            (
                |caps| caps.self_version = 1,
                Outdated::Release { recorded: 1, found: 11_003_000 },
                true,
            ),
            (|caps| caps.self_ctime = 1, Outdated::SelfCtime { recorded: 1, found: 12 }, true),
            (
                |caps| caps.emulator = "/other".to_owned(),
                Outdated::Emulator { recorded: "/other".to_owned() },
                true,
            ),
            (
                |caps| caps.module_directory_mtime = 1,
                Outdated::Modules { recorded: 1, found: 11 },
                true,
            ),
            (|caps| caps.qemu_ctime = 1, Outdated::QemuCtime { recorded: 1, found: 10 }, true),
            (|caps| caps.flags = FlagSet::default(), Outdated::KvmUsable, false),
            (
                |caps| caps.host_cpu_signature = None,
                Outdated::Cpu { recorded: None, found: Some("a CPU".to_owned()) },
                false,
            ),
            (
                |caps| caps.microcode_version = 1,
                Outdated::Microcode { recorded: 1, found: 13 },
                false,
            ),
            (
                |caps| caps.kernel_version = None,
                Outdated::Kernel { recorded: None, found: Some("6.1 #1".to_owned()) },
                false,
            ),
            (|caps| caps.cpu_data = None, Outdated::CpuData, false),
            (
                |caps| caps.kvm_supports_nesting = false,
                Outdated::Nesting { recorded: false },
                false,
            ),
            (
                |caps| caps.kvm_supports_secure_guest = true,
                Outdated::SecureGuest { recorded: true },
                false,
            ),
        ];
        let (present, caps) = scene();
        for (change, reason, for_all) in changes {
            let mut changed = caps.clone();
            change(&mut changed);
            assert_eq!(present.check(&changed), Err(reason.clone()));
            changed.arch = "s390x".to_owned();
            let expected = if for_all { Err(reason) } else { Ok(()) };
            assert_eq!(present.check(&changed), expected, "on another host's emulator");
        }
    }

    #[test]
    fn another_accelerator_ties_a_file_to_the_host_and_not_to_what_kvm_supports() {
        let (mut present, mut caps) = scene();
        present.kvm_usable = false;
        caps.flags = FlagSet::default();
        assert!(caps.flags.insert("mshv"));
        caps.kvm_supports_nesting = false;
        assert_eq!(present.check(&caps), Ok(()));
        caps.microcode_version = 1;
        let microcode = Outdated::Microcode { recorded: 1, found: 13 };
        assert_eq!(present.check(&caps), Err(microcode));
    }

    #[test]
    fn tdx_counts_as_support_for_secure_guests_from_the_release_that_knows_it() {
        let (mut present, mut caps) = scene();
        present.host.kvm_supports_tdx = true;
        for release in [Release::V9_0, Release::V10_0, Release::V11_3] {
            caps.release = release;
            assert_eq!(present.check(&caps), Ok(()), "{release}");
        }
        caps.release = Release::V12_8;
        assert_eq!(present.check(&caps), Err(Outdated::SecureGuest { recorded: false }));
        caps.kvm_supports_secure_guest = true;
        assert_eq!(present.check(&caps), Ok(()));
    }

    #[test]
    fn without_kvm_a_file_about_it_is_discarded_and_one_without_is_not_tied_to_a_host() {
        let (mut present, mut caps) = scene();
        present.kvm_usable = false;
        assert_eq!(present.check(&caps), Err(Outdated::KvmNotUsable));
        caps.flags = FlagSet::default();
        (caps.kernel_version, caps.microcode_version, caps.cpu_data) = (None, 0, None);
        assert_eq!(present.check(&caps), Ok(()));
    }

    #[test]
    fn a_module_directory_that_does_not_exist_and_a_kvm_that_cannot_be_queried_are_not_compared() {
        let (mut present, mut caps) = scene();
        present.host.module_directory_mtime = 0;
        present.cpu_data = None;
        caps.cpu_data = Some(CpuData::default());
        assert_eq!(present.check(&caps), Ok(()));
    }

    #[test]
    fn the_number_of_the_processor_does_not_make_a_file_invalid() {
        let (present, mut caps) = scene();
        caps.cpu_data = Some(CpuData::of_host([leaf(1, 2), leaf(0x1f, 5)]));
        assert_eq!(present.check(&caps), Ok(()));
        caps.cpu_data = Some(CpuData::of_host([leaf(1, 3), leaf(0x1f, 0)]));
        assert_eq!(present.check(&caps), Err(Outdated::CpuData));
    }
}
