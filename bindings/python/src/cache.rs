//! A cache, and the calls that return entries.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use capscache::probe::{Limits, User};
use capscache::{Error, Lookup, Status};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::entry::Entry;
use crate::error::{of_cache, of_no_entry};
use crate::names::{groups as set_of, validation as checks};
use crate::options::{Id, check_variable, check_writable, duration, limit};
use crate::pending::Pending;
use crate::python::{LISTED_ENTRY, path_text};
use crate::status::status_for;

/// A cache under one root. Threads may use it at the same time; several threads that need one probe share it. Nothing
/// outside the root is written, and no thread runs between calls.
#[pyclass(module = "capscache", frozen)]
pub(crate) struct Cache(RwLock<Option<capscache::Cache>>);

impl Cache {
    fn opened(&self) -> PyResult<capscache::Cache> {
        let cache = self.0.read().unwrap_or_else(PoisonError::into_inner);
        cache.clone().ok_or_else(|| PyValueError::new_err("the cache is closed"))
    }

    /// Does the work of a call while other threads of Python run.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&capscache::Cache) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let cache = self.opened()?;
        py.detach(|| work(&cache)).map_err(|error| of_cache(py, &error))
    }
}

#[pymethods]
impl Cache {
    #[new]
    #[pyo3(signature = (
        root, *, fallbacks=Vec::new(), trusted_owner=None, failure_ttl=None, environment=Vec::new(), writable=Vec::new(),
        start_timeout=None, probe_timeout=None, user=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "named arguments of Python")]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        fallbacks: Vec<PathBuf>,
        trusted_owner: Option<Id>,
        failure_ttl: Option<f64>,
        environment: Vec<(OsString, OsString)>,
        writable: Vec<PathBuf>,
        start_timeout: Option<f64>,
        probe_timeout: Option<f64>,
        user: Option<(Id, Id, Vec<Id>)>,
    ) -> PyResult<Cache> {
        for (name, value) in &environment {
            check_variable(name, value)?;
        }
        for directory in &writable {
            check_writable(directory)?;
        }
        let mut builder =
            capscache::Cache::builder(root).environment(environment).writable(writable);
        for fallback in fallbacks {
            builder = builder.fallback(fallback);
        }
        if let Some(Id(uid)) = trusted_owner {
            builder = builder.trusted_owner(uid);
        }
        if let Some(seconds) = failure_ttl {
            builder = builder.failure_ttl(duration("failure_ttl", seconds)?);
        }
        let mut limits = Limits::default();
        if let Some(seconds) = start_timeout {
            limits = limits.start(limit("start_timeout", seconds)?);
        }
        if let Some(seconds) = probe_timeout {
            limits = limits.probe(limit("probe_timeout", seconds)?);
        }
        builder = builder.limits(limits);
        if let Some((Id(uid), Id(gid), groups)) = user {
            let groups = groups.into_iter().map(|Id(gid)| gid).collect();
            builder = builder.run_as(User { uid, gid, groups });
        }
        let opened = py.detach(|| builder.open());
        Ok(Cache(RwLock::new(Some(opened.map_err(|error| of_cache(py, &error))?))))
    }

    /// The directory of the cache, absolute.
    #[getter]
    fn root(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        path_text(py, self.opened()?.root())
    }

    /// Returns the capabilities of an emulator: from the cache if it has a valid entry, else from one probe, for which the
    /// call waits.
    #[pyo3(signature = (emulator, groups=Vec::new()))]
    fn get(&self, py: Python<'_>, emulator: PathBuf, groups: Vec<String>) -> PyResult<Entry> {
        let groups = set_of(&groups)?;
        self.call(py, |cache| cache.get_with(emulator, groups)).map(Entry::new)
    }

    /// Begins what `AsyncCache.get` waits for.
    fn begin_get(&self, emulator: PathBuf, groups: Vec<String>) -> PyResult<Pending> {
        let (cache, groups) = (self.opened()?, set_of(&groups)?);
        let get = async move { cache.get_with_async(emulator, groups).await };
        Ok(Pending::new(Box::pin(get))?)
    }

    /// Returns the valid entry of an emulator, and never probes.
    #[pyo3(signature = (emulator, validation="fast"))]
    fn lookup(&self, py: Python<'_>, emulator: PathBuf, validation: &str) -> PyResult<Entry> {
        let checks = checks(validation)?;
        match self.call(py, |cache| cache.lookup_with(&emulator, checks))? {
            Lookup::Hit(entry) => Ok(Entry::new(entry)),
            other => Err(of_no_entry(py, &emulator, &other.into())),
        }
    }

    /// Returns the entry of an emulator without any check of what it depends on: its answers may be stale.
    fn get_unchecked(&self, py: Python<'_>, emulator: PathBuf) -> PyResult<Entry> {
        let found = self.call(py, |cache| cache.entry(&emulator))?;
        found.map(Entry::new).ok_or_else(|| of_no_entry(py, &emulator, &Status::Missing))
    }

    /// Checks the entry of an emulator thoroughly, drops what does not hold, also a failure that is remembered, and returns
    /// a valid one: probed again if needed.
    #[pyo3(signature = (emulator, groups=Vec::new()))]
    fn refresh(&self, py: Python<'_>, emulator: PathBuf, groups: Vec<String>) -> PyResult<Entry> {
        let groups = set_of(&groups)?;
        self.call(py, |cache| cache.refresh(emulator, groups)).map(Entry::new)
    }

    /// Returns the state of the entry of an emulator. Never probes. A damaged entry is a state, not an error.
    #[pyo3(signature = (emulator, validation="fast"))]
    fn status<'py>(
        &self,
        py: Python<'py>,
        emulator: PathBuf,
        validation: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let checks = checks(validation)?;
        status_for(py, &self.call(py, |cache| cache.status(emulator, checks))?)
    }

    /// Checks all entries of the cache and returns them, ordered by the paths of their emulators.
    fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let listed = self.call(py, capscache::Cache::list)?;
        let items = listed.into_iter().map(|one| {
            let (emulator, status, entry) = match one {
                Ok(one) => {
                    let emulator = path_text(py, &one.capabilities.emulator())?;
                    (Some(emulator), one.status(), Some(Entry::new(one.capabilities)))
                }
                Err(error) => (None, error.status(), None),
            };
            let facts = PyDict::new(py);
            facts.set_item("entry", entry)?;
            LISTED_ENTRY.get(py)?.call((emulator, status_for(py, &status)?), Some(&facts))
        });
        PyTuple::new(py, items.collect::<PyResult<Vec<_>>>()?)
    }

    /// Removes the entry of an emulator, and a failure that is remembered. Entries that were returned before stay readable.
    /// Returns whether there was an entry.
    fn invalidate(&self, py: Python<'_>, emulator: PathBuf) -> PyResult<bool> {
        self.call(py, |cache| cache.invalidate(emulator))
    }

    /// Removes all entries and all failures that are remembered. Returns the number of entries.
    fn invalidate_all(&self, py: Python<'_>) -> PyResult<usize> {
        self.call(py, capscache::Cache::invalidate_all)
    }

    /// Closes the cache; later calls raise ValueError. Entries that it returned stay readable, and a call in progress ends as
    /// usual.
    fn close(&self, py: Python<'_>) {
        let cache = self.0.write().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(cache));
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().opened()?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.close(py);
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        match self.opened() {
            Ok(cache) => {
                let root = path_text(py, cache.root())?;
                Ok(format!("<capscache.Cache {}>", root.bind(py).repr()?))
            }
            Err(_) => Ok("<capscache.Cache, closed>".to_owned()),
        }
    }
}
