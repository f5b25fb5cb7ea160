//! Queries in text form.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::error::of_query;

/// A parsed query, to be answered many times or by many entries: `machine:q35`, `cpu:EPYC@kvm`, `device:virtio-blk-pci`,
/// `property:virtio-blk-pci.queue-size`, `schema:blockdev-add/arg-type/+file/aio/^io_uring`, `version:>=8.2`.
#[pyclass(module = "capscache", frozen, eq, hash)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Query(pub(crate) capscache::Query);

#[pymethods]
impl Query {
    #[new]
    fn new(py: Python<'_>, text: &str) -> PyResult<Query> {
        text.parse().map(Query).map_err(|error| of_query(py, &error))
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("capscache.Query({:?})", self.0.to_string())
    }
}

/// Calls `answer` with a query that was given as text or parsed before.
pub(crate) fn with_query<T>(
    given: &Bound<'_, PyAny>,
    answer: impl FnOnce(&capscache::Query) -> T,
) -> PyResult<T> {
    if let Ok(query) = given.cast::<Query>() {
        return Ok(answer(&query.get().0));
    }
    match given.cast::<PyString>() {
        Ok(text) => Ok(answer(&Query::new(given.py(), &text.to_cow()?)?.0)),
        Err(_) => Err(PyTypeError::new_err("a query is text or a capscache.Query")),
    }
}
