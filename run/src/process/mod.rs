//! The process of an emulator: starts it, waits for it, kills it.

mod find;
pub(crate) mod log;
mod spawn;

use std::ffi::{CString, c_int, c_ulong};
use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use capscache_format::Escaped;
use capscache_process::{Child, Stage};
use rustix::event::Timespec;
use rustix::process::{Pid, Signal};
use rustix::thread::CpuSet;

pub(crate) use self::find::find_program;
pub(crate) use self::spawn::{DeviceOperation, flags_of, index_of, operate, set_cid};
use self::spawn::{Plan, first_free};
use crate::command::{Command, NodePolicy};
use crate::user::User;

/// The time that dropping a process may block. One that was sent SIGKILL ends within a few milliseconds.
const DROP_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
    /// It ended, and was reaped by another part of this program, or SIGCHLD is ignored.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Status(status) => write!(f, "exited with status {status}"),
            Exit::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Exit::Unknown => f.write_str("ended with an unknown status"),
        }
    }
}

/// Error of starting a process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such program.
    #[error(
        "cannot execute {}: there is no such file; install it, or change <emulator>",
        Escaped::new(path)
    )]
    NotFound {
        /// The program.
        path: PathBuf,
    },
    /// The program cannot be executed.
    #[error("cannot execute {}", Escaped::new(path))]
    Execute {
        /// The program.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The process cannot become its user.
    #[error("cannot become the user {user}; only root can")]
    User {
        /// The user.
        user: String,
        /// The cause.
        source: io::Error,
    },
    /// The process cannot be made or prepared.
    #[error("cannot start a process")]
    Process {
        /// The cause.
        source: io::Error,
    },
}

/// Settings of a process that are made before its program is executed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    /// The CPUs that it runs on; empty for all.
    pub(crate) cpus: Vec<u32>,
    /// The NUMA nodes of its memory.
    pub(crate) memory: Option<(NodePolicy, Vec<u32>)>,
    /// True if it may lock all of its memory.
    pub(crate) locks_memory: bool,
}

/// The same settings as system calls take them.
struct Restrictions {
    cpus: Option<CpuSet>,
    /// The mode of set_mempolicy(2).
    memory: Option<c_int>,
    locks_memory: bool,
}

/// A program to run, and its surroundings.
pub(crate) struct Launch<'a> {
    pub(crate) command: &'a Command,
    /// The descriptors by their numbers in the process, beside the standard ones.
    pub(crate) descriptors: Vec<(RawFd, OwnedFd)>,
    /// The lock that it holds, in which it records its number.
    pub(crate) lock: Option<OwnedFd>,
    /// Stdout and stderr.
    pub(crate) output: OwnedFd,
    pub(crate) user: Option<&'a User>,
    pub(crate) before: Before,
    /// True if it survives the thread that starts it.
    pub(crate) is_detached: bool,
}

/// A process. Dropping it kills it, unless it is detached.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    is_detached: bool,
}

impl Process {
    /// Starts a process and returns when it has executed its program. It is killed when the calling *thread* ends,
    /// unless it is detached. Must be called in a tokio runtime with I/O enabled. Cancelling kills it.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub(crate) async fn start(launch: Launch<'_>) -> Result<Process, SpawnError> {
        let process = |source| SpawnError::Process { source };
        let (command, user) = (launch.command, launch.user);
        let plan = plan(launch).map_err(process)?;
        let path = || command.program.clone();
        let (pid, report) = spawn::spawn(plan).map_err(process)?;
        let mut started = Process::new(pid).map_err(process)?;
        let Some(failure) = spawn::read_report(report).await.map_err(process)? else {
            return Ok(started);
        };
        started.ended().await;
        started.reap();
        match failure {
            (Stage::Prepare | Stage::Sandbox, errno) => Err(process(errno.into())),
            (Stage::User, errno) => {
                let user = user.map(|user| user.name.clone()).unwrap_or_default();
                Err(SpawnError::User { user, source: errno.into() })
            }
            (Stage::Execute, rustix::io::Errno::NOENT) if !command.program.exists() => {
                Err(SpawnError::NotFound { path: path() })
            }
            (Stage::Execute, errno) => {
                Err(SpawnError::Execute { path: path(), source: errno.into() })
            }
        }
    }

    fn new(pid: Pid) -> io::Result<Process> {
        // From here on dropping it kills it.
        let mut started = Process { child: Child::new(pid), is_detached: false };
        started.child.watch()?;
        Ok(started)
    }

    /// Lets the process outlive this handle; it must have been started so that it outlives its thread.
    pub(crate) fn detach(&mut self) {
        self.is_detached = true;
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> i32 {
        self.child.pid().as_raw_pid()
    }

    /// Waits until the process has ended; does not reap it. Cancelling loses nothing.
    pub(crate) async fn ended(&self) {
        self.child.ended().await;
    }

    /// Kills the process, if it has not ended.
    pub(crate) fn kill(&self) {
        self.child.signal(Signal::KILL);
    }

    /// Sends SIGTERM, waits for some time, and kills the process if it has not ended then.
    pub(crate) fn end(&mut self, patience: &Timespec) {
        if self.is_detached || self.reap().is_some() {
            return;
        }
        self.child.signal(Signal::TERM);
        self.child.wait(patience);
        self.kill();
    }

    /// Reaps the process. Returns how it ended, or `None` if it still runs.
    pub(crate) fn reap(&mut self) -> Option<Exit> {
        let status = self.child.reap()?;
        Some(status.map_or(Exit::Unknown, |status| match status.terminating_signal() {
            Some(signal) => Exit::Signal(signal),
            None => status.exit_status().map_or(Exit::Unknown, Exit::Status),
        }))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_detached || self.reap().is_some() {
            return;
        }
        self.kill();
        self.child.wait(&DROP_TIMEOUT);
        if self.reap().is_none() {
            self.child.reap_later();
        }
    }
}

