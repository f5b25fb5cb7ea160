//! Forks and executes a program.
//!
//! Also opens what a program inherits where that takes ioctl(2), so that all unsafe code of the crate is in this file.

#![expect(
    unsafe_code,
    reason = "std can neither prepare a process between fork and exec, nor configure devices"
)]

use std::convert::Infallible;
use std::ffi::{CString, c_char, c_int, c_short};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr;

use capscache_process::exec::{become_user, close_on_exec_from, duplicate, last_errno, pointers};
use capscache_process::signals::{all_signals, change_mask, reset_signals};
use capscache_process::{Failure, Identity, Stage, fork};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{self, Pid, Resource, Rlimit, Signal};
use rustix::thread;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::Restrictions;
use crate::stat::identity;

/// Everything that the child needs, prepared before the fork.
pub(super) struct Plan {
    pub(super) program: CString,
    /// The arguments, the first of which is the name of the program.
    pub(super) arguments: Vec<CString>,
    pub(super) environment: Vec<CString>,
    /// The descriptors with their numbers in the child. None of the descriptors has one of these numbers itself.
    pub(super) descriptors: Vec<(RawFd, OwnedFd)>,
    /// The file in which the child records its number. Its own number is above all that the child uses.
    pub(super) record: Option<OwnedFd>,
    pub(super) user: Option<Identity>,
    pub(super) restrictions: Restrictions,
    /// The bits of the NUMA nodes of the restrictions.
    pub(super) nodes: Vec<libc::c_ulong>,
    /// True if the process is killed when the thread that starts it ends.
    pub(super) is_tied: bool,
}

/// Starts a process, and returns it with the pipe on which it reports a failure; the pipe is closed when it has executed its
/// program.
///
/// It is the leader of its own session, has default signals, no core file, as many descriptors as the hard limit
/// permits, the working directory `/`, and no descriptors but those of the plan.
pub(super) fn spawn(plan: Plan) -> io::Result<(Pid, PipeReader)> {
    let (report, reported) = io::pipe()?;
    let first = first_free(&plan.descriptors);
    let reported = rustix::io::fcntl_dupfd_cloexec(OwnedFd::from(reported), first)?;
    let (arguments, environment) = (pointers(&plan.arguments), pointers(&plan.environment));
    let parent = process::getpid();
    let task = || {
        let Err(failure) = execute(&plan, parent, &arguments, &environment);
        Some(failure)
    };
    // JUSTIFICATION: posix_spawn(3) cannot set a parent death signal.
    // SAFETY: the task makes system calls and allocates nothing.
    let pid = unsafe { fork(&reported, task) }?;
    // Closes the child's ends, so that the report ends when the child executes the program or fails to.
    drop((plan, reported));
    Ok((pid, report))
}

/// Returns the first number above all that the child uses.
pub(super) fn first_free(descriptors: &[(RawFd, OwnedFd)]) -> RawFd {
    let highest = descriptors.iter().map(|(number, _)| *number).max().unwrap_or_default();
    highest.max(libc::STDERR_FILENO) + 1
}

/// Waits until a process has executed its program, or has reported why it did not.
pub(super) async fn read_report(report: PipeReader) -> io::Result<Option<Failure>> {
    let mut bytes = Vec::new();
    Receiver::from_owned_fd(report.into())?.read_to_end(&mut bytes).await?;
    Ok(Stage::decode(&bytes))
}

