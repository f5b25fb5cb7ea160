//! Starting an emulator's process, and ending it.
//!
//! `std::process::Command` is not used: it panics when exec fails in a program that ignores SIGCHLD, since there is
//! no child left to wait for (<https://github.com/rust-lang/rust/issues/110317>). Nor is `tokio::process`, which may
//! install a handler of SIGCHLD. A library has to live with the signals its program has chosen.

#![expect(unsafe_code, reason = "std has no safe way to prepare a process between fork and exec")]

pub(crate) mod sandbox;
mod supervisor;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsString};
use std::io::{self, PipeReader, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use libc::{c_char, c_int};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    self, Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions,
};
use rustix::thread::{self, UnshareFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Exit, StartError};
use crate::security::SecurityModules;
use crate::user::{Identity, User};
use sandbox::Sandbox;

/// The descriptor at which an emulator finds its monitor. Not 0: some queries make QEMU close its stdin.
const MONITOR: RawFd = 3;

/// How QEMU is told of its monitor, and how it begins to complain of a descriptor that did not reach it.
pub(crate) const MONITOR_OPTION: &str = "socket,id=qmp,fd=3";

/// The node that opens KVM.
pub(crate) const KVM: &CStr = c"/dev/kvm";

/// How many descriptors an emulator may have open. A probe of QEMU 11.1 needs some thirty.
const DESCRIPTORS: u64 = 256;

/// How large a file may become by an emulator's hands. QEMU writes none, but an emulator that unpacks itself writes all
/// of QEMU; the largest builds have some hundred megabytes.
const FILE_BYTES: u64 = 1 << 30;

/// Of all processes, the kernel ends one with this score first when memory runs out.
const FIRST_TO_GO: &[u8] = b"1000";

/// fcntl(2)'s command for the signal that tells of I/O, which the libc crate has not everywhere.
const F_SETSIG: c_int = 10;

/// Without close_range(2) no descriptor above this one is kept from an emulator: a limit of a thousand million
/// descriptors, as containers have it, would take minutes to walk.
const HIGHEST_WALKED: u64 = 1 << 16;

/// How often the end of a process is looked for where the kernel has no pidfd (before Linux 5.3).
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long dropping an emulator may block. One that was sent SIGKILL ends within a few milliseconds.
const DROP_BLOCKS: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What is to be run, and as what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    pub(crate) emulator: &'a Path,
    pub(crate) accelerator: &'a str,
    /// As whom; as the caller, if nobody is named.
    pub(crate) user: Option<&'a User>,
    /// Where it may put temporary files.
    pub(crate) scratch: &'a Path,
    /// Further variables of its environment, which replace those of the same name.
    pub(crate) environment: &'a [(OsString, OsString)],
    /// What keeps it from writing elsewhere.
    pub(crate) sandbox: &'a Sandbox,
}

/// A process that was started, and the other ends of what it was given.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) emulator: Emulator,
    /// Our end of the monitor: non-blocking, and every message comes with its sender's credentials.
    pub(crate) monitor: UnixStream,
    /// What the emulator writes to stdout and stderr.
    pub(crate) output: PipeReader,
}

