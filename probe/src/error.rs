//! Errors between the prober and an emulator.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use capscache_format::Escaped;
use capscache_process::LineTooLong;

use crate::security::SecurityModules;

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
    /// It ended, and was reaped before the prober could: this program ignores SIGCHLD or waits for every child.
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
            Self::Unknown => f.write_str("ended with an unknown status"),
        }
    }
}

/// Returns the name of a signal that programs are usually killed by.
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

/// The reason why an emulator that was started sends no more replies.
///
/// The text has no subject, which is always the emulator: “was killed by signal 6 (SIGABRT)”.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Its process ended.
    #[error("{exit}{}", cause(output))]
    Exited {
        /// The end of the process.
        exit: Exit,
        /// The end of its stdout and stderr.
        output: String,
    },
    /// It closed its end of the monitor and still runs.
    #[error("closed its monitor")]
    ClosedMonitor,
    /// It runs, keeps its monitor open, and had not answered everything when its time was over.
    #[error("gave no answer within {} s", waited.as_secs_f64())]
    Silent {
        /// Its time, counted from its start: [`Limits::start`](crate::Limits::start).
        waited: Duration,
    },
    /// It runs, and the time of the whole probe was over before its own was.
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
    /// With its data, the whole probe exceeded [`Limits::total_bytes`](crate::Limits::total_bytes).
    #[error("sent more than {limit_bytes} bytes in one probe")]
    TooMuch {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// With its answers, those of the whole probe are longer than any QEMU's.
    #[error("answered with more than {limit_bytes} bytes in one probe")]
    AnsweredTooMuch {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// It sent a line that is not UTF-8.
    #[error("sent a line that is not UTF-8 from byte {valid_bytes} on")]
    NotUtf8 {
        /// The number of bytes before the first invalid one.
        valid_bytes: usize,
    },
    /// It sent a line that QMP does not allow.
    #[error("sent a line that is not QMP ({}): {}", Escaped::new(what), Escaped::new(line))]
    Malformed {
        /// The error of the parser.
        what: String,
        /// The line, or its beginning.
        line: String,
    },
    /// A system call on the monitor failed.
    #[error("could not be reached over its monitor")]
    Io(#[source] io::Error),
}

impl From<LineTooLong> for SessionError {
    fn from(LineTooLong { limit_bytes }: LineTooLong) -> SessionError {
        SessionError::LineTooLong { limit_bytes }
    }
}

/// Bound on the text of an emulator in a message, in characters.
pub(crate) const SHOWN_CHARS: usize = 200;

/// Bound on the lines of an emulator's output in a message.
const SHOWN_LINES: usize = 4;

/// Words in lines that name the cause of a program's end, in lower case.
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

/// Returns the lines of an emulator's output with the cause of its end, as an addition to a message: those
/// with one of the [words](CAUSES), and the last one. If a cause comes before a description of the usage, the
/// description is left out.
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

/// The error of starting an emulator up to the point where it accepts commands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The path does not exist.
    #[error("cannot find the emulator {}", Escaped::new(path))]
    NotFound {
        /// The path of the emulator.
        path: PathBuf,
    },
    /// The path is a directory.
    #[error(
        "cannot execute {}: it is a directory; give the path of a QEMU system emulator",
        Escaped::new(path)
    )]
    IsDirectory {
        /// The path of the emulator.
        path: PathBuf,
    },
    /// The user that it should run as may not execute it (EACCES).
    #[error(
        "cannot execute {}{}: permission denied; check its mode, the directories above it, and for a noexec mount{security}",
        Escaped::new(path),
        as_user(*uid)
    )]
    NotExecutable {
        /// The path of the emulator.
        path: PathBuf,
        /// The user that it should run as, if not the caller.
        uid: Option<u32>,
        /// The security modules, which may have refused it.
        security: SecurityModules,
    },
    /// The kernel does not permit executing it with the capabilities of this process (EPERM).
    #[error(
        "cannot execute {}{}: operation not permitted; check for file capabilities that this process may not have \
         (`getcap`), a set-user-ID bit that no_new_privs bars, a seccomp filter, and a security module such as \
         AppArmor or SELinux (`journalctl -k`, `ausearch -m avc`){security}",
        Escaped::new(path),
        as_user(*uid)
    )]
    NotPermitted {
        /// The path of the emulator.
        path: PathBuf,
        /// The user that it should run as, if not the caller.
        uid: Option<u32>,
        /// The security modules, which may have refused it.
        security: SecurityModules,
    },
    /// The kernel found it, and failed to execute it for another reason.
    #[error("cannot execute {}: {}{}", Escaped::new(path), without_number(error), advice(error))]
    NotExecuted {
        /// The path of the emulator.
        path: PathBuf,
        /// The error of execve(2). It is part of the message, and not a `source`, since advice follows it.
        error: io::Error,
    },
    /// This process may not become the given user.
    #[error(
        "cannot run {} as user {uid}: this requires root, or CAP_SETUID and CAP_SETGID",
        Escaped::new(path)
    )]
    User {
        /// The path of the emulator.
        path: PathBuf,
        /// The user that it should run as.
        uid: u32,
        /// The error of the system call.
        source: io::Error,
    },
    /// It exists, but its interpreter, if it is a script, or its dynamic loader does not.
    #[error(
        "cannot execute {}: its interpreter or dynamic loader is missing; install it",
        Escaped::new(path)
    )]
    NoInterpreter {
        /// The path of the emulator.
        path: PathBuf,
    },
    /// It is neither a script nor a program for this machine (ENOEXEC).
    #[error(
        "cannot execute {}: it is neither a script that begins with #! nor a program for {}, \
         and nothing in /proc/sys/fs/binfmt_misc takes it; give the path of a QEMU system emulator",
        Escaped::new(path),
        std::env::consts::ARCH
    )]
    WrongFormat {
        /// The path of the emulator.
        path: PathBuf,
    },
    /// It makes mounts of its own, which Landlock denies, and no mount namespace can be made to confine it
    /// otherwise.
    #[error(
        "cannot confine {}: it mounts file systems, and no user namespace can be created; allow them \
         (`sysctl user.max_user_namespaces`, for AppArmor `kernel.apparmor_restrict_unprivileged_userns`), or \
         give QEMU's own path",
        Escaped::new(path)
    )]
    Mounts {
        /// The path of the emulator.
        path: PathBuf,
    },
    /// The process could not be confined.
    #[error("cannot confine {}", Escaped::new(path))]
    Sandbox {
        /// The path of the emulator.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// A system call failed while the process was made.
    #[error("cannot {step} to start {}", Escaped::new(path))]
    Spawn {
        /// The path of the emulator.
        path: PathBuf,
        /// The failed step, as a verb and its object.
        step: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
    /// It ran and did not send a greeting. Most often it exited because it is not a QEMU, lacks the accelerator,
    /// or misses a library.
    #[error(
        "cannot start {}: it sent no QMP greeting: {}{}",
        Escaped::new(path),
        describe(cause),
        remedy(output)
    )]
    NoGreeting {
        /// The path of the emulator.
        path: PathBuf,
        /// The reason. It is part of the message, and not a `source`, since a remedy may follow it.
        cause: SessionError,
        /// The end of its stdout and stderr.
        output: String,
    },
    /// QEMU ran, and the descriptor of its monitor did not reach it.
    #[error(
        "cannot connect to the monitor of {}: the program that starts QEMU there closed descriptor 3: {}; make it pass \
         on that descriptor (`exec` does in a shell, `pass_fds=[3]` in Python's subprocess), or give QEMU's own path",
        Escaped::new(path),
        describe(cause)
    )]
    NoMonitor {
        /// The path of the emulator.
        path: PathBuf,
        /// The reason. It is part of the message, and not a `source`, since a remedy follows it.
        cause: SessionError,
        /// The end of its stdout and stderr.
        output: String,
    },
    /// Its first line is JSON, but not QMP's greeting.
    #[error(
        "cannot start {}: it sent no QMP greeting, but {}",
        Escaped::new(path),
        Escaped::new(line)
    )]
    NotQmp {
        /// The path of the emulator.
        path: PathBuf,
        /// The line, or its beginning.
        line: String,
        /// The end of its stdout and stderr.
        output: String,
    },
    /// It greeted, and was lost before it accepted commands.
    #[error("cannot negotiate QMP with {}", Escaped::new(path))]
    NotReady {
        /// The path of the emulator.
        path: PathBuf,
        /// The reason.
        source: SessionError,
        /// The end of its stdout and stderr.
        output: String,
    },
    /// It greeted, but the file that runs cannot be read from `/proc`.
    #[error("cannot read /proc/{pid}/exe, the file that runs as {}", Escaped::new(path))]
    Executable {
        /// The path of the emulator.
        path: PathBuf,
        /// The process that greeted.
        pid: i32,
        /// The error of the system call.
        source: io::Error,
    },
}

