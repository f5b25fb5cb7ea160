//! Forks, and reports a child's failure to its parent.

#![expect(unsafe_code, reason = "std has no fork")]

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{self, Pid, WaitOptions};

use crate::signals::{all_signals, change_mask};

/// The step at which a child failed, and the error.
pub type Failure = (Stage, Errno);

/// The step at which a child failed: one byte of its report, the error number follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The process was prepared.
    Prepare,
    /// It became its user.
    User,
    /// It entered its sandbox.
    Sandbox,
    /// It executed its program.
    Execute,
}

impl Stage {
    fn encode((stage, errno): Failure) -> [u8; 5] {
        let [a, b, c, d] = errno.raw_os_error().to_ne_bytes();
        [stage as u8, a, b, c, d]
    }

    /// Reads the report of a child; `None` if there was none, since it executed its program.
    pub fn decode(report: &[u8]) -> Option<Failure> {
        let &[stage, a, b, c, d] = report else { return None };
        let stages = [Stage::Prepare, Stage::User, Stage::Sandbox, Stage::Execute];
        let stage = stages.into_iter().find(|known| *known as u8 == stage)?;
        Some((stage, Errno::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]))))
    }
}

/// Forks. The child runs `task` and ends, after it has written its failure to `report` if it failed; if it executes a
/// program, it never returns.
///
/// # Safety
/// `task` may only make system calls and call functions that POSIX lists as async-signal-safe: it must not allocate,
/// lock or unwind.
///
/// # Errors
/// The error of fork(2).
pub unsafe fn fork(report: &OwnedFd, task: impl FnOnce() -> Option<Failure>) -> io::Result<Pid> {
    // A handler of the program must not run in the child, where only few functions may be called.
    let before = change_mask(libc::SIG_SETMASK, &all_signals());
    // JUSTIFICATION: posix_spawn(3) can set neither a parent death signal nor no_new_privs.
    // SAFETY: all the child calls until it executes or exits is safe after a fork of a program with threads, by the
    // requirement on `task`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        if let Some(failure) = task() {
            // It fails if the parent has ended.
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

/// Reaps a child that is about to exit. Fails if SIGCHLD is ignored: then nothing is left to reap either.
pub fn reap_failed(pid: Pid) {
    let _ = rustix::io::retry_on_intr(|| process::waitpid(Some(pid), WaitOptions::empty()));
}