/// Starts an emulator with nothing but a monitor, and waits until it was executed.
///
/// It has an empty environment (but for `PATH`, a locale and `TMPDIR`), no descriptors beyond the monitor and the
/// three standard ones, default signals, no way to gain privileges, no core file, few and small files, processor time
/// for as long as `patience`, no terminal, writes only where its sandbox lets it, and is the leader of its own session
/// and process group. As another user it has no network either.
///
/// It is the child of a supervisor, which ends when it does, and not before everything has that it started. All of that
/// is killed when the calling *thread* ends, so this must be called from a thread that lives as long as the emulator; it
/// must also be inside a tokio runtime with I/O enabled. Should somebody kill the supervisor, the emulator dies with it,
/// and its stdin is the leash of its process group: a pipe that it cannot read, at whose other end nothing happens until
/// the calling *process* ends or drops the emulator; then the kernel kills the group.
///
/// # Errors
///
/// All variants of [`StartError`] that are about making a process; none of a process that ran.
pub(crate) fn spawn(launch: &Launch<'_>, patience: Duration) -> Result<Spawned, StartError> {
    let path = launch.emulator;
    let failed = |step| move |source| StartError::Spawn { path: path.to_owned(), step, source };
    let user_failed =
        |user: &User, source| StartError::User { path: path.to_owned(), uid: user.uid, source };
    let open = || -> io::Result<_> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // Before there is anybody who could send: a message sent earlier would come without a sender.
        rustix::net::sockopt::set_socket_passcred(&ours, true)?;
        Ok((ours, theirs, io::pipe()?, io::pipe()?, io::pipe()?))
    };
    let (monitor, theirs, (output, written), (report, reported), (leash, leashed)) =
        open().map_err(failed("open descriptors"))?;
    let lift = |fd: OwnedFd| above_monitor(fd).map_err(failed("open descriptors"));
    let user = launch.user.map(|user| Identity::try_from(user).map_err(|e| user_failed(user, e)));
    let plan = Plan {
        arguments: c_strings(arguments(launch)).map_err(failed("pass arguments"))?,
        environment: c_strings(environment(launch)).map_err(failed("pass the environment"))?,
        user: user.transpose()?,
        sandbox: launch.sandbox,
        leash: lift(leashed.into())?,
        output: lift(written.into())?,
        monitor: lift(theirs.into())?,
        report: lift(reported.into())?,
        cpu_seconds: patience.as_secs().saturating_add(1),
    };

    let arguments = pointers(&plan.arguments);
    let environment = pointers(&plan.environment);
    let all = all_signals();
    let become_emulator = |supervisor| {
        let Err(failure) = become_emulator(&plan, supervisor, &arguments, &environment, &all);
        failure
    };
    let (prober, report_to) = (process::getpid(), &plan.report);
    let supervise = || Some(supervisor::supervise(prober, report_to, become_emulator));
    let pid = fork(report_to, supervise).map_err(failed("fork"))?;
    // Closes the child's ends, so that the report ends when the child executes the emulator or fails to.
    drop(plan);
    let told = hear(report);
    if let Ok(Some((stage, errno))) = told {
        reap_failed(pid);
        return Err(match (stage, launch.user) {
            (Stage::Execute, _) => not_executed(launch, errno),
            (Stage::User, Some(user)) => user_failed(user, errno),
            (Stage::Sandbox, _) => StartError::Sandbox { path: path.to_owned(), source: errno },
            _ => failed("prepare the process")(errno),
        });
    }
    // From here on dropping the emulator kills it.
    let emulator = Emulator::watch(pid, leash).map_err(failed("watch the process"))?;
    told.map_err(failed("hear of the process"))?;
    Ok(Spawned { emulator, monitor, output })
}

/// Whether `user` may open a file for reading and writing; nobody can tell but a process of that user, since there are
/// access lists and security modules.
pub(crate) fn opens_as(user: &User, path: &CStr) -> io::Result<bool> {
    let user = Identity::try_from(user)?;
    let (report, reported) = io::pipe()?;
    let reported = OwnedFd::from(reported);
    let attempt = || -> Result<(), Failure> {
        take_on(&user).map_err(|errno| (Stage::User, errno))?;
        let opened = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        opened.map(drop).map_err(|errno| (Stage::Prepare, errno))
    };
    let pid = fork(&reported, || attempt().err())?;
    drop(reported);
    let told = hear(report);
    reap_failed(pid);
    match told? {
        None => Ok(true),
        Some((Stage::User, error)) => Err(error),
        Some(_) => Ok(false),
    }
}

