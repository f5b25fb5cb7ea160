//! Preparations of a child before it executes its program. Nothing here allocates but [`pointers`], which the parent calls.

#![expect(unsafe_code, reason = "descriptors of a child are numbers without owners")]

use std::ffi::{CString, c_char, c_uint};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::{self, Resource, Rlimit};
use rustix::thread;

use crate::identity::Identity;

/// Bound on a walk over descriptors: without close_range(2) none above this one is closed. A limit of a thousand
/// million descriptors, as containers have it, would take minutes to walk.
pub const MAX_CLOSED_FD: u64 = 1 << 16;

/// Returns the error of the last system call of this thread.
pub fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Returns an array of strings as execve(2) takes it, with a null pointer at its end.
pub fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// Lowers a resource limit; one that is lower already stays.
///
/// # Errors
/// The error of setrlimit(2).
pub fn limit(resource: Resource, soft: u64, hard: u64) -> Result<(), Errno> {
    let Rlimit { current, maximum } = process::getrlimit(resource);
    let maximum = maximum.map_or(hard, |maximum| maximum.min(hard));
    let current = current.map_or(soft, |current| current.min(soft)).min(maximum);
    process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
}

/// Becomes another user for good: from root, nothing of root's is left.
///
/// # Errors
/// The error of setgroups(2), setresgid(2) or setresuid(2).
pub fn become_user(user: &Identity) -> Result<(), Errno> {
    thread::set_thread_groups(&user.groups)?;
    thread::set_thread_res_gid(user.gid, user.gid, user.gid)?;
    thread::set_thread_res_uid(user.uid, user.uid, user.uid)
}

/// Puts a copy of a descriptor at a number, where it stays open on exec. What was there is closed.
///
/// # Safety
/// No descriptor that this process uses later may have this number.
///
/// # Errors
/// The error of dup2(2).
pub unsafe fn duplicate(from: &OwnedFd, to: RawFd) -> Result<(), Errno> {
    // JUSTIFICATION: the target is a number, not a descriptor with an owner.
    // SAFETY: the caller uses no descriptor of this number later.
    let done = unsafe { libc::dup2(from.as_raw_fd(), to) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Marks all descriptors from a number on close-on-exec, those too that other parts of the program left unmarked.
pub fn close_on_exec_from(first: RawFd) {
    // JUSTIFICATION: neither std nor rustix has close_range(2), and not every libc has it.
    // SAFETY: takes three numbers, and CLOEXEC closes nothing now.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, first, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if done == 0 {
        return;
    }
    // Linux before 5.11, or a seccomp filter that refuses the call.
    let end = process::getrlimit(Resource::Nofile).current.unwrap_or(MAX_CLOSED_FD);
    for fd in first..RawFd::try_from(end.min(MAX_CLOSED_FD)).unwrap_or(RawFd::MAX) {
        // JUSTIFICATION: these descriptors have no owner in the child.
        // SAFETY: a number without a descriptor fails with EBADF, which is what most of them do.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}
