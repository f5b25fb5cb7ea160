//! What of this host answers depend on.

use std::fs::{self, File};
use std::io::Read;

use rustix::fs::MemfdFlags;
use sha2::{Digest, Sha256};

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

/// Seconds since the host was started, time asleep included: no clock that somebody sets.
pub(crate) fn boot_seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_this_host_do_not_change_from_one_look_to_the_next() {
        let facts = HostFacts::of_this_host();
        assert_eq!(facts, HostFacts::of_this_host());
        assert!(facts.kernel.contains(' ') && facts.memfd.starts_with("plain "), "{facts:?}");
    }
}
