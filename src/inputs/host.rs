//! The host: kernel, CPU and `memfd_create`, which do not change under a running process.

use std::fs::{self, File};
use std::io::Read;

use capscache_format::{Cpu, Evidence, Input, InputKind, Kernel, Memfd};
use rustix::fs::MemfdFlags;
use sha2::{Digest, Sha256};

use super::{Check, Compare, FastCheck, Present, differs};

use super::record_state;
use capscache_format::Scope;

/// The state of a host that answers depend on, examined once per cache.
///
/// ```
/// use capscache::HostFacts;
///
/// let mut other = HostFacts::of_this_host();
/// other.kernel.release = "6.12.0".to_owned();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostFacts {
    /// The running kernel.
    pub kernel: Kernel,
    /// The CPU and its microcode.
    pub cpu: Cpu,
    /// The result of `memfd_create`.
    pub memfd: Memfd,
}

impl HostFacts {
    /// Examines this host: `uname(2)`, `/proc/cpuinfo`, sysfs and `memfd_create(2)`.
    pub fn of_this_host() -> HostFacts {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let kernel = Kernel { release: text(uname.release()), version: text(uname.version()) };
        HostFacts { kernel, cpu: cpu(), memfd: memfd() }
    }

    fn evidence(&self, kind: InputKind) -> Option<Evidence> {
        match kind {
            InputKind::Memfd => Some(Evidence::Memfd(self.memfd)),
            InputKind::Kernel => Some(Evidence::Kernel(self.kernel.clone())),
            InputKind::Cpu => Some(Evidence::Cpu(self.cpu.clone())),
            _ => None,
        }
    }

    /// Returns whether an input was recorded on a host like this one. Without copies: a hit calls it.
    fn is_as_in(&self, input: &Input) -> bool {
        match &input.evidence {
            Evidence::Memfd(memfd) => *memfd == self.memfd,
            Evidence::Kernel(kernel) => *kernel == self.kernel,
            Evidence::Cpu(cpu) => *cpu == self.cpu,
            _ => false,
        }
    }

    /// Returns whether the vendor of the CPU is AMD.
    pub(super) fn is_amd(&self) -> bool {
        self.cpu.model.contains("AMD")
    }
}

/// Compares kernel, CPU and `memfd_create`.
pub(super) struct Host;

/// Records `memfd_create`, on which facts of the binary depend.
pub(crate) fn record_memfd(host: &HostFacts) -> Input {
    record_state(Scope::Binary, Evidence::Memfd(host.memfd))
}

/// Records the running kernel.
pub(crate) fn record_kernel(scope: Scope, host: &HostFacts) -> Input {
    record_state(scope, Evidence::Kernel(host.kernel.clone()))
}

/// Records the CPU, on which facts of the host depend.
pub(crate) fn record_cpu(host: &HostFacts) -> Input {
    record_state(Scope::Host, Evidence::Cpu(host.cpu.clone()))
}

impl Compare for Host {
    fn fast_checks(&self, input: &Input, host: &HostFacts) -> Option<Vec<FastCheck>> {
        // Compared once: it does not change under a running process.
        host.is_as_in(input).then(Vec::new)
    }

    fn full_check(&self, input: &Input, present: &Present<'_>) -> Check {
        if present.host.is_as_in(input) {
            return Check::Same;
        }
        let found = present.host.evidence(input.kind());
        let found = found.as_ref().map_or_else(String::new, describe);
        differs(input, self.describe(input), found)
    }

    fn holds_for_failure(&self, input: &Input, host: &HostFacts) -> bool {
        host.is_as_in(input)
    }

    fn describe(&self, input: &Input) -> String {
        describe(&input.evidence)
    }
}

fn describe(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Memfd(memfd) => memfd.to_string(),
        Evidence::Kernel(kernel) => kernel.to_string(),
        Evidence::Cpu(cpu) => cpu.to_string(),
        _ => String::new(),
    }
}

