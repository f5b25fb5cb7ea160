//! The types of the package that are written in Python, and values for Python.

use std::ffi::OsStr;
use std::path::Path;

use capscache::Tri;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// A class of the package that is written in Python, imported once.
pub(crate) struct Class {
    module: &'static str,
    name: &'static str,
    found: PyOnceLock<Py<PyType>>,
}

impl Class {
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Class {
        Class { module, name, found: PyOnceLock::new() }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyType>> {
        self.found.import(py, self.module, self.name)
    }
}

pub(crate) static VERSION: Class = Class::new("capscache.model", "Version");
pub(crate) static STATUS: Class = Class::new("capscache.model", "Status");
pub(crate) static LISTED_ENTRY: Class = Class::new("capscache.model", "ListedEntry");

/// Returns an error of a class in `capscache.errors`, with facts as attributes; the error of Python if there is none.
pub(crate) fn raise(
    py: Python<'_>,
    class: &str,
    message: &str,
    facts: &Bound<'_, PyDict>,
) -> PyErr {
    let make = || py.import("capscache.errors")?.getattr(class)?.call((message,), Some(facts));
    make().map_or_else(|error| error, PyErr::from_value)
}

/// A path as Python has it: text, in which bytes that are not UTF-8 are surrogates (`os.fsdecode`).
pub(crate) fn path_text(py: Python<'_>, path: &Path) -> PyResult<Py<PyAny>> {
    let text: &OsStr = path.as_os_str();
    Ok(text.into_pyobject(py)?.into_any().unbind())
}

/// True, False, or None for *unknown*.
pub(crate) fn tri(answer: Tri) -> Option<bool> {
    match answer {
        Tri::Yes => Some(true),
        Tri::No => Some(false),
        Tri::Unknown => None,
    }
}
