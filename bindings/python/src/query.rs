//! Queries in text form.

use capscache_libvirt::Release;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::error::of_query;

/// A parsed query, to be answered many times or by many entries: `machine:q35`, `cpu:EPYC@kvm`, `device:virtio-blk-pci`,
/// `property:virtio-blk-pci.queue-size`, `schema:blockdev-add/arg-type/+file/aio/^io_uring`, `version:>=8.2`,
/// `flag:virtio-gpu`, `firmware:uefi,secure-boot`.
#[pyclass(module = "capscache", frozen, eq, hash)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Query(pub(crate) capscache_query::Query);

#[pymethods]
impl Query {
    #[new]
    #[pyo3(signature = (text, *, libvirt=None))]
    fn new(py: Python<'_>, text: &str, libvirt: Option<&str>) -> PyResult<Query> {
        let parsed = match libvirt.map(Release::parse).transpose() {
            Ok(Some(release)) => capscache_query::Query::parse(text, || Ok(release)),
            Ok(None) => text.parse(),
            Err(error) => return Err(PyValueError::new_err(error.to_string())),
        };
        parsed.map(Query).map_err(|error| of_query(py, &error))
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("capscache.Query({:?})", self.0.to_string())
    }
}

/// Calls `answer` with a query that was given as text or parsed before, and lets other threads of Python run if the answer is
/// not a matter of a few searches.
pub(crate) fn with_query<T: Send>(
    given: &Bound<'_, PyAny>,
    answer: impl FnOnce(&capscache_query::Query) -> T + Send,
) -> PyResult<T> {
    let py = given.py();
    let answer = |query: &capscache_query::Query| match query.is_quick() {
        true => answer(query),
        false => py.detach(|| answer(query)),
    };
    if let Ok(query) = given.cast::<Query>() {
        return Ok(answer(&query.get().0));
    }
    match given.cast::<PyString>() {
        Ok(text) => Ok(answer(&Query::new(py, &text.to_cow()?, None)?.0)),
        Err(_) => Err(PyTypeError::new_err("a query is text or a capscache.Query")),
    }
}
