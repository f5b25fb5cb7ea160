//! Errors of the library as exceptions of `capscache.errors`, with their facts as attributes.

use std::path::Path;

use capscache::format::Unanswered;
use capscache::{Error, Escaped, FailureCause, Status, chain};
use capscache_query::QueryError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::python::{path_text, raise};
use crate::status::status_for;

/// Returns the exception of an error of a cache.
pub(crate) fn of_cache(py: Python<'_>, error: &Error) -> PyErr {
    let make = || {
        let facts = PyDict::new(py);
        if let Some(path) = error.path() {
            facts.set_item("path", path_text(py, path)?)?;
        }
        if let Some(number) = error.os_error() {
            facts.set_item("errno", number)?;
        }
        match error {
            Error::Entry { action, .. } => facts.set_item("action", action)?,
            Error::Failed { failure, .. } => {
                facts.set_item("age", failure.age.as_secs())?;
                facts.set_item("retry_in", failure.retry_in.as_secs())?;
            }
            _ => {}
        }
        if let Some(cause) = error.cause() {
            facts.set_item("cause", cause.name())?;
        }
        Ok(raise(py, class_of(error), &chain(error), &facts))
    };
    make().unwrap_or_else(|error: PyErr| error)
}

/// Returns the exception of an entry that is not there, or that no longer answers for its emulator.
pub(crate) fn of_no_entry(py: Python<'_>, emulator: &Path, status: &Status) -> PyErr {
    let make = || {
        let facts = PyDict::new(py);
        facts.set_item("path", path_text(py, emulator)?)?;
        let status = status_for(py, status)?;
        let message = format!("no valid entry of {}: {}", Escaped::new(emulator), status.str()?);
        facts.set_item("status", status)?;
        Ok(raise(py, "NoEntryError", &message, &facts))
    };
    make().unwrap_or_else(|error: PyErr| error)
}

/// Returns the exception of a getter without a value.
pub(crate) fn of_unanswered(py: Python<'_>, reason: &Unanswered) -> PyErr {
    let make = || {
        let facts = PyDict::new(py);
        let class = match reason {
            Unanswered::Absent { .. } => "AbsentError",
            Unanswered::NotProbed { group, .. } => {
                facts.set_item("group", group.name())?;
                "NotProbedError"
            }
            _ => "UnknownError",
        };
        match reason {
            Unanswered::Absent { what, name }
            | Unanswered::Incomplete { what, name, .. }
            | Unanswered::NotProbed { what, name, .. }
            | Unanswered::NotQueried { what, name }
            | Unanswered::Refused { what, name }
            | Unanswered::Quarantined { what, name } => {
                facts.set_item("what", what)?;
                facts.set_item("name", name)?;
            }
            Unanswered::DidNotRun { accelerator } => {
                facts.set_item("what", "accelerator")?;
                facts.set_item("name", accelerator.name())?;
            }
            _ => {}
        }
        Ok(raise(py, class, &chain(reason), &facts))
    };
    make().unwrap_or_else(|error: PyErr| error)
}

/// Returns the exception of a query that cannot be parsed.
pub(crate) fn of_query(py: Python<'_>, error: &QueryError) -> PyErr {
    raise(py, "InvalidQueryError", &chain(error), &PyDict::new(py))
}

/// Returns the exception of a fault of the library.
pub(crate) fn internal(py: Python<'_>, message: &str) -> PyErr {
    raise(py, "InternalError", message, &PyDict::new(py))
}

fn class_of(error: &Error) -> &'static str {
    match error {
        Error::Root { .. } => "RootError",
        Error::Unsafe { .. } => "UnsafeError",
        Error::Emulator { .. } => "EmulatorError",
        Error::Entry { .. } => "EntryError",
        Error::Format { .. } | Error::OtherEmulator { .. } => "DamagedError",
        Error::Abandoned { .. } => "InternalError",
        error => match error.cause() {
            Some(FailureCause::NotAnEmulator) => "NotAnEmulatorError",
            Some(FailureCause::Crashed) => "CrashedError",
            Some(FailureCause::TimedOut) => "TimedOutError",
            Some(FailureCause::NotPermitted) => "NotPermittedError",
            Some(FailureCause::Shortage) => "ShortageError",
            _ => "ProbeError",
        },
    }
}
