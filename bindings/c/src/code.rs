//! Kinds of errors.

use capscache::FailureCause;
use capscache::format::Unanswered;

/// The kind of an error, on which a program can act. Later versions may have further kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ErrorCode {
    /// No error: the code of NULL.
    None = 0,
    /// An argument is NULL, is not UTF-8, or has a number that is not one of its enumeration.
    InvalidArgument = 1,
    /// A query cannot be parsed.
    InvalidQuery = 2,
    /// The directory of the cache cannot be made or read.
    Root = 3,
    /// Another user could have written a directory or an entry of the cache.
    Unsafe = 4,
    /// There is no emulator at the path, or it cannot be examined.
    Emulator = 5,
    /// An entry cannot be read or written.
    Entry = 6,
    /// An entry is damaged; capscache_get() replaces it.
    Damaged = 7,
    /// There is no valid entry, and the call does not probe.
    NoEntry = 8,
    /// The file is not an emulator of QEMU's.
    NotAnEmulator = 9,
    /// The emulator exited, was killed, or broke the protocol.
    Crashed = 10,
    /// The emulator did not answer in time.
    TimedOut = 11,
    /// The kernel or a security module refused to execute the emulator.
    NotPermitted = 12,
    /// The process lacks memory, processes, descriptors or processor time; another one may succeed.
    Shortage = 13,
    /// The probe failed for another cause.
    Probe = 14,
    /// The emulator does not have what was named: the answer is *no*.
    Absent = 15,
    /// The emulator did not report it: the answer is *unknown*.
    Unknown = 16,
    /// The answer is in a group that was not probed; get the entry with it.
    NotProbed = 17,
    /// The library was built without the feature that the call needs.
    Unsupported = 18,
    /// A fault of the library.
    Internal = 19,
}

impl From<FailureCause> for ErrorCode {
    fn from(cause: FailureCause) -> ErrorCode {
        match cause {
            FailureCause::NotAnEmulator => ErrorCode::NotAnEmulator,
            FailureCause::Crashed => ErrorCode::Crashed,
            FailureCause::TimedOut => ErrorCode::TimedOut,
            FailureCause::NotPermitted => ErrorCode::NotPermitted,
            FailureCause::Shortage => ErrorCode::Shortage,
            _ => ErrorCode::Probe,
        }
    }
}

impl From<&Unanswered> for ErrorCode {
    fn from(reason: &Unanswered) -> ErrorCode {
        match reason {
            Unanswered::Absent { .. } => ErrorCode::Absent,
            Unanswered::NotProbed { .. } => ErrorCode::NotProbed,
            _ => ErrorCode::Unknown,
        }
    }
}
