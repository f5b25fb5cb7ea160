//! Signals and resource limits of a child between fork and exec, where only async-signal-safe functions may be called.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;

use rustix::io::Errno;
use rustix::process::{self, Resource, Rlimit};

/// Bound on a walk over descriptors: without close_range(2) none above this one is closed. A limit of a thousand
/// million descriptors, as containers have it, would take minutes to walk.
pub(super) const MAX_CLOSED_FD: u64 = 1 << 16;

pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Lowers a resource limit; one that is lower already stays.
pub(super) fn limit(resource: Resource, soft: u64, hard: u64) -> Result<(), Errno> {
    let Rlimit { current, maximum } = process::getrlimit(resource);
    let maximum = maximum.map_or(hard, |maximum| maximum.min(hard));
    let current = current.map_or(soft, |current| current.min(soft)).min(maximum);
    process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
}

/// Resets all signals to their default actions. Exec resets handlers by itself, but keeps ignored signals ignored:
/// SIGPIPE in every Rust program.
pub(super) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // JUSTIFICATION: std only resets SIGPIPE.
        // SAFETY: the default action runs no code of this program; signals that cannot be changed fail with EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

pub(super) fn all_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // JUSTIFICATION: std has no signal sets.
    // SAFETY: the pointer is valid for writing a set; it cannot fail.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: sigfillset(3) has just filled it.
    unsafe { set.assume_init() }
}

pub(super) fn signal_set(signals: &[c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // JUSTIFICATION: std has no signal sets.
    // SAFETY: the pointer is valid for writing a set; it cannot fail.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // JUSTIFICATION: the same.
        // SAFETY: sigemptyset(3) has made it a set; it fails for a number that is not a signal.
        unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) };
    }
    // SAFETY: sigemptyset(3) has filled it.
    unsafe { set.assume_init() }
}

/// Changes this thread's signal mask and returns the one before.
pub(super) fn change_mask(how: c_int, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = MaybeUninit::zeroed();
    // JUSTIFICATION: std has no signal masks.
    // SAFETY: both pointers are valid; it fails only for a `how` that does not exist.
    unsafe { libc::pthread_sigmask(how, set, before.as_mut_ptr()) };
    // SAFETY: zeroes are a set (the empty one), and so is what the call wrote over them.
    unsafe { before.assume_init() }
}
