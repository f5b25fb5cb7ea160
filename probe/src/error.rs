//! What can go wrong between the prober and an emulator.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use capscache_format::Escaped;

use crate::security::SecurityModules;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
    /// It is gone, but somebody else reaped it: this program ignores SIGCHLD or waits for every child.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(signal) => {
                write!(f, "was killed by signal {signal}")?;
                signal_name(signal).map_or(Ok(()), |name| write!(f, " ({name})"))
            }
            Self::Unknown => f.write_str("ended, its status was taken by someone else"),
        }
    }
}

/// The names of the signals that end a program by its own fault or its administrator's wish.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

/// Why nothing more can be learnt from a running emulator.
///
/// The text has no subject, which is always the emulator: “was killed by signal 6 (SIGABRT)”.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// Its process ended.
    #[error("{exit}{}", cause(output))]
    Exited {
        /// How it ended.
        exit: Exit,
        /// The end of what it wrote to stdout and stderr.
        output: String,
    },
    /// It closed its end of the monitor and lives on.
    #[error("closed its monitor")]
    ClosedMonitor,
    /// It lives, keeps its monitor open, and was not done when its time was over.
    #[error("gave no answer within {} s", waited.as_secs_f64())]
    Silent {
        /// The time it had, from its start: [`Limits::start`](crate::Limits::start).
        waited: Duration,
    },
    /// It lives, and the time of the whole probe was over before its own was.
    #[error("was not done when the {} s of the whole probe were over", limit.as_secs_f64())]
    OutOfTime {
        /// The time of the whole probe: [`Limits::probe`](crate::Limits::probe).
        limit: Duration,
    },
    /// It sent a line longer than [`Limits::line_bytes`](crate::Limits::line_bytes).
    #[error("sent a line of more than {limit_bytes} bytes")]
    LineTooLong {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// With it, the whole probe was sent more than [`Limits::total_bytes`](crate::Limits::total_bytes).
    #[error("sent more than the {limit_bytes} bytes that a whole probe may")]
    TooMuch {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// With it, the answers of the whole probe are longer than any QEMU's.
    #[error("answered with more than {limit_bytes} bytes: this is no QEMU's answer")]
    AnsweredTooMuch {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// It sent a line that is not UTF-8.
    #[error("sent a line that is not UTF-8 from byte {valid_bytes} on")]
    NotUtf8 {
        /// Where in the line the first wrong byte is.
        valid_bytes: usize,
    },
    /// It sent a line that QMP does not allow.
    #[error("sent a line that is not QMP ({}): {}", Escaped::new(what), Escaped::new(line))]
    Malformed {
        /// What is wrong with it.
        what: String,
        /// The line, or its beginning.
        line: String,
    },
    /// The operating system failed on the monitor.
    #[error("could not be reached over its monitor")]
    Io(#[source] io::Error),
}

/// How much of what an emulator said a message shows, in characters.
pub(crate) const SHOWN_CHARS: usize = 200;

/// How many lines of what an emulator said a message shows.
const SHOWN_LINES: usize = 4;

/// What a line has that says why a program ended, in lower case.
const CAUSES: [&str; 29] = [
    "error",
    "fail",
    "fatal",
    "panic",
    "abort",
    "assert",
    "signal",
    "fault",
    "killed",
    "cannot",
    "can't",
    "could not",
    "couldn't",
    "unable",
    "not found",
    "no such",
    "denied",
    "not permitted",
    "invalid",
    "unknown",
    "unrecognized",
    "unsupported",
    "not supported",
    "missing",
    "undefined",
    "out of memory",
    "no space",
    "too many",
    "refused",
];

/// The lines of an emulator's output that carry the cause of its end, as an addition to a message: those
/// that look like it, and the last one. Where the cause stands before a description of the usage, nothing
/// from that on is shown.
fn cause(output: &str) -> String {
    let lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut lines: Vec<&str> = lines.collect();
    let is_usage =
        |line: &&str| line.get(..6).is_some_and(|begin| begin.eq_ignore_ascii_case("usage:"));
    let is_cause = |line: &&str| {
        let line = line.to_lowercase();
        CAUSES.iter().any(|cause| line.contains(cause))
    };
    if let Some(usage) = lines.iter().position(is_usage)
        && lines.iter().take(usage).any(is_cause)
    {
        lines.truncate(usage);
    }
    let Some(last) = lines.pop() else { return String::new() };
    let mut shown: Vec<&str> = Vec::new();
    for line in lines.into_iter().filter(is_cause) {
        if shown.len() + 1 < SHOWN_LINES && line != last && !shown.contains(&line) {
            shown.push(line);
        }
    }
    shown.push(last);
    let shown = shown.into_iter().map(|line| {
        let begin: String = line.chars().take(SHOWN_CHARS).collect();
        Escaped::new(&begin).to_string()
    });
    format!(": {}", shown.collect::<Vec<_>>().join("; "))
}

/// Why an emulator could not be started, or not far enough to take commands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nothing has this path.
    #[error("there is no emulator at {}", Escaped::new(path))]
    NotFound {
        /// The emulator asked for.
        path: PathBuf,
    },
    /// The path is a directory.
    #[error("{} is a directory; give the path of a QEMU system emulator", Escaped::new(path))]
    IsDirectory {
        /// The emulator asked for.
        path: PathBuf,
    },
    /// The user who was to run it may not (EACCES).
    #[error(
        "{} may not be executed{}: look at its mode, at the directories above it, and for a noexec mount{security}",
        Escaped::new(path),
        by(*uid)
    )]
    NotExecutable {
        /// The emulator asked for.
        path: PathBuf,
        /// The user who was to run it, if that was another one than the caller.
        uid: Option<u32>,
        /// What else may have refused it.
        security: SecurityModules,
    },
    /// The kernel does not let it be run by anybody with the rights that this process has (EPERM).
    #[error(
        "the kernel does not permit {} to be executed{}: it has file capabilities that this process may not have \
         (`getcap`), a set-user-ID bit that no_new_privs bars, or a seccomp filter or a security module such as \
         AppArmor or SELinux refuses it: see `journalctl -k` and `ausearch -m avc`{security}",
        Escaped::new(path),
        by(*uid)
    )]
    NotPermitted {
        /// The emulator asked for.
        path: PathBuf,
        /// The user who was to run it, if that was another one than the caller.
        uid: Option<u32>,
        /// What may have refused it.
        security: SecurityModules,
    },
    /// The kernel found it, and failed to execute it for another reason.
    #[error("cannot execute {}{}", Escaped::new(path), advice(source))]
    NotExecuted {
        /// The emulator asked for.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// This process may not run anything as the user who was named.
    #[error(
        "cannot run {} as user {uid}: that takes root, or CAP_SETUID and CAP_SETGID",
        Escaped::new(path)
    )]
    User {
        /// The emulator asked for.
        path: PathBuf,
        /// The user who was to run it.
        uid: u32,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is there, but what it needs to run is not: a script's interpreter or a program's loader.
    #[error("the interpreter or dynamic loader of {} is missing", Escaped::new(path))]
    NoInterpreter {
        /// The emulator asked for.
        path: PathBuf,
    },
    /// It is neither a script nor a program for this machine (ENOEXEC).
    #[error(
        "{} is not a program that this host can run: it is neither a script that begins with #! nor a program for {}, \
         and nothing in /proc/sys/fs/binfmt_misc takes it; give the path of a QEMU system emulator",
        Escaped::new(path),
        std::env::consts::ARCH
    )]
    WrongFormat {
        /// The emulator asked for.
        path: PathBuf,
    },
    /// It makes mounts of its own, which is denied to whoever Landlock confines, and there can be no mount
    /// namespace to confine it otherwise.
    #[error(
        "{} runs behind mounts of its own, which only a user namespace can confine, and none can be made here: allow \
         them (`sysctl user.max_user_namespaces`, for AppArmor `kernel.apparmor_restrict_unprivileged_userns`), or \
         give QEMU's own path",
        Escaped::new(path)
    )]
    Mounts {
        /// The emulator asked for.
        path: PathBuf,
    },
    /// The process could not be kept from writing elsewhere.
    #[error("cannot confine {}", Escaped::new(path))]
    Sandbox {
        /// The emulator asked for.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system failed while the process was made.
    #[error("cannot {step} to start {}", Escaped::new(path))]
    Spawn {
        /// The emulator asked for.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// It ran, and no greeting came: the source says what came instead. Most often it exited because it is no
    /// QEMU, lacks the accelerator, or misses a library.
    #[error(
        "{} did not greet; is it a QEMU system emulator?{}",
        Escaped::new(path),
        remedy(output)
    )]
    NoGreeting {
        /// The emulator asked for.
        path: PathBuf,
        /// What happened.
        source: Loss,
        /// The end of what it wrote to stdout and stderr.
        output: String,
    },
    /// QEMU ran, and the descriptor of its monitor did not reach it.
    #[error(
        "{} did not get its monitor: what starts QEMU there closes the descriptors it inherits; let it pass on \
         descriptor 3 (`exec` does in a shell, `pass_fds=[3]` in Python's subprocess), or give QEMU's own path",
        Escaped::new(path)
    )]
    NoMonitor {
        /// The emulator asked for.
        path: PathBuf,
        /// What happened.
        source: Loss,
        /// The end of what it wrote to stdout and stderr.
        output: String,
    },
    /// Its first line is JSON, but not QMP's greeting.
    #[error(
        "{} greeted with something else than QMP; is it a QEMU system emulator? {}",
        Escaped::new(path),
        Escaped::new(line)
    )]
    NotQmp {
        /// The emulator asked for.
        path: PathBuf,
        /// The line, or its beginning.
        line: String,
        /// The end of what it wrote to stdout and stderr.
        output: String,
    },
    /// It greeted, and was lost before it took commands.
    #[error("{} greeted, but did not come to take commands", Escaped::new(path))]
    NotReady {
        /// The emulator asked for.
        path: PathBuf,
        /// What happened.
        source: Loss,
        /// The end of what it wrote to stdout and stderr.
        output: String,
    },
    /// It greeted, but which file runs there cannot be read from `/proc`.
    #[error("cannot learn from /proc/{pid}/exe which file runs as {}", Escaped::new(path))]
    Executable {
        /// The emulator asked for.
        path: PathBuf,
        /// The process that greeted.
        pid: i32,
        /// Why it failed.
        source: io::Error,
    },
}