fn arguments(launch: &Launch<'_>) -> Vec<OsString> {
    let mut arguments = vec![launch.emulator.into()];
    arguments.extend(["-S", "-no-user-config", "-nodefaults", "-display", "none"].map(Into::into));
    arguments.extend(["-machine".into(), format!("none,accel={}", launch.accelerator).into()]);
    arguments.extend(["-chardev", MONITOR_OPTION].map(Into::into));
    // Not -mon, which QEMU 11.1 calls deprecated on stderr.
    arguments.extend(["-qmp", "chardev:qmp"].map(Into::into));
    arguments
}

/// `PATH` is for wrappers; messages are to be the same everywhere.
fn environment(launch: &Launch<'_>) -> Vec<OsString> {
    let mut path = OsString::from("PATH=");
    path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
    let mut scratch = OsString::from("TMPDIR=");
    scratch.push(launch.scratch);
    let mut variables = vec!["LC_ALL=C".into(), path, scratch];
    for (name, value) in launch.environment {
        let mut variable = name.clone();
        variable.push("=");
        variables.retain(|given: &OsString| !given.as_bytes().starts_with(variable.as_bytes()));
        variable.push(value);
        variables.push(variable);
    }
    variables
}

fn c_strings(strings: Vec<OsString>) -> io::Result<Vec<CString>> {
    strings.into_iter().map(|string| Ok(CString::new(string.into_vec())?)).collect()
}

/// Moves a descriptor to where giving the emulator its own ones will not overwrite it.
fn above_monitor(fd: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, MONITOR + 1)?)
}

fn not_executed(launch: &Launch<'_>, source: io::Error) -> StartError {
    let path = launch.emulator.to_owned();
    let uid = launch.user.map(|user| user.uid);
    match Errno::from_io_error(&source) {
        Some(Errno::NOENT) if path.exists() => StartError::NoInterpreter { path },
        Some(Errno::NOENT | Errno::NOTDIR) => StartError::NotFound { path },
        Some(Errno::ACCESS | Errno::PERM) if path.is_dir() => StartError::IsDirectory { path },
        Some(Errno::ACCESS) => {
            StartError::NotExecutable { path, uid, security: SecurityModules::active() }
        }
        Some(Errno::PERM) => {
            StartError::NotPermitted { path, uid, security: SecurityModules::active() }
        }
        Some(Errno::NOEXEC) => StartError::WrongFormat { path },
        _ => StartError::NotExecuted { path, source },
    }
}

/// Everything the child needs: it must not allocate.
struct Plan<'a> {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    user: Option<Identity>,
    sandbox: &'a Sandbox,
    leash: OwnedFd,
    output: OwnedFd,
    monitor: OwnedFd,
    report: OwnedFd,
    cpu_seconds: u64,
}

/// Where a child failed, and how.
type Failure = (Stage, Errno);

/// Where a child failed: one byte of its report, the error number follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Prepare,
    User,
    Sandbox,
    Execute,
}

impl Stage {
    fn encode((stage, errno): Failure) -> [u8; 5] {
        let [a, b, c, d] = errno.raw_os_error().to_ne_bytes();
        [stage as u8, a, b, c, d]
    }

    fn decode(report: &[u8]) -> Option<(Self, io::Error)> {
        let &[stage, a, b, c, d] = report else { return None };
        let stages = [Self::Prepare, Self::User, Self::Sandbox, Self::Execute];
        let stage = stages.into_iter().find(|known| *known as u8 == stage)?;
        Some((stage, io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]))))
    }
}

/// Waits until a child has executed something or ended, and returns where it failed, if it did.
fn hear(mut report: PipeReader) -> io::Result<Option<(Stage, io::Error)>> {
    let mut failure = Vec::new();
    report.read_to_end(&mut failure)?;
    Ok(Stage::decode(&failure))
}

/// Reaps a child that is on its way out. Fails if SIGCHLD is ignored: then nothing is left to reap either.
fn reap_failed(pid: Pid) {
    let _ = rustix::io::retry_on_intr(|| process::waitpid(Some(pid), WaitOptions::empty()));
}

