//! The state of an entry, as `capscache.Status`.

use std::path::Path;

use capscache::Status;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::python::{STATUS, path_text};

/// Returns a `capscache.Status`.
pub(crate) fn status_for<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyAny>> {
    let facts = PyDict::new(py);
    let set_path = |path: &Path| match path.as_os_str().is_empty() {
        true => Ok(()),
        false => facts.set_item("path", path_text(py, path)?),
    };
    match status {
        Status::Stale { input, path, recorded, found } => {
            facts.set_item("input", &**input)?;
            set_path(path)?;
            facts.set_item("recorded", recorded)?;
            facts.set_item("reason", found)?;
        }
        Status::Damaged { path, found } | Status::Unreadable { path, found } => {
            set_path(path)?;
            facts.set_item("reason", found)?;
        }
        Status::Failed { reason, age, retry_in } => {
            facts.set_item("reason", reason)?;
            facts.set_item("age", age.as_secs())?;
            facts.set_item("retry_in", retry_in.as_secs())?;
        }
        _ => {}
    }
    STATUS.get(py)?.call((status.name(),), Some(&facts))
}