fn plan(launch: Launch<'_>) -> io::Result<Plan> {
    let Launch { command, mut descriptors, lock, output, user, before, is_detached } = launch;
    let null = std::fs::File::open("/dev/null")?;
    descriptors.push((0, null.into()));
    descriptors.push((1, output.try_clone()?));
    descriptors.push((2, output));
    if let Some(lock) = &lock {
        descriptors.push((first_free(&descriptors), lock.try_clone()?));
    }
    let first = first_free(&descriptors);
    // Above the numbers that the child overwrites.
    let lift = |(number, fd): (RawFd, OwnedFd)| -> io::Result<_> {
        Ok((number, rustix::io::fcntl_dupfd_cloexec(fd, first)?))
    };
    let program = c_string(&command.program)?;
    let arguments = command.args.iter().map(|argument| Ok(CString::new(argument.as_str())?));
    let environment = command.environment.iter();
    let environment = environment.map(|(name, value)| Ok(CString::new(format!("{name}={value}"))?));
    let (mode, nodes) = match &before.memory {
        None => (None, Vec::new()),
        Some((policy, nodes)) => (mode(*policy), bits(nodes)),
    };
    let cpus = (!before.cpus.is_empty()).then(|| cpu_set(&before.cpus)).transpose()?;
    Ok(Plan {
        restrictions: Restrictions { cpus, memory: mode, locks_memory: before.locks_memory },
        nodes,
        arguments: std::iter::once(Ok(program.clone()))
            .chain(arguments)
            .collect::<io::Result<_>>()?,
        program,
        environment: environment.collect::<io::Result<_>>()?,
        descriptors: descriptors.into_iter().map(lift).collect::<io::Result<_>>()?,
        record: lock.map(|lock| rustix::io::fcntl_dupfd_cloexec(lock, first)).transpose()?,
        user: user.map(User::identity).transpose()?,
        is_tied: !is_detached,
    })
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Returns a set of CPUs.
pub(crate) fn cpu_set(cpus: &[u32]) -> io::Result<CpuSet> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        let cpu = usize::try_from(*cpu).unwrap_or(usize::MAX);
        if cpu >= CpuSet::MAX_CPU {
            let what = format!("there is no CPU {cpu}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        set.set(cpu);
    }
    Ok(set)
}

/// Returns the mode of set_mempolicy(2).
fn mode(policy: NodePolicy) -> Option<c_int> {
    match policy {
        NodePolicy::Preferred => Some(1),
        NodePolicy::Bind => Some(2),
        NodePolicy::Interleave => Some(3),
        NodePolicy::Restrictive => None,
    }
}

/// Returns a mask with the bits of these numbers.
fn bits(numbers: &[u32]) -> Vec<c_ulong> {
    let mut mask = Vec::new();
    for number in numbers {
        let word = usize::try_from(number / c_ulong::BITS).unwrap_or(0);
        if mask.len() <= word {
            mask.resize(word + 1, 0);
        }
        mask[word] |= 1 << (number % c_ulong::BITS);
    }
    mask
}