/// Prepares this process and executes the program. Runs in the child; must not allocate.
fn execute(
    plan: &Plan,
    parent: Pid,
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> Result<Infallible, Failure> {
    let prepare = |errno| (Stage::Prepare, errno);
    if let Some(file) = &plan.record {
        record(file).map_err(prepare)?;
    }
    process::setsid().map_err(prepare)?;
    process::chdir(c"/").map_err(prepare)?;
    process::umask(Mode::from_raw_mode(0o002));
    raise(Resource::Nofile);
    raise(Resource::Memlock);
    limit_core().map_err(prepare)?;
    restrict(plan).map_err(prepare)?;
    if let Some(user) = &plan.user {
        become_user(user).map_err(|errno| (Stage::User, errno))?;
    }
    // Capabilities that a service keeps beyond an exec. Linux before 4.3 has none.
    let _ = thread::clear_ambient_capability_set();
    if plan.is_tied {
        // After the change of the user, which resets it.
        process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(prepare)?;
        // The parent may have died before the signal was set.
        if process::getppid() != Some(parent) {
            return Err(prepare(Errno::SRCH));
        }
    }
    close_on_exec_from(libc::STDERR_FILENO + 1);
    for (number, descriptor) in &plan.descriptors {
        // JUSTIFICATION: the program gets them by their numbers.
        // SAFETY: in the child, which has one thread; no descriptor that it uses later has one of these numbers.
        unsafe { duplicate(descriptor, *number) }.map_err(prepare)?;
    }
    reset_signals();
    change_mask(libc::SIG_UNBLOCK, &all_signals());
    // JUSTIFICATION: this is what the process was made for.
    // SAFETY: both arrays end with a null pointer, and the strings they point to live in `plan`.
    unsafe {
        libc::execve(plan.program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
    }
    Err((Stage::Execute, last_errno()))
}

/// Appends the number of this process and the time of its start to a file, before anything else: however its parent
/// ends, it can be found.
fn record(file: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stat = rustix::fs::open(c"/proc/self/stat", flags, Mode::empty())?;
    let mut text = [0; 1024];
    let count = rustix::io::read(&stat, &mut text)?;
    let (pid, start) = text.get(..count).and_then(identity).ok_or(Errno::INVAL)?;
    let mut line = [b' '; 64];
    let length = pid.len() + 1 + start.len();
    line.get_mut(..pid.len()).ok_or(Errno::INVAL)?.copy_from_slice(pid);
    line.get_mut(pid.len() + 1..length).ok_or(Errno::INVAL)?.copy_from_slice(start);
    *line.get_mut(length).ok_or(Errno::INVAL)? = b'\n';
    rustix::io::write(file, line.get(..=length).ok_or(Errno::INVAL)?).map(drop)
}

/// Raises a limit as far as it may be raised.
fn raise(resource: Resource) {
    let Rlimit { maximum, .. } = process::getrlimit(resource);
    // A failure leaves the limit as it was.
    let _ = process::setrlimit(resource, Rlimit { current: maximum, maximum });
}

/// Makes the settings of the process that the guest names.
fn restrict(plan: &Plan) -> Result<(), Errno> {
    let Restrictions { cpus, memory, locks_memory } = &plan.restrictions;
    if *locks_memory {
        // A failure leaves the limit as it was, which the caller has found to suffice.
        let _ = process::setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    }
    if let Some(cpus) = cpus {
        thread::sched_setaffinity(None, cpus)?;
    }
    if let Some(mode) = memory {
        let bits = plan.nodes.len() * usize::try_from(libc::c_ulong::BITS).unwrap_or(0);
        // JUSTIFICATION: neither std nor rustix nor libc has set_mempolicy(2).
        // SAFETY: the array has as many bits as the last argument says, plus one that the kernel does not read.
        let done =
            unsafe { libc::syscall(libc::SYS_set_mempolicy, *mode, plan.nodes.as_ptr(), bits + 1) };
        if done != 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// Refuses core files: they would hold the memory of the guest.
fn limit_core() -> Result<(), Errno> {
    process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}

/// An operation on a network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceOperation {
    /// Attaches a file of `/dev/net/tun` to a device.
    Attach,
    Flags,
    SetFlags,
    SetMtu,
    SetAddress,
    Index,
    /// Adds the device of an index to a bridge.
    AddToBridge,
}

impl DeviceOperation {
    fn number(self) -> libc::Ioctl {
        match self {
            DeviceOperation::Attach => libc::TUNSETIFF,
            DeviceOperation::Flags => 0x8913,
            DeviceOperation::SetFlags => 0x8914,
            DeviceOperation::SetMtu => 0x8922,
            DeviceOperation::SetAddress => 0x8924,
            DeviceOperation::Index => 0x8933,
            DeviceOperation::AddToBridge => 0x89a2,
        }
    }
}

/// Carries out an operation on a network device, through a socket or a file of `/dev/net/tun`.
pub(crate) fn operate(
    file: &impl AsFd,
    operation: DeviceOperation,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // JUSTIFICATION: rustix has none of these operations.
    // SAFETY: all of them take a pointer to this structure, which the kernel reads and writes.
    let done = unsafe { libc::ioctl(fd, operation.number(), ptr::from_mut(request)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the index of the device after the operation `Index`.
pub(crate) fn index_of(request: &libc::ifreq) -> c_int {
    // JUSTIFICATION: the kernel's structure is a union.
    // SAFETY: all of its bytes are set, and any are a number.
    unsafe { request.ifr_ifru.ifru_ifindex }
}

/// Returns the flags of the device after the operation `Flags`.
pub(crate) fn flags_of(request: &libc::ifreq) -> c_short {
    // JUSTIFICATION: the kernel's structure is a union.
    // SAFETY: all of its bytes are set, and any are a number.
    unsafe { request.ifr_ifru.ifru_flags }
}

/// Sets the number of a guest at a file of `/dev/vhost-vsock`.
pub(crate) fn set_cid(file: &impl AsFd, cid: u64) -> io::Result<()> {
    /// `VHOST_VSOCK_SET_GUEST_CID`
    const OPERATION: libc::Ioctl = libc::_IOW::<u64>(0xaf, 0x60);
    // JUSTIFICATION: rustix does not have this operation.
    // SAFETY: the operation reads a number of 64 bits.
    let done = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), OPERATION, &raw const cid) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