/// Forks. The child does its task and ends, having reported its failure if it failed; unless it executes something
/// else, it never returns.
fn fork(report: &OwnedFd, task: impl FnOnce() -> Option<Failure>) -> io::Result<Pid> {
    // A handler of the program must not run in the child, where only few functions may be called.
    let before = change_mask(libc::SIG_SETMASK, &all_signals());
    // JUSTIFICATION: posix_spawn(3) can set neither a parent death signal nor no_new_privs.
    // SAFETY: all the child calls until it executes or exits is safe after a fork of a program with threads: system
    // calls and functions that POSIX lists as async-signal-safe; it does not allocate, lock or unwind.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        if let Some(failure) = task() {
            // If nobody listens there is nobody to tell.
            let _ = rustix::io::write(report, &Stage::encode(failure));
        }
        // JUSTIFICATION: exit(3) would run what the program registered for its own end.
        // SAFETY: _exit(2) may be called at any time.
        unsafe { libc::_exit(127) }
    }
    let failure = io::Error::last_os_error();
    change_mask(libc::SIG_SETMASK, &before);
    if pid < 0 { Err(failure) } else { Pid::from_raw(pid).ok_or(failure) }
}

/// What happens between fork and exec. Only returns on failure.
fn become_emulator(
    plan: &Plan<'_>,
    supervisor: Pid,
    arguments: &[*const c_char],
    environment: &[*const c_char],
    all: &libc::sigset_t,
) -> Result<Infallible, Failure> {
    let prepare = |errno| (Stage::Prepare, errno);
    // A session and not only a process group: it has no terminal, and the emulator itself cannot leave it.
    process::setsid().map_err(prepare)?;
    put_on_leash(&plan.leash);
    go_first();
    if let Some(user) = &plan.user {
        leave_network();
        take_on(user).map_err(|errno| (Stage::User, errno))?;
    }
    if let Sandbox::Mounts(mounts) = plan.sandbox {
        mounts.enter().map_err(|errno| (Stage::Sandbox, errno))?;
    }
    restrict(plan, supervisor).map_err(prepare)?;
    if let Sandbox::Landlock(ruleset) = plan.sandbox {
        sandbox::restrict_to(ruleset).map_err(|errno| (Stage::Sandbox, errno))?;
    }
    for (from, to) in [
        (&plan.leash, libc::STDIN_FILENO),
        (&plan.output, libc::STDOUT_FILENO),
        (&plan.output, libc::STDERR_FILENO),
        (&plan.monitor, MONITOR),
    ] {
        duplicate(from, to).map_err(prepare)?;
    }
    close_others_on_exec();
    limit(Resource::Nofile, DESCRIPTORS, DESCRIPTORS).map_err(prepare)?;
    change_mask(libc::SIG_UNBLOCK, all);
    // JUSTIFICATION: this is what the process was made for.
    // SAFETY: both arrays end with a null pointer, and the strings they point to live in `plan`.
    unsafe {
        libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr());
    }
    Err((Stage::Execute, last_errno()))
}

/// Has the kernel kill the process group when the other end of the leash is closed: by the end of the prober, however
/// it comes about. Where that fails, the process itself still dies with its prober, but not its children.
fn put_on_leash(leash: &OwnedFd) {
    let group = -process::getpid().as_raw_pid();
    for (command, value) in [
        (libc::F_SETOWN, group),
        // SIGIO would end QEMU too, but no program that ignores it.
        (F_SETSIG, libc::SIGKILL),
        // Last: from now on it is in effect.
        (libc::F_SETFL, libc::O_ASYNC),
    ] {
        // JUSTIFICATION: rustix knows none of these.
        // SAFETY: a descriptor that is open and two numbers.
        unsafe { libc::fcntl(leash.as_raw_fd(), command, value) };
    }
}

/// An emulator that fills the memory is to go before its prober. Only fails without `/proc`.
fn go_first() {
    let score = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty());
    let _ = score.and_then(|score| rustix::io::write(&score, FIRST_TO_GO));
}