impl StartError {
    /// Whether it may come of a mount that was denied.
    pub(crate) fn may_come_of_denied_mounts(&self) -> bool {
        match self {
            Self::Mounts { .. } => true,
            Self::NoGreeting { output, .. } => {
                let output = output.to_lowercase();
                output.contains("denied") || output.contains("not permitted")
            }
            _ => false,
        }
    }
}

/// What to do where a wrapper may have wanted to write, as an addition to a message.
fn remedy(output: &str) -> &'static str {
    let output = output.to_lowercase();
    if ["permission denied", "read-only file system"].iter().any(|error| output.contains(error)) {
        " It may write to its temporary directory ($TMPDIR) alone: --writable (Options::writable) names what else"
    } else {
        ""
    }
}

/// What to do about an error of execve(2), as an addition to a message.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ETXTBSY) => {
            ", which a process has open for writing; try again when it is installed"
        }
        Some(libc::ELOOP) => {
            ": links or interpreters lead to one another without end (`namei -l` shows the links); mend them"
        }
        Some(libc::ENAMETOOLONG) => {
            ": its path, or that of its interpreter, is too long; give a shorter one"
        }
        Some(libc::EIO) => {
            ", as it cannot be read from its disk or over its network; see `journalctl -k`"
        }
        Some(libc::ENOMEM | libc::EAGAIN) => {
            ": memory or processes are short here; see `ulimit -a` and the limits of the cgroup"
        }
        _ => "",
    }
}

