//! Options of a cache, checked before it is opened.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use capscache::probe::Limits;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

/// The number of a user or a group.
pub(crate) struct Id(pub(crate) u32);

impl<'py> FromPyObject<'_, 'py> for Id {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Id> {
        let given = &*given;
        let invalid = || PyValueError::new_err(format!("{given} is not a valid uid or gid"));
        match given.extract::<u32>() {
            // To the kernel this one means that nothing is to change.
            Ok(u32::MAX) => Err(invalid()),
            Ok(id) => Ok(Id(id)),
            Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => Err(invalid()),
            Err(error) => Err(error),
        }
    }
}

/// The time of so many seconds.
pub(crate) fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    let invalid = |error| PyValueError::new_err(format!("{name}: {error}"));
    Duration::try_from_secs_f64(seconds).map_err(invalid)
}

/// The time that a probe may take.
pub(crate) fn limit(name: &str, seconds: f64) -> PyResult<Duration> {
    match duration(name, seconds)? {
        time if time > Limits::LONGEST => {
            let most = Limits::LONGEST.as_secs();
            Err(PyValueError::new_err(format!("{name} is longer than {most} seconds")))
        }
        time => Ok(time),
    }
}

/// Checks a variable of the environment.
pub(crate) fn check_variable(name: &OsStr, value: &OsStr) -> PyResult<()> {
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(PyValueError::new_err("environment: name is empty or has a `=`"));
    }
    check_nul("environment: name", name)?;
    check_nul("environment: value", value)
}

/// Checks a directory that emulators may write to.
pub(crate) fn check_writable(directory: &Path) -> PyResult<()> {
    if directory.as_os_str().is_empty() {
        return Err(PyValueError::new_err("writable: directory is empty"));
    }
    check_nul("writable: directory", directory.as_os_str())
}

fn check_nul(what: &str, text: &OsStr) -> PyResult<()> {
    match text.as_bytes().contains(&0) {
        true => Err(PyValueError::new_err(format!("{what} has a NUL"))),
        false => Ok(()),
    }
}
