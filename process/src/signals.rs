//! Signals of a child between fork and exec, where only async-signal-safe functions may be called.

#![expect(unsafe_code, reason = "std has no signals")]

use std::ffi::c_int;
use std::mem::MaybeUninit;

/// Resets all signals to their default actions. Exec resets handlers by itself, but keeps ignored signals ignored:
/// SIGPIPE in every Rust program.
pub fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // JUSTIFICATION: std only resets SIGPIPE.
        // SAFETY: the default action runs no code of this program; signals that cannot be changed fail with EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Returns the set of all signals.
pub fn all_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // JUSTIFICATION: std has no signal sets.
    // SAFETY: the pointer is valid for writing a set; it cannot fail.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: sigfillset(3) has just filled it.
    unsafe { set.assume_init() }
}

/// Returns a set of signals.
pub fn signal_set(signals: &[c_int]) -> libc::sigset_t {
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
pub fn change_mask(how: c_int, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = MaybeUninit::zeroed();
    // JUSTIFICATION: std has no signal masks.
    // SAFETY: both pointers are valid; it fails only for a `how` that does not exist.
    unsafe { libc::pthread_sigmask(how, set, before.as_mut_ptr()) };
    // SAFETY: zeroes are a set (the empty one), and so is what the call wrote over them.
    unsafe { before.assume_init() }
}
