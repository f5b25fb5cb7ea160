//! Remedies for a shortage of a resource.

/// Remedies by the messages of programs in the C locale, or by the signal that ended one.
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
        "; the kernel does that when memory is short: check `journalctl -k`, and raise `memory.max` where it limits \
         a cgroup",
    ),
    (&["SIGXCPU"], "; give it more processor time: `ulimit -t` (`prlimit --cpu`) limits it"),
    (&["SIGXFSZ"], "; let it write more: `ulimit -f` (`prlimit --fsize`) limits its files"),
];

/// Returns the remedy for a shortage that a message shows, to append to it; empty if there is none.
pub(crate) fn of(text: &str) -> &'static str {
    // Errors of execve(2) contain their own advice.
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
