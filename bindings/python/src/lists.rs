//! Lists of names, which an entry builds once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use capscache::format::NameList;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The lists that were requested.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<HashMap<NameList, Py<PyTuple>>>);

impl Lists {
    /// Returns a list, of the names that `names` returns the first time.
    pub(crate) fn get<'py, 'a>(
        &self,
        py: Python<'py>,
        list: NameList,
        names: impl FnOnce(&NameList) -> PyResult<Vec<&'a str>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        if let Some(kept) = self.lock().get(&list) {
            return Ok(kept.bind(py).clone());
        }
        // Not under the lock: what creates an object of Python may let another thread run.
        let made = PyTuple::new(py, names(&list)?)?;
        Ok(self.lock().entry(list).or_insert_with(|| made.unbind()).bind(py).clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NameList, Py<PyTuple>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