impl StartError {
    /// Returns whether a mount that was denied may be the cause.
    pub(crate) fn suggests_denied_mount(&self) -> bool {
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

/// Returns what to do if a write of a wrapper was denied, as an addition to a message.
fn remedy(output: &str) -> &'static str {
    let output = output.to_lowercase();
    if ["permission denied", "read-only file system"].iter().any(|error| output.contains(error)) {
        "; it can write only to its temporary directory ($TMPDIR): allow further paths with --writable \
         (Options::writable)"
    } else {
        ""
    }
}

/// Returns what to do about an error of execve(2), as an addition to a message.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ETXTBSY) => "; a process has it open for writing: retry when it is installed",
        Some(libc::ELOOP) => {
            "; its links or interpreters form a loop: fix them (`namei -l` shows the links)"
        }
        Some(libc::ENAMETOOLONG) => {
            "; its path, or that of its interpreter, is too long: give a shorter one"
        }
        Some(libc::EIO) => {
            "; it cannot be read from its disk or over its network: see `journalctl -k`"
        }
        Some(libc::ENOMEM | libc::EAGAIN) => {
            "; memory or processes are short: see `ulimit -a` and the limits of the cgroup"
        }
        _ => "",
    }
}

fn as_user(uid: Option<u32>) -> String {
    uid.map_or_else(String::new, |uid| format!(" as user {uid}"))
}

