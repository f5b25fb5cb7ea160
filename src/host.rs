//! What of this host answers depend on.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use capscache_format::Signature;
use rustix::fs::MemfdFlags;
use sha2::{Digest, Sha256};

/// The node that opens KVM.
pub(crate) const KVM: &str = "/dev/kvm";

/// How long it is believed that KVM fails although it opens, in seconds: it may only be busy.
const FAILURE_SECONDS: i64 = 60;

/// What cannot change under a running process, looked at once per cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Release and version of the kernel, as `uname` tells them.
    pub kernel: String,
    /// The CPU: vendor, family, model, stepping, features, and the microcode.
    pub cpu: String,
    /// Whether `memfd_create` works, without and with MFD_HUGETLB.
    pub memfd: String,
}

impl HostFacts {
    /// Looks at this host.
    pub fn of_this_host() -> HostFacts {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        HostFacts {
            kernel: format!("{} {}", text(uname.release()), text(uname.version())),
            cpu: cpu(),
            memfd: memfd(),
        }
    }
}

fn memfd() -> String {
    let works = |flags| match rustix::fs::memfd_create("capscache", flags | MemfdFlags::CLOEXEC) {
        Ok(_) => "yes",
        Err(_) => "no",
    };
    format!("plain {} hugetlb {}", works(MemfdFlags::empty()), works(MemfdFlags::HUGETLB))
}

/// Lines of `/proc/cpuinfo` that differ from one processor, or one moment, to the next.
const VOLATILE: [&str; 9] = [
    "processor",
    "cpu MHz",
    "physical id",
    "core id",
    "apicid",
    "initial apicid",
    "bogomips",
    "BogoMIPS",
    "cpu MHz static",
];

/// A few words about the first processor, with a digest of all that the kernel says of it.
fn cpu() -> String {
    // The first processor stands in the first kilobytes; the kernel makes only what is read.
    const ENOUGH_BYTES: usize = 16 * 1024;
    let mut text = Vec::with_capacity(ENOUGH_BYTES);
    let opened = File::open("/proc/cpuinfo");
    let _ = opened.and_then(|file| file.take(ENOUGH_BYTES as u64).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let mut hasher = Sha256::new();
    let mut name = "";
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        if key.trim() == "model name" {
            name = value.trim();
        }
        if !VOLATILE.contains(&key.trim()) && key.trim() != "microcode" {
            hasher.update(line.as_bytes());
            hasher.update(b"\n");
        }
    }
    let digest = capscache_format::hex(&hasher.finalize()[..8]);
    let microcode = fs::read_to_string("/sys/devices/system/cpu/cpu0/microcode/version");
    let microcode = microcode.unwrap_or_default();
    format!("{name} {digest} microcode {}", microcode.trim())
}

/// What KVM is to this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KvmState {
    /// The node's, taken before everything else: what changes after that shows.
    pub(crate) signature: Option<Signature>,
    /// Owner, mode and device of the node: the same for every user.
    pub(crate) node: String,
    /// Who looked, whether the node opened, and module parameters and nodes that answers depend on.
    pub(crate) view: String,
}

impl KvmState {
    /// Looks at KVM as this process sees it.
    pub(crate) fn now() -> KvmState {
        let signature = crate::input::stat(Path::new(KVM)).ok();
        let opens = File::options().read(true).write(true).open(KVM).is_ok();
        KvmState::seen_by(signature, rustix::process::geteuid().as_raw(), opens)
    }

    /// Looks at KVM as an emulator sees it that runs as somebody else.
    #[cfg(feature = "probe")]
    pub(crate) fn of(user: Option<&capscache_probe::User>) -> KvmState {
        match user {
            None => KvmState::now(),
            Some(user) => {
                let signature = crate::input::stat(Path::new(KVM)).ok();
                let opens = capscache_probe::kvm_opens(Some(user)).unwrap_or(false);
                KvmState::seen_by(signature, user.uid, opens)
            }
        }
    }

    fn seen_by(signature: Option<Signature>, uid: u32, opens: bool) -> KvmState {
        let node = match fs::metadata(KVM) {
            Ok(node) => format!(
                "{}:{} {:o} {:x}",
                node.uid(),
                node.gid(),
                node.mode() & 0o7777,
                node.rdev()
            ),
            Err(_) => "absent".to_owned(),
        };
        let mut view = format!("uid {uid} opens {opens}");
        for module in ["kvm_intel", "kvm_amd", "kvm"] {
            for parameter in ["nested", "sev", "sev_es", "sev_snp", "tdx", "sgx"] {
                let path = format!("/sys/module/{module}/parameters/{parameter}");
                if let Ok(value) = fs::read_to_string(path) {
                    view.push_str(&format!(" {module}.{parameter}={}", value.trim()));
                }
            }
        }
        for node in ["/dev/sev", "/dev/sgx_vepc", "/dev/sgx/virt_epc"] {
            if Path::new(node).exists() {
                view.push_str(&format!(" {node}"));
            }
        }
        KvmState { signature, node, view }
    }