/// Another user has no network. Root would find its way back, and is not held up for it. Fails in a container that may
/// change users but not namespaces.
fn leave_network() {
    // JUSTIFICATION: rustix marks it unsafe because of UnshareFlags::FILES.
    // SAFETY: only the network is left, and the child has one thread.
    let _ = unsafe { thread::unshare_unsafe(UnshareFlags::NEWNET) };
}

/// Becomes another user for good: from root, nothing of root's is left.
fn take_on(user: &Identity) -> Result<(), Errno> {
    thread::set_thread_groups(&user.groups)?;
    thread::set_thread_res_gid(user.gid, user.gid, user.gid)?;
    thread::set_thread_res_uid(user.uid, user.uid, user.uid)
}

/// Gives up what an emulator does not need. After another user was taken on, which makes the kernel forget whose death
/// to watch for.
fn restrict(plan: &Plan<'_>, supervisor: Pid) -> Result<(), Errno> {
    process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The supervisor may have died before the kernel was asked to watch it.
    if process::getppid() != Some(supervisor) {
        return Err(Errno::SRCH);
    }
    thread::set_no_new_privs(true)?;
    // What a service was given to keep beyond an exec. Linux before 4.3 has none.
    let _ = thread::clear_ambient_capability_set();
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, FILE_BYTES, FILE_BYTES)?;
    // Nobody is left to end a QEMU that spins, if it left its process group and killed its supervisor. The soft
    // limit comes first: its signal says what happened.
    limit(Resource::Cpu, plan.cpu_seconds, plan.cpu_seconds.saturating_add(1))
}