fn memfd() -> Memfd {
    let works = |flags| rustix::fs::memfd_create("capscache", flags | MemfdFlags::CLOEXEC).is_ok();
    Memfd { plain: works(MemfdFlags::empty()), hugetlb: works(MemfdFlags::HUGETLB) }
}

/// Lines of `/proc/cpuinfo` that differ from one processor, or one moment, to the next.
const VOLATILE: [&str; 11] = [
    "processor",
    "cpu MHz",
    "physical id",
    "core id",
    "apicid",
    "initial apicid",
    "bogomips",
    "BogoMIPS",
    "cpu MHz static",
    // s390x: those that are online.
    "# processors",
    // powerpc: the present frequency.
    "clock",
];

/// The first processor, with a digest of all that the kernel reports of it.
fn cpu() -> Cpu {
    // The first processor is in the first kilobytes; the kernel makes only the part that is read.
    const ENOUGH_BYTES: usize = 16 * 1024;
    let mut text = Vec::with_capacity(ENOUGH_BYTES);
    let opened = File::open("/proc/cpuinfo");
    let _ = opened.and_then(|file| file.take(ENOUGH_BYTES as u64).read_to_end(&mut text));
    let (model, features) = first_processor(&String::from_utf8_lossy(&text));
    let microcode = fs::read_to_string("/sys/devices/system/cpu/cpu0/microcode/version");
    let microcode = microcode.unwrap_or_default().trim().to_owned();
    Cpu { model, features, microcode }
}

/// The model of the first processor in `/proc/cpuinfo`, empty where the kernel names none (aarch64), and the digest.
fn first_processor(text: &str) -> (String, String) {
    let mut hasher = Sha256::new();
    let mut model = "";
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let key = key.trim();
        if key == "model name" || key == "cpu" {
            model = value.trim();
        }
        if key.starts_with("processor ") {
            // s390x lists the processors that are online in the first block; they are of one machine.
            model = value.rsplit(',').next().unwrap_or(value).trim();
        } else if !VOLATILE.contains(&key) && key != "microcode" {
            hasher.update(line.as_bytes());
            hasher.update(b"\n");
        }
    }
    (model.to_owned(), capscache_format::hex(&hasher.finalize()[..8]))
}

/// Seconds since the host was started, time asleep included: unlike other clocks, it is never set.
pub(crate) fn boot_seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_this_host_do_not_change_from_one_examination_to_the_next() {
        let facts = HostFacts::of_this_host();
        assert_eq!(facts, HostFacts::of_this_host());
        assert!(!facts.kernel.release.is_empty() && !facts.cpu.features.is_empty(), "{facts:?}");
    }

    #[test]
    fn processors_that_go_online_and_frequencies_do_not_change_the_cpu() {
        let z = |online: &str| {
            format!(
                "vendor_id       : IBM/S390\n{online}features        : esan3 zarch\n\nmore: 1\n"
            )
        };
        let one = z(
            "# processors    : 1\nprocessor 0: version = FF,  identification = 0133E8,  machine = 2964\n",
        );
        let two = z(
            "# processors    : 2\nprocessor 0: version = FF,  identification = 0133E8,  machine = 2964\n\
             processor 1: version = FF,  identification = 1133E8,  machine = 2964\n",
        );
        assert_eq!(first_processor(&one), first_processor(&two));
        assert_eq!(first_processor(&one).0, "machine = 2964");
        assert_ne!(first_processor(&one).1, first_processor(&one.replace("esan3", "esan3 vx")).1);
        assert_ne!(first_processor(&one), first_processor(&one.replace("2964", "8561")));

        let power = "processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 2300.000000MHz\nrevision\t: 2.2\n\n";
        assert_eq!(first_processor(power).0, "POWER9, altivec supported");
        assert_eq!(first_processor(power), first_processor(&power.replace("2300", "3800")));
        assert_ne!(first_processor(power), first_processor(&power.replace("2.2", "2.3")));
    }
}