fn by(uid: Option<u32>) -> String {
    uid.map_or_else(String::new, |uid| format!(" by user {uid}"))
}

/// Why an interview has no result; `E` is the interviewer's own error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterviewError<E: std::error::Error + 'static> {
    /// The emulator could not be started.
    #[error(transparent)]
    Start(StartError),
    /// The time for the whole probe was over.
    #[error(
        "the probe was not done within the {} s that a whole probe may take: {unanswered} queries are unanswered, \
         {restarts} restarts were needed",
        limit.as_secs_f64()
    )]
    Deadline {
        /// The time of the whole probe: [`Limits::probe`](crate::Limits::probe).
        limit: Duration,
        /// How long the interview went on, which may have begun in the middle of the probe.
        waited: Duration,
        /// How many queries had no answer yet.
        unanswered: usize,
        /// How often the emulator was started again.
        restarts: u32,
    },
    /// The emulator was lost more often than [`Limits::restarts`](crate::Limits::restarts) allows.
    #[error("the emulator was lost again after {restarts} restarts: it {last}")]
    TooManyRestarts {
        /// How often the emulator was started again.
        restarts: u32,
        /// How it was lost the last time.
        last: String,
    },
    /// The emulator sent more than [`Limits::total_bytes`](crate::Limits::total_bytes), all its processes together.
    #[error("the emulator sent more than the {limit_bytes} bytes that a whole probe may")]
    TooMuchOutput {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The answers, of all its processes together, are longer than any QEMU's.
    #[error("the emulator answered with more than {limit_bytes} bytes: this is no QEMU's answer")]
    AnsweredTooMuch {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// Another emulator than the first one was met after a restart: it was replaced in the meantime. Ask again.
    #[error("the emulator was replaced during the probe")]
    Replaced,
    /// The interviewer could not use what it heard.
    #[error(transparent)]
    Interviewer(E),
}
