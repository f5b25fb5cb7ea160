//! The rights and limits of this process that decide what a probe can find out about an emulator.

use std::fs;
use std::io;
use std::path::Path;

use memmap2::MmapMut;
use rustix::process::{Resource, getegid, geteuid, getgroups, getrlimit};
use sha2::{Digest, Sha256};

/// The resources whose limits an emulator may exceed.
const LIMITS: [Resource; 8] = [
    Resource::As,
    Resource::Data,
    Resource::Nofile,
    Resource::Nproc,
    Resource::Cpu,
    Resource::Stack,
    Resource::Fsize,
    Resource::Memlock,
];

/// Fields of `/proc/self/status` that hold rights (proc_pid_status(5)).
const STATUS: [&str; 3] = ["CapEff:", "Seccomp:", "Seccomp_filters:"];

/// A digest of the rights and limits of this process. Rules of Landlock and of cgroups beyond the memory
/// are not part of it, since no interface shows them.
pub(crate) fn digest() -> String {
    let mut hasher = Sha256::new();
    let mut groups: Vec<u32> =
        getgroups().unwrap_or_default().iter().map(|group| group.as_raw()).collect();
    groups.sort_unstable();
    hasher.update(format!("{} {} {groups:?}\n", geteuid().as_raw(), getegid().as_raw()));
    for resource in LIMITS {
        hasher.update(format!("{:?}\n", getrlimit(resource)));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| STATUS.iter().any(|field| line.starts_with(field))) {
        hasher.update(line);
    }
    hasher.update(fs::read("/proc/self/attr/current").unwrap_or_default());
    hasher.update(memory_limits());
    hasher.update([u8::from(may_execute_new_memory())]);
    capscache_format::hex(&hasher.finalize()[..8])
}

/// The resource that this process is likely to lack, in a few words; `None` if no limit is tight. QEMU
/// needs a gigabyte of addresses for TCG, some thirty descriptors and a few threads.
pub(crate) fn shortage() -> Option<String> {
    let limit = |resource| getrlimit(resource).current;
    let descriptors = limit(Resource::Nofile).filter(|limit| *limit < 256);
    let named = [
        limit(Resource::As).map(|bytes| format!("its addresses are limited to {bytes} bytes")),
        limit(Resource::Data).map(|bytes| format!("its data is limited to {bytes} bytes")),
        descriptors.map(|most| format!("it may have {most} descriptors open")),
        limit(Resource::Cpu).map(|seconds| format!("it has {seconds} s of processor time")),
        (!may_execute_new_memory()).then(|| "it may not execute memory that it wrote".to_owned()),
    ];
    named.into_iter().flatten().next()
}

/// The memory limits of the cgroups of this process and of their ancestors, of cgroup v1 or v2.
fn memory_limits() -> String {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limits = String::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = fs::read_to_string(Path::new(mount).join(group).join(file));
            limits.push_str(limit.as_deref().unwrap_or("-").trim());
            limits.push(' ');
        }
    }
    limits
}

/// Returns whether memory that was written may be executed: not under PR_SET_MDWE, or where a security module
/// (SELinux's `execmem`) forbids it. TCG translates into such memory.
fn may_execute_new_memory() -> bool {
    let made: io::Result<_> = MmapMut::map_anon(1).and_then(MmapMut::make_exec);
    !made.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}
