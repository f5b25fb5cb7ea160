//! Classifies the error of a probe by what a caller can do about it.

use std::path::Path;
use std::sync::Arc;

use capscache_format::FailureCause;
use capscache_probe::{ExchangeError, ProbeError, SessionError, StartError};

use super::shortage;
use crate::error::{Error, chain};
use crate::file::is_program;

/// The error of a probe of an emulator.
pub(super) fn probe_error(emulator: &Path, source: ProbeError) -> Error {
    let cause = cause_of(&source);
    Error::Probe { path: emulator.to_owned(), cause, source: Arc::new(source) }
}

/// Returns whether an error may be one of this process, such as a lack of memory or time: another probe may
/// succeed at any time, so it is not remembered.
pub(super) fn is_transient(error: &ProbeError) -> bool {
    matches!(error, ProbeError::Start(_)) || shortage::shows_shortage(&chain(error))
}

fn cause_of(error: &ProbeError) -> FailureCause {
    if error.timed_out().is_some() {
        return FailureCause::TimedOut;
    }
    if is_transient(error) {
        return FailureCause::Shortage;
    }
    match error {
        ProbeError::Exchange(ExchangeError::Start(error)) => cause_of_start(error),
        ProbeError::Exchange(ExchangeError::Replaced) => FailureCause::Other,
        ProbeError::Exchange(_) => FailureCause::Crashed,
        _ => FailureCause::Other,
    }
}

fn cause_of_start(error: &StartError) -> FailureCause {
    match error {
        // With an execute permission, a mount or a security module refused it.
        StartError::NotExecutable { path, .. } if is_program(path) => FailureCause::NotPermitted,
        StartError::IsDirectory { .. }
        | StartError::NotExecutable { .. }
        | StartError::WrongFormat { .. }
        | StartError::NotQmp { .. } => FailureCause::NotAnEmulator,
        StartError::NotPermitted { .. } | StartError::User { .. } => FailureCause::NotPermitted,
        StartError::NoGreeting { cause, .. } => match cause {
            SessionError::Silent { .. } | SessionError::OutOfTime { .. } => FailureCause::TimedOut,
            SessionError::Io(_) => FailureCause::Other,
            _ => FailureCause::NotAnEmulator,
        },
        StartError::NoMonitor { .. } | StartError::NotReady { .. } => FailureCause::Crashed,
        _ => FailureCause::Other,
    }
}
