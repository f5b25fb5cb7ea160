//! Descriptors that a process inherits.

#![expect(unsafe_code, reason = "std takes numbers of descriptors on trust")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Returns a duplicate of an inherited descriptor. The inherited one stays open.
///
/// # Errors
/// EBADF if no descriptor has the number.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // JUSTIFICATION: rustix and std duplicate only descriptors that are known to be open.
    // SAFETY: F_DUPFD_CLOEXEC has no pointer, and fails for a number that is not open.
    let duplicate = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if duplicate < 0 {
        return Err(io::Error::last_os_error());
    }
    // JUSTIFICATION: only libc has returned it.
    // SAFETY: the duplicate is new, open and owned by nothing else.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}