/// Lowers a resource limit; one that is lower already stays.
fn limit(resource: Resource, soft: u64, hard: u64) -> Result<(), Errno> {
    let Rlimit { current, maximum } = process::getrlimit(resource);
    let maximum = maximum.map_or(hard, |maximum| maximum.min(hard));
    let current = current.map_or(soft, |current| current.min(soft)).min(maximum);
    process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Puts a copy of `from` at `to`, which stays open on exec.
fn duplicate(from: &OwnedFd, to: RawFd) -> Result<(), Errno> {
    // JUSTIFICATION: the target is a number, not a descriptor somebody owns.
    // SAFETY: in the child, which has one thread and uses nothing at or below MONITOR.
    let done = unsafe { libc::dup2(from.as_raw_fd(), to) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Keeps from the emulator what other parts of the program forgot to mark. The report stays open until exec.
fn close_others_on_exec() {
    let (first, last) = (MONITOR + 1, libc::c_uint::MAX);
    // JUSTIFICATION: neither std nor rustix has close_range(2), and not every libc has it.
    // SAFETY: takes three numbers, and CLOEXEC closes nothing now.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 {
        return;
    }
    // Linux before 5.11, or a sandbox that does not know the call.
    let end = process::getrlimit(Resource::Nofile).current.unwrap_or(HIGHEST_WALKED);
    for fd in first..RawFd::try_from(end.min(HIGHEST_WALKED)).unwrap_or(RawFd::MAX) {
        // JUSTIFICATION: nobody owns these descriptors in the child.
        // SAFETY: a number without a descriptor fails with EBADF, which is what most of them do.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Exec resets handlers by itself, but keeps ignored signals ignored: SIGPIPE in every Rust program.
fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // JUSTIFICATION: std only resets SIGPIPE.
        // SAFETY: the default action runs no code of ours; signals that cannot be changed fail with EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn all_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // JUSTIFICATION: std has no signal sets.
    // SAFETY: the pointer is valid for writing a set; it cannot fail.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: sigfillset(3) has just filled it.
    unsafe { set.assume_init() }
}

/// Changes this thread's signal mask and returns the one before.
fn change_mask(how: c_int, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = MaybeUninit::zeroed();
    // JUSTIFICATION: std has no signal masks.
    // SAFETY: both pointers are valid; it fails only for a `how` that does not exist.
    unsafe { libc::pthread_sigmask(how, set, before.as_mut_ptr()) };
    // SAFETY: zeroes are a set (the empty one), and so is what the call wrote over them.
    unsafe { before.assume_init() }
}

/// An emulator, by its supervisor. Dropping it kills all that the emulator started.
#[derive(Debug)]
pub(crate) struct Emulator {
    /// The supervisor, which ends as the process does that was started, and with all of its descendants.
    pid: Pid,
    /// Readable when the process has ended. None if the kernel has no pidfd.
    pidfd: Option<AsyncFd<OwnedFd>>,
    /// The process that speaks on the monitor.
    speaker: Option<OwnedFd>,
    /// Set when the process was reaped: from then on its number may belong to somebody else.
    exit: Option<Exit>,
    /// Closed when this is dropped, or this process ends: then the kernel kills the process group.
    _leash: PipeReader,
}

impl Emulator {
    fn watch(pid: Pid, leash: PipeReader) -> io::Result<Self> {
        let mut emulator = Self { pid, pidfd: None, speaker: None, exit: None, _leash: leash };
        // Fails on old kernels, in some sandboxes, and when it ended already and SIGCHLD is ignored. `ended` copes.
        if let Ok(pidfd) = process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            #[allow(
                deprecated,
                reason = "it is sound for an OwnedFd; what replaces it is unsafe and not in older tokio 1"
            )]
            let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
            emulator.pidfd = Some(pidfd);
        }
        Ok(emulator)
    }

    /// Tells which process speaks on the monitor, so that it is killed even if somebody killed the supervisor.
    pub(crate) fn spoken_by(&mut self, speaker: Pid) {
        self.speaker = process::pidfd_open(speaker, PidfdFlags::empty()).ok();
    }

    /// Waits until the process has ended; does not reap it. Cancelling loses nothing.
    pub(crate) async fn ended(&self) {
        if let Some(pidfd) = &self.pidfd
            && pidfd.readable().await.is_ok()
        {
            return;
        }
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Ok(None) = process::waitid(WaitId::Pid(self.pid), look) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Has the supervisor kill everybody, and kills the speaker.
    pub(crate) fn kill(&self) {
        // Always before it is reaped: until then nobody else can have the number. It fails if it has ended.
        if self.exit.is_none() {
            let _ = process::kill_process(self.pid, Signal::TERM);
            // An emulator may have stopped it.
            let _ = process::kill_process(self.pid, Signal::CONT);
        }
        if let Some(speaker) = &self.speaker {
            let _ = process::pidfd_send_signal(speaker, Signal::KILL);
        }
    }

    /// Kills what is left and returns how the process ended that was started, or `None` if it does not end
    /// within `patience`, which only the kernel can bring about; then it is reaped when this is dropped.
    pub(crate) async fn end(&mut self, patience: Duration) -> Option<Exit> {
        self.kill();
        let _ = tokio::time::timeout(patience, self.ended()).await;
        self.reap()
    }

    /// How the process ended, or `None` if it still runs.
    fn reap(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = match process::waitpid(Some(self.pid), WaitOptions::NOHANG) {
                Ok(None) => None,
                Ok(Some((_, status))) => Some(match status.terminating_signal() {
                    Some(signal) => Exit::Signal(signal),
                    None => status.exit_status().map_or(Exit::Unknown, Exit::Status),
                }),
                // ECHILD: SIGCHLD is ignored, or another part of the program waits for every child.
                Err(_) => Some(Exit::Unknown),
            };
        }
        self.exit
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.kill();
        if self.reap().is_some() {
            return;
        }
        if let Some(pidfd) = &self.pidfd {
            let _ = rustix::event::poll(
                &mut [PollFd::new(&pidfd.as_fd(), PollFlags::IN)],
                Some(&DROP_BLOCKS),
            );
        }
        if self.reap().is_none() {
            // It hangs in the kernel. Without a thread it only stays a zombie.
            let pid = self.pid;
            let _ = std::thread::Builder::new().name("reaper".into()).spawn(move || {
                rustix::io::retry_on_intr(|| process::waitpid(Some(pid), WaitOptions::empty()))
            });
        }
    }
}