/// Returns the text of an error with that of its cause.
fn describe(error: &SessionError) -> String {
    match error {
        SessionError::Io(source) => format!("{error}: {}", without_number(source)),
        _ => error.to_string(),
    }
}

/// Returns the text of an error of the system without its number.
fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(&*text, |(text, _)| text).to_owned()
}

/// The error of an exchange: the queries and replies of one pass, over all processes of the emulator. `E` is the
/// error of answers that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError<E: std::error::Error + 'static> {
    /// The emulator could not be started.
    #[error(transparent)]
    Start(StartError),
    /// The time for the whole probe was over.
    #[error(
        "cannot complete the probe within {} s: {unanswered} queries are unanswered, {restarts} restarts were needed",
        limit.as_secs_f64()
    )]
    Deadline {
        /// The time of the whole probe: [`Limits::probe`](crate::Limits::probe).
        limit: Duration,
        /// The time since the start of the exchange, which may be later than that of the probe.
        waited: Duration,
        /// The number of queries without an answer.
        unanswered: usize,
        /// The number of restarts.
        restarts: u32,
    },
    /// The emulator was lost more often than [`Limits::restarts`](crate::Limits::restarts) allows.
    #[error(
        "cannot complete the probe: the emulator failed again after {restarts} restarts: it {last}"
    )]
    TooManyRestarts {
        /// The number of restarts.
        restarts: u32,
        /// The reason of the last loss.
        last: String,
    },
    /// The emulator sent more than [`Limits::total_bytes`](crate::Limits::total_bytes), all its processes together.
    #[error(
        "cannot read the replies: the emulator sent more than {limit_bytes} bytes in one probe"
    )]
    TooMuchOutput {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The answers, of all its processes together, are longer than any QEMU's.
    #[error(
        "cannot read the replies: the emulator answered with more than {limit_bytes} bytes in one probe"
    )]
    AnsweredTooMuch {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// After a restart another emulator ran: it was replaced in the meantime. Probe again.
    #[error("cannot complete the probe: the emulator was replaced; retry")]
    Replaced,
    /// A reply cannot be used.
    #[error(transparent)]
    Answer(E),
}
