//! A process between the prober and an emulator that ends after all descendants of the emulator: the kernel makes it
//! the parent of orphaned ones (a subreaper, prctl(2)), and it ends when none is left.
//!
//! This takes no privileges, as cgroups and PID namespaces do. Like everything between fork and exec it must not
//! allocate.

use std::ffi::{c_int, c_uint};
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    self, Pid, Resource, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus,
};

use capscache_process::exec::{MAX_CLOSED_FD, limit};
use capscache_process::signals::{change_mask, reset_signals, signal_set};
use capscache_process::{Failure, Stage, fork};

/// The time that killed processes have to end before the children are listed again.
const POLL_INTERVAL: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// Bound on lists in a row without any of the children that are left: `/proc` does not show them.
const MAX_EMPTY_LISTS: u32 = 20;

/// Starts an emulator as a child, waits until it ends or SIGTERM comes, kills all of its descendants, and ends as the
/// emulator did. Only returns if it could not start the child. SIGTERM also comes when the thread of `parent` that
/// forked this process ends, for any reason.
pub(super) fn supervise(
    parent: Pid,
    report: &OwnedFd,
    become_emulator: impl FnOnce(Pid) -> Failure,
) -> Failure {
    match start(parent, report, become_emulator) {
        Ok(child) => {
            // So that the prober reads the end of the report, and no lock of the prober's is held.
            close_all();
            end_as(kill_descendants(child))
        }
        Err(errno) => (Stage::Prepare, errno),
    }
}

fn start(
    parent: Pid,
    report: &OwnedFd,
    become_emulator: impl FnOnce(Pid) -> Failure,
) -> Result<Pid, Errno> {
    // Signals of a terminal to its foreground are for the prober.
    process::setsid()?;
    let own = process::getpid();
    process::set_child_subreaper(Some(own))?;
    process::set_parent_process_death_signal(Some(Signal::TERM))?;
    // The parent may have died before the signal was set.
    if process::getppid() != Some(parent) {
        return Err(Errno::SRCH);
    }
    // If the program ignores SIGCHLD, the kernel would reap children, and none could be waited for.
    reset_signals();
    // JUSTIFICATION: a supervisor is a process of its own.
    // SAFETY: what becomes the emulator allocates nothing.
    let child = unsafe { fork(report, || Some(become_emulator(own))) };
    child.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Waits until the child ends or SIGTERM comes, kills all descendants and waits until they have ended; returns how the
/// child ended.
fn kill_descendants(child: Pid) -> Option<WaitStatus> {
    let awaited = signal_set(&[libc::SIGCHLD, libc::SIGTERM]);
    let mut status = None;
    let mut is_left = true;
    while is_left && status.is_none() && wait(&awaited, None) != libc::SIGTERM {
        is_left = reap(child, &mut status);
    }
    let mut empty_lists = 0;
    while is_left && empty_lists < MAX_EMPTY_LISTS {
        if status.is_none() {
            let _ = process::kill_process_group(child, Signal::KILL);
            let _ = process::kill_process(child, Signal::KILL);
        } else {
            // A list may miss a process that forks without end, but not many lists in a row.
            empty_lists = if kill_children() { 0 } else { empty_lists + 1 };
        }
        wait(&awaited, Some(&POLL_INTERVAL));
        is_left = reap(child, &mut status);
    }
    status
}

/// Reaps the children that have ended; returns whether there are children left.
fn reap(child: Pid, status: &mut Option<WaitStatus>) -> bool {
    loop {
        match process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, ended))) if pid == child => *status = Some(ended),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Kills all children; returns whether any was found. Their children become children of this process when they end.
fn kill_children() -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(list) = rustix::fs::open(c"/proc/thread-self/children", flags, Mode::empty()) else {
        return false;
    };
    let mut is_found = false;
    let (mut number, mut bytes) = (0_i32, [0_u8; 1024]);
    while let Ok(count @ 1..) = rustix::io::read(&list, &mut bytes) {
        for byte in bytes.iter().take(count) {
            if byte.is_ascii_digit() {
                number = number.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
            } else {
                is_found |= Pid::from_raw(std::mem::take(&mut number)).is_some_and(kill);
            }
        }
    }
    is_found
}

/// Kills a process if it is a child: in a PID namespace that has the `/proc` of another one, a number there is that of
/// another process.
fn kill(pid: Pid) -> bool {
    let flags = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    process::waitid(WaitId::Pid(pid), flags).is_ok()
        && process::kill_process(pid, Signal::KILL).is_ok()
}

/// Waits for one of these signals, which are blocked; for `patience` at most. Negative if none came.
fn wait(signals: &libc::sigset_t, patience: Option<&libc::timespec>) -> c_int {
    let patience = patience.map_or(ptr::null(), ptr::from_ref);
    // JUSTIFICATION: std has no signals.
    // SAFETY: the set and the time are valid or null, and nothing is written.
    unsafe { libc::sigtimedwait(signals, ptr::null_mut(), patience) }
}

/// Closes every descriptor.
fn close_all() {
    // JUSTIFICATION: neither std nor rustix has close_range(2), and not every libc has it.
    // SAFETY: nothing that owns a descriptor is used or dropped in this process any more.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 0, c_uint::MAX, 0) };
    if done == 0 {
        return;
    }
    // Linux before 5.9, or a seccomp filter that refuses the call.
    let end = process::getrlimit(Resource::Nofile).current.unwrap_or(MAX_CLOSED_FD);
    for fd in 0..c_int::try_from(end.min(MAX_CLOSED_FD)).unwrap_or(c_int::MAX) {
        // JUSTIFICATION: the same.
        // SAFETY: as above; a number without a descriptor fails with EBADF.
        unsafe { libc::close(fd) };
    }
}

/// Ends this process with the same exit status or signal.
fn end_as(status: Option<WaitStatus>) -> ! {
    if let Some(signal) = status.and_then(WaitStatus::terminating_signal) {
        let _ = limit(Resource::Core, 0, 0);
        // JUSTIFICATION: std has no signals.
        // SAFETY: the signal's action is the default one, which ends this process.
        unsafe { libc::kill(libc::getpid(), signal) };
        change_mask(libc::SIG_UNBLOCK, &signal_set(&[signal]));
    }
    let code = status.and_then(WaitStatus::exit_status).unwrap_or(127);
    // JUSTIFICATION: exit(3) would run what the program registered for its own end.
    // SAFETY: _exit(2) may be called at any time.
    unsafe { libc::_exit(code) }
}
