//! The host's CPUs on which the threads of a process run.
//!
//! A process is started on the CPUs of its own threads, which all threads inherit. Those of virtual CPUs and I/O threads
//! are moved to theirs before the guest runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use super::ApplyError;
use crate::command::Thread;
use crate::process::cpu_set;
use crate::qmp::Qmp;
use crate::resources::ResourceError;

/// The host's CPUs of a process.
#[derive(Debug, Default)]
pub(super) struct Cpus {
    /// Those of threads that have none of their own.
    all: Option<Vec<u32>>,
    pins: BTreeMap<Thread, Vec<u32>>,
}

impl Cpus {
    /// Sets the CPUs of threads that have none of their own.
    pub(super) fn set_all(&mut self, cpus: &[u32]) -> Result<(), ResourceError> {
        self.all = Some(existing(cpus)?);
        Ok(())
    }

    /// Sets the CPUs of a thread.
    pub(super) fn pin(&mut self, thread: Thread, cpus: &[u32]) -> Result<(), ResourceError> {
        self.pins.insert(thread, existing(cpus)?);
        Ok(())
    }

    /// Returns true if all threads run on the CPUs that the process inherits.
    pub(super) fn is_empty(&self) -> bool {
        self.pins.is_empty()
    }

    /// Returns the CPUs on which the process starts; empty for those of this process.
    pub(super) fn of_process(&self) -> Vec<u32> {
        self.pins.get(&Thread::Emulator).or(self.all.as_ref()).cloned().unwrap_or_default()
    }

    /// Moves the threads of virtual CPUs and I/O threads to their CPUs.
    pub(super) async fn apply(&self, pid: i32, qmp: &mut Qmp) -> Result<(), ApplyError> {
        if self.is_empty() {
            return Ok(());
        }
        let threads = threads(qmp).await?;
        self.check(&threads)?;
        for (thread, number) in threads {
            let path = format!("/proc/{pid}/task/{number}");
            let done = self.of(thread).and_then(|cpus| match cpus {
                Some(cpus) => set(number, &cpus, &path),
                None => Ok(()),
            });
            done.map_err(ResourceError::io("set the CPUs of", path))?;
        }
        Ok(())
    }

    /// Checks that each virtual CPU has a thread of its own, if one of them is pinned.
    fn check(&self, threads: &[(Thread, i32)]) -> Result<(), ResourceError> {
        let is_pinned = self.pins.keys().any(|thread| matches!(thread, Thread::Vcpu(_)));
        let distinct: BTreeSet<i32> = threads.iter().map(|(_, number)| *number).collect();
        match is_pinned && distinct.len() < threads.len() {
            false => Ok(()),
            true => Err(ResourceError::host(
                "the emulator runs several virtual CPUs in one thread, which cannot have CPUs each",
                "remove <vcpupin>, or use KVM",
            )),
        }
    }

    /// Returns the CPUs of a thread, if they are not those that it has inherited.
    fn of(&self, thread: Thread) -> io::Result<Option<CpuSet>> {
        match self.pins.get(&thread).or(self.all.as_ref()) {
            Some(cpus) => Ok(Some(cpu_set(cpus)?)),
            None if self.pins.contains_key(&Thread::Emulator) => Ok(Some(sched_getaffinity(None)?)),
            None => Ok(None),
        }
    }
}

/// Sets the CPUs of a thread, which has a path of `/proc`.
fn set(number: i32, cpus: &CpuSet, path: &str) -> io::Result<()> {
    match Pid::from_raw(number) {
        // Only a number that the kernel has given to a thread of this process.
        Some(thread) if fs::exists(path)? => Ok(sched_setaffinity(Some(thread), cpus)?),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Returns the numbers of the threads of virtual CPUs and I/O threads.
async fn threads(qmp: &mut Qmp) -> Result<Vec<(Thread, i32)>, ApplyError> {
    let cpus = qmp.execute("query-cpus-fast", None).await?;
    let mut threads: Vec<_> = entries(&cpus)
        .filter_map(|cpu| {
            let index = u32::try_from(cpu.get("cpu-index")?.as_u64()?).ok()?;
            Some((Thread::Vcpu(index), number(cpu)?))
        })
        .collect();
    let others = qmp.execute("query-iothreads", None).await?;
    threads.extend(entries(&others).filter_map(|thread| {
        let id = thread.get("id")?.as_str()?.strip_prefix("iothread")?.parse().ok()?;
        Some((Thread::IoThread(id), number(thread)?))
    }));
    Ok(threads)
}

fn entries(reply: &Value) -> impl Iterator<Item = &Value> {
    reply.as_array().into_iter().flatten()
}

fn number(thread: &Value) -> Option<i32> {
    i32::try_from(thread.get("thread-id")?.as_i64()?).ok()
}

/// Returns those CPUs that the host has, of which there must be one at least.
fn existing(cpus: &[u32]) -> Result<Vec<u32>, ResourceError> {
    let path = "/sys/devices/system/cpu/online";
    let text = fs::read_to_string(path).map_err(ResourceError::io("read", path))?;
    let online = list(&text);
    let found: Vec<u32> = cpus.iter().copied().filter(|cpu| online.contains(cpu)).collect();
    match found.is_empty() {
        false => Ok(found),
        true => Err(ResourceError::host(
            format!("none of the host's CPUs {cpus:?} is online"),
            format!("use some of {}", text.trim()),
        )),
    }
}

/// Returns the CPUs of NUMA nodes of the host.
pub(super) fn of_nodes(nodes: &[u32]) -> Result<Vec<u32>, ResourceError> {
    let mut cpus = Vec::new();
    for node in nodes {
        let path = format!("/sys/devices/system/node/node{node}/cpulist");
        let text = fs::read_to_string(&path).map_err(ResourceError::io("read", path))?;
        cpus.extend(list(&text));
    }
    Ok(cpus)
}

/// Parses a list of the kernel, as in `0-3,8`.
fn list(text: &str) -> Vec<u32> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<u32>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_ranges() {
        assert_eq!(list("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(list("\n"), [] as [u32; 0]);
    }

    #[test]
    fn cpus_that_the_host_lacks_are_refused() {
        let refused = existing(&[100_000]).unwrap_err().to_string();
        assert!(refused.contains("none of the host's CPUs [100000] is online"), "{refused}");
    }
}
