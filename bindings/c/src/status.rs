//! The state of an entry.

use std::ffi::{CString, c_char};
use std::path::Path;

use crate::boundary::{free, read};
use crate::numbers::State;
use crate::string::{address, owned, owned_path};

/// The state of an emulator's entry. That of capscache_status_of() is owned by the caller, who frees it with
/// capscache_status_free(); that of capscache_list_status() by the list.
///
/// It does not change: threads may read it at the same time.
#[derive(Debug)]
pub struct Status {
    state: State,
    input: Option<CString>,
    path: Option<CString>,
    recorded: Option<CString>,
    reason: Option<CString>,
    retry_in_seconds: u64,
}

impl Status {
    pub(crate) fn new(status: &capscache::Status) -> Status {
        use capscache::Status as S;
        let path = |path: &Path| (!path.as_os_str().is_empty()).then(|| owned_path(path));
        let mut found = Status {
            state: State::from(status),
            input: None,
            path: None,
            recorded: None,
            reason: None,
            retry_in_seconds: 0,
        };
        match status {
            S::Stale { input, path: changed, recorded, found: present } => {
                found.input = Some(owned(input));
                found.path = path(changed);
                found.recorded = Some(owned(recorded));
                found.reason = Some(owned(present));
            }
            S::Damaged { path: file, found: damage }
            | S::Unreadable { path: file, found: damage } => {
                found.path = path(file);
                found.reason = Some(owned(damage));
            }
            S::Failed { reason, retry_in, .. } => {
                found.reason = Some(owned(reason));
                found.retry_in_seconds = retry_in.as_secs();
            }
            _ => {}
        }
        found
    }
}

/// The state; CAPSCACHE_STATE_UNREADABLE for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_status_state(status: Option<&Status>) -> State {
    read(status, |status| status.state)
}

/// The kind of the input that changed, such as `emulator` or `kernel`; NULL if the entry is not stale. Owned by the
/// status.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_status_input(status: Option<&Status>) -> *const c_char {
    read(status, |status| address(status.input.as_ref()))
}

/// The path of the input that changed, or of the file that is damaged or cannot be read; NULL if there is none. Owned by
/// the status.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_status_path(status: Option<&Status>) -> *const c_char {
    read(status, |status| address(status.path.as_ref()))
}

/// The recorded state of the input that changed; NULL if the entry is not stale. Owned by the status.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_status_recorded(status: Option<&Status>) -> *const c_char {
    read(status, |status| address(status.recorded.as_ref()))
}

/// The present state of the input that changed, the damage, or the reason of the failure, in one line; NULL for an entry
/// that is valid or missing. Owned by the status.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_status_reason(status: Option<&Status>) -> *const c_char {
    read(status, |status| address(status.reason.as_ref()))
}

/// The seconds until capscache_get() probes again after a failure, rounded up; 0 without one.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_status_retry_in(status: Option<&Status>) -> u64 {
    read(status, |status| status.retry_in_seconds)
}

/// Frees the status that capscache_status_of() returned; does nothing for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_status_free(status: Option<Box<Status>>) {
    free(status);
}
