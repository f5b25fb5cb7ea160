//! What to do where this process was short of something.

/// By how a program says in the C locale what it is short of, or by what ended it.
const REMEDIES: [(&[&str], &str); 8] = [
    (
        &["annot allocate memory", "ut of memory", "failed to allocate"],
        "; give it more memory: `ulimit -v` and `ulimit -d` (`prlimit --as --data`) limit that of a process, \
         `memory.max` that of a cgroup",
    ),
    (
        &["Too many open files in system"],
        "; close files on this host, or raise `fs.file-max` with `sysctl`",
    ),
    (
        &["Too many open files", "No file descriptors available"],
        "; give it more descriptors: `ulimit -n` (`prlimit --nofile`) limits them",
    ),
    (
        &["Resource temporarily unavailable", "Failed to create thread"],
        "; give it more processes: `ulimit -u` (`prlimit --nproc`) limits those of a user, `pids.max` those of a \
         cgroup",
    ),
    (
        &["No space left on device"],
        "; make room on the file system: `df` and `df -i` show which is full",
    ),
    (
        &["SIGKILL"],
        "; where memory is short the kernel does that: `journalctl -k` tells, and `memory.max` limits that of a \
         cgroup",
    ),
    (&["SIGXCPU"], "; give it more processor time: `ulimit -t` (`prlimit --cpu`) limits it"),
    (&["SIGXFSZ"], "; let it write more: `ulimit -f` (`prlimit --fsize`) limits its files"),
];

/// What to do about a shortage that a text shows, as an addition to it.
pub(crate) fn of(text: &str) -> &'static str {
    // What the kernel said to execve(2) comes with its advice.
    if text.contains("`ulimit -a`") {
        return "";
    }
    let shows = |(signs, _): &&(&[&str], &str)| signs.iter().any(|sign| text.contains(sign));
    REMEDIES.iter().find(shows).map_or("", |(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shortage_has_the_remedy_that_names_its_limit() {
        for (text, limit) in [
            ("allocate 1073741824 bytes for jit buffer: Cannot allocate memory", "`memory.max`"),
            ("qemu: failed to allocate memory for TCG", "`ulimit -v`"),
            ("cannot start the probe: Too many open files", "`ulimit -n`"),
            ("cannot start the probe: Too many open files in system", "`fs.file-max`"),
            ("cannot start a thread for the probe: Resource temporarily unavailable", "`pids.max`"),
            ("No space left on device", "`df -i`"),
            ("was killed by signal 9 (SIGKILL)", "`journalctl -k`"),
            ("was killed by signal 24 (SIGXCPU)", "`ulimit -t`"),
            ("was killed by signal 25 (SIGXFSZ)", "`ulimit -f`"),
        ] {
            let remedy = of(text);
            assert!(remedy.starts_with("; ") && remedy.contains(limit), "{text}: {remedy}");
        }
        assert_eq!(of("was killed by signal 6 (SIGABRT)"), "");
        let with_advice =
            "memory or processes are short here; see `ulimit -a`: Cannot allocate memory";
        assert_eq!(of(with_advice), "");
    }
}
