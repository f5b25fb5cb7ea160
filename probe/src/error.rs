//! What can go wrong between the prober and an emulator.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

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
    #[error("{exit}{}", last_line(output))]
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
        /// The time it had, from its start.
        waited: Duration,
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
    #[error("sent a line that is not QMP ({what}): {line}")]
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

/// The last line that says something, as an addition to a message.
fn last_line(output: &str) -> String {
    output
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map_or_else(String::new, |line| {
            format!(": {}", line.chars().take(SHOWN_CHARS).collect::<String>())
        })
}

/// Why an emulator could not be started, or not far enough to take commands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nothing has this path.
    #[error("there is no emulator at {}", path.display())]
    NotFound {
        /// The emulator asked for.
        path: PathBuf,
    },
    /// The path is a directory.
    #[error("{} is a directory; give the path of a QEMU system emulator", path.display())]
    IsDirectory {
        /// The emulator asked for.
        path: PathBuf,
    },
    /// The user who was to run it may not.
    #[error(
        "{} may not be executed{}: look at its mode, at the directories above it, and for a noexec mount",
        path.display(),
        by(*uid)
    )]
    NotExecutable {
        /// The emulator asked for.
        path: PathBuf,
        /// The user who was to run it, if that was another one than the caller.
        uid: Option<u32>,
    },
    /// This process may not run anything as the user who was named.
    #[error(
        "cannot run {} as user {uid}: that takes root, or CAP_SETUID and CAP_SETGID",
        path.display()
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
    #[error("the interpreter or dynamic loader of {} is missing", path.display())]
    NoInterpreter {
        /// The emulator asked for.
        path: PathBuf,
    },
    /// It is neither a script nor a program for this machine (ENOEXEC).
    #[error("{} is not a program that this host can run", path.display())]
    WrongFormat {
        /// The emulator asked for.
        path: PathBuf,
    },
    /// The operating system failed while the process was made.
    #[error("cannot {step} to start {}", path.display())]
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
    #[error("{} did not greet; is it a QEMU system emulator?", path.display())]
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
        path.display()
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
    #[error("{} greeted with something else than QMP; is it a QEMU system emulator? {line}", path.display())]
    NotQmp {
        /// The emulator asked for.
        path: PathBuf,
        /// The line, or its beginning.
        line: String,
        /// The end of what it wrote to stdout and stderr.
        output: String,
    },
    /// It greeted, and was lost before it took commands.
    #[error("{} greeted, but did not come to take commands", path.display())]
    NotReady {
        /// The emulator asked for.
        path: PathBuf,
        /// What happened.
        source: Loss,
        /// The end of what it wrote to stdout and stderr.
        output: String,
    },
    /// It greeted, but which file runs there cannot be read from `/proc`.
    #[error("cannot learn from /proc/{pid}/exe which file runs as {}", path.display())]
    Executable {
        /// The emulator asked for.
        path: PathBuf,
        /// The process that greeted.
        pid: i32,
        /// Why it failed.
        source: io::Error,
    },
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
        "the probe was not done within {:.1} s: {unanswered} queries are unanswered, {restarts} restarts were needed",
        waited.as_secs_f64()
    )]
    Deadline {
        /// How long the interview went on.
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
