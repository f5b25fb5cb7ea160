//! Turns a forked child into an emulator. Nothing here may allocate.

use std::convert::Infallible;
use std::ffi::{CString, c_char, c_int};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use capscache_process::exec::{become_user, close_on_exec_from, duplicate, last_errno, limit};
use capscache_process::signals::change_mask;
use capscache_process::{Failure, Identity, Stage};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{self, Pid, Resource, Signal};
use rustix::thread::{self, UnshareFlags};

use super::sandbox::{self, Sandbox};

/// The descriptor of an emulator's monitor. Not 0: some queries make QEMU close its stdin.
pub(super) const MONITOR: RawFd = 3;

/// Limit on an emulator's open descriptors. A probe of QEMU 11.1 needs some thirty.
const DESCRIPTORS: u64 = 256;

/// Limit on the size of a file that an emulator writes. QEMU writes none, but an emulator that unpacks itself writes all
/// of QEMU; the largest builds have some hundred megabytes.
const FILE_BYTES: u64 = 1 << 30;

/// The highest value of `oom_score_adj`: of all processes, the kernel kills one with it first when memory runs out.
const OOM_SCORE_ADJ: &[u8] = b"1000";

/// fcntl(2)'s command for the signal of asynchronous I/O, which the libc crate lacks on some targets.
const F_SETSIG: c_int = 10;

/// Everything the child needs, prepared before the fork.
pub(super) struct Plan<'a> {
    pub(super) arguments: Vec<CString>,
    pub(super) environment: Vec<CString>,
    pub(super) user: Option<Identity>,
    pub(super) sandbox: &'a Sandbox,
    /// The write end of a pipe: see [`arm_group_kill`].
    pub(super) stdin: OwnedFd,
    pub(super) output: OwnedFd,
    pub(super) monitor: OwnedFd,
    pub(super) report: OwnedFd,
    pub(super) cpu_seconds: u64,
}

/// Prepares this process and executes the emulator. Only returns on failure.
pub(super) fn become_emulator(
    plan: &Plan<'_>,
    supervisor: Pid,
    arguments: &[*const c_char],
    environment: &[*const c_char],
    all: &libc::sigset_t,
) -> Result<Infallible, Failure> {
    let prepare = |errno| (Stage::Prepare, errno);
    // A session and not only a process group: it has no terminal, and the emulator itself cannot leave it.
    process::setsid().map_err(prepare)?;
    arm_group_kill(&plan.stdin);
    raise_oom_score();
    if let Some(user) = &plan.user {
        leave_network();
        become_user(user).map_err(|errno| (Stage::User, errno))?;
    }
    if let Sandbox::Mounts(mounts) = plan.sandbox {
        mounts.enter().map_err(|errno| (Stage::Sandbox, errno))?;
    }
    restrict(plan, supervisor).map_err(prepare)?;
    if let Sandbox::Landlock(ruleset) = plan.sandbox {
        sandbox::restrict_to(ruleset).map_err(|errno| (Stage::Sandbox, errno))?;
    }
    for (from, to) in [
        (&plan.stdin, libc::STDIN_FILENO),
        (&plan.output, libc::STDOUT_FILENO),
        (&plan.output, libc::STDERR_FILENO),
        (&plan.monitor, MONITOR),
    ] {
        // JUSTIFICATION: the emulator gets them by their numbers.
        // SAFETY: in the child, which has one thread and uses nothing at or below MONITOR.
        unsafe { duplicate(from, to) }.map_err(prepare)?;
    }
    // The report stays open until exec.
    close_on_exec_from(MONITOR + 1);
    limit(Resource::Nofile, DESCRIPTORS, DESCRIPTORS).map_err(prepare)?;
    change_mask(libc::SIG_UNBLOCK, all);
    // JUSTIFICATION: this is what the process was made for.
    // SAFETY: both arrays end with a null pointer, and the strings they point to live in `plan`.
    unsafe {
        libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr());
    }
    Err((Stage::Execute, last_errno()))
}

/// Makes the kernel kill the process group when the read end of the pipe is closed: by the end of the prober, of any
/// cause. Where that fails, the process itself still dies with its prober, but not its children.
fn arm_group_kill(pipe: &OwnedFd) {
    let group = -process::getpid().as_raw_pid();
    for (command, value) in [
        (libc::F_SETOWN, group),
        // SIGIO would end QEMU too, but not a program that ignores it.
        (F_SETSIG, libc::SIGKILL),
        // Last: from now on it is in effect.
        (libc::F_SETFL, libc::O_ASYNC),
    ] {
        // JUSTIFICATION: rustix has none of these.
        // SAFETY: a descriptor that is open and two numbers.
        unsafe { libc::fcntl(pipe.as_raw_fd(), command, value) };
    }
}

/// Makes the kernel kill an emulator that fills the memory, and not its prober. Only fails without `/proc`.
fn raise_oom_score() {
    let score = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty());
    let _ = score.and_then(|score| rustix::io::write(&score, OOM_SCORE_ADJ));
}

/// Leaves the network, for an emulator of another user. Root could return to it, so it keeps it. Fails in a container
/// that may change users but not namespaces.
fn leave_network() {
    // JUSTIFICATION: rustix marks it unsafe because of UnshareFlags::FILES.
    // SAFETY: only the network is left, and the child has one thread.
    let _ = unsafe { thread::unshare_unsafe(UnshareFlags::NEWNET) };
}

/// Gives up what an emulator does not need. Called after [`become_user`], which resets the parent death signal.
fn restrict(plan: &Plan<'_>, supervisor: Pid) -> Result<(), Errno> {
    process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The supervisor may have died before the signal was set.
    if process::getppid() != Some(supervisor) {
        return Err(Errno::SRCH);
    }
    thread::set_no_new_privs(true)?;
    // Capabilities that a service keeps beyond an exec. Linux before 4.3 has none.
    let _ = thread::clear_ambient_capability_set();
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, FILE_BYTES, FILE_BYTES)?;
    // Ends a QEMU that spins after it left its process group and killed its supervisor. The soft limit comes first:
    // its signal names the cause.
    limit(Resource::Cpu, plan.cpu_seconds, plan.cpu_seconds.saturating_add(1))
}
