//! Remedies for a shortage of a resource.

/// Remedies by the messages of programs in the C locale, or by the signal that ended one.
const REMEDIES: [(&[&str], &str); 8] = [
    (
        &["annot allocate memory", "ut of memory", "failed to allocate"],
        "; raise the memory limit: `ulimit -v` and `ulimit -d` (`prlimit --as --data`) limit that of a process, \
         `memory.max` that of a cgroup",
    ),
    (
        &["Too many open files in system"],
        "; close files on this host, or raise `fs.file-max` with `sysctl`",
    ),
    (
        &["Too many open files", "No file descriptors available"],
        "; raise the limit of descriptors: `ulimit -n` (`prlimit --nofile`)",
    ),
    (
        &["Resource temporarily unavailable", "Failed to create thread"],
        "; raise the limit of processes: `ulimit -u` (`prlimit --nproc`) limits those of a user, `pids.max` those of a \
         cgroup",
    ),
    (
        &["No space left on device"],
        "; free space on the file system: `df` and `df -i` show which is full",
    ),
    (
        &["SIGKILL"],
        "; the kernel does that when memory is short: check `journalctl -k`, and raise `memory.max` where it limits \
         a cgroup",
    ),
    (&["SIGXCPU"], "; raise the limit of processor time: `ulimit -t` (`prlimit --cpu`)"),
    (&["SIGXFSZ"], "; raise the limit of file sizes: `ulimit -f` (`prlimit --fsize`)"),
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

/// Returns the remedy for an error whose message has none, to append to it; empty if there is none.
pub(crate) fn of_error(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref() {
        Some(capscache::Error::Root { .. }) => "; give another one with --root DIR",
        _ => "",
    }
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
        let with_advice = "Cannot allocate memory; memory or processes are short: see `ulimit -a`";
        assert_eq!(of(with_advice), "");
    }
}
