//! The extension module `capscache._native` of the Python package `capscache`, on the Rust library.
//!
//! Python's side of the package (`python/capscache/`) has the types without code of their own here: errors, states, versions.

#![forbid(unsafe_code)]

mod cache;
mod entry;
mod error;
mod exchange;
mod lists;
mod names;
mod options;
mod pending;
mod python;
mod query;
mod status;
mod views;

/// The calls of the Rust library.
#[pyo3::pymodule]
mod _native {
    use std::path::PathBuf;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::cache::Cache;
    #[pymodule_export]
    use crate::entry::Entry;
    #[pymodule_export]
    use crate::exchange::exchange;
    #[pymodule_export]
    use crate::pending::Pending;
    #[pymodule_export]
    use crate::query::Query;
    #[pymodule_export]
    use crate::views::{CpuModel, Machine, Property};

    use crate::python::path_text;

    /// The version of the package.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "a name of Python's")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Returns the emulators in the directories of PATH and in `/usr/libexec`: executable files that are called
    /// `qemu-system-*` or `qemu-kvm`, in this order and sorted by name within a directory.
    #[pyfunction]
    fn find_emulators(py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let found: Vec<PathBuf> = py.detach(|| capscache::discovery::find_emulators(&[]));
        found.iter().map(|path| path_text(py, path)).collect()
    }

    /// Checks the names of groups, as `Cache.get` does.
    #[pyfunction]
    fn check_groups(groups: Vec<String>) -> PyResult<()> {
        crate::names::groups(&groups).map(drop)
    }

    /// Returns text without characters that a terminal acts on, such as a path for a message.
    #[pyfunction]
    fn escape(text: PathBuf) -> String {
        capscache::Escaped::new(&text).to_string()
    }
}