    /// Whether this process can use it.
    #[cfg(feature = "probe")]
    pub(crate) fn opens(&self) -> bool {
        self.view.contains(" opens true")
    }

    /// Whether there is a node, whoever may open it.
    #[cfg(feature = "probe")]
    pub(crate) fn is_there(&self) -> bool {
        self.node != "absent"
    }

    /// As an input's value; `failed_at` is set if KVM opens and an emulator failed under it.
    pub(crate) fn to_value(&self, failed_at: Option<i64>) -> Vec<u8> {
        let failed = failed_at.map_or(String::new(), |at| format!("\n{at}"));
        format!("{}\n{}{failed}", self.node, self.view).into_bytes()
    }

    /// Whether a recorded value still holds. Whether the node opens is another matter for each user;
    /// the rest is the same for all.
    pub(crate) fn agrees_with(&self, value: &[u8]) -> bool {
        let value = String::from_utf8_lossy(value);
        let mut lines = value.lines();
        let (node, view) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let ((user, opens), parameters) = parts(view);
        let ((own_user, own_opens), own_parameters) = parts(&self.view);
        node == self.node
            && parameters == own_parameters
            && (user != own_user || opens == own_opens)
    }

    /// Whether a recorded value is what the same user saw.
    pub(crate) fn is_by_same_user(&self, value: &[u8]) -> bool {
        let value = String::from_utf8_lossy(value);
        let user = |view| parts(view).0.0;
        value.lines().nth(1).is_some_and(|view| user(view) == user(&self.view))
    }
}

/// The parts of a [view](KvmState::view): the user, whether the node opened, and the rest.
fn parts(view: &str) -> ((&str, &str), &str) {
    let (user, rest) = view.split_once(" opens ").unwrap_or((view, ""));
    let (opens, parameters) = rest.split_once(' ').unwrap_or((rest, ""));
    ((user, opens), parameters)
}

/// Whether a failure of KVM that was recorded is too old to be believed.
pub(crate) fn is_expired_failure(value: &[u8]) -> bool {
    let value = String::from_utf8_lossy(value);
    let failed_at: Option<i64> = value.lines().nth(2).and_then(|line| line.parse().ok());
    failed_at.is_some_and(|at| !(0..FAILURE_SECONDS).contains(&boot_seconds().saturating_sub(at)))
}

/// Seconds since the host was started, time asleep included: no clock that somebody sets.
pub(crate) fn boot_seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(node: &str, view: &str) -> KvmState {
        KvmState { signature: None, node: node.into(), view: view.into() }
    }

    #[test]
    fn the_same_user_compares_everything_about_kvm() {
        let recorded = state("0:107 660 ae8", "uid 0 opens true kvm_intel.nested=Y");
        assert!(recorded.agrees_with(&recorded.to_value(None)));
        let vanished = state("absent", "uid 0 opens false");
        assert!(!vanished.agrees_with(&recorded.to_value(None)));
        let nested = state("0:107 660 ae8", "uid 0 opens true kvm_intel.nested=N");
        assert!(!nested.agrees_with(&recorded.to_value(None)));
    }

    #[test]
    fn another_user_compares_everything_about_kvm_but_whether_it_opens() {
        let recorded = state("0:107 660 ae8", "uid 0 opens true kvm_intel.nested=Y");
        let reader = state("0:107 660 ae8", "uid 1000 opens false kvm_intel.nested=Y");
        assert!(reader.agrees_with(&recorded.to_value(None)));
        assert!(!reader.is_by_same_user(&recorded.to_value(None)));
        assert!(reader.is_by_same_user(&reader.to_value(Some(1))));
        let other_mode = state("0:107 666 ae8", "uid 1000 opens true kvm_intel.nested=Y");
        assert!(!other_mode.agrees_with(&recorded.to_value(None)));
        for parameters in ["", " kvm_intel.nested=N", " kvm_intel.nested=Y /dev/sev"] {
            let reloaded = state("0:107 660 ae8", &format!("uid 1000 opens true{parameters}"));
            assert!(!reloaded.agrees_with(&recorded.to_value(None)), "{parameters}");
        }
    }

    #[test]
    fn a_failure_of_kvm_is_believed_for_a_minute_and_not_after_a_reboot() {
        let state = state("0:107 660 ae8", "uid 0 opens true");
        assert!(!is_expired_failure(&state.to_value(None)));
        assert!(!is_expired_failure(&state.to_value(Some(boot_seconds()))));
        assert!(is_expired_failure(&state.to_value(Some(boot_seconds() - FAILURE_SECONDS))));
        assert!(is_expired_failure(&state.to_value(Some(boot_seconds() + 1000))));
    }

    #[test]
    fn the_facts_of_this_host_do_not_change_from_one_look_to_the_next() {
        let facts = HostFacts::of_this_host();
        assert_eq!(facts, HostFacts::of_this_host());
        assert!(facts.kernel.contains(' ') && facts.memfd.starts_with("plain "), "{facts:?}");
    }
}
