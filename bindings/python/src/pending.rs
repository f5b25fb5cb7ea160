//! The part of `AsyncCache.get` that Python's event loop drives.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use capscache::{Capabilities, Error};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::entry::Entry;
use crate::error::of_cache;

type Get = Pin<Box<dyn Future<Output = Result<Capabilities, Error>> + Send>>;

/// An entry that may have to be probed first. Dropping it gives up waiting and leaves the probe to finish for other callers.
#[pyclass(module = "capscache._native", frozen)]
pub(crate) struct Pending(Mutex<Get>);

impl Pending {
    pub(crate) fn new(get: Get) -> Pending {
        Pending(Mutex::new(get))
    }
}

#[pymethods]
impl Pending {
    /// Returns the entry if it is there. Otherwise returns None, and calls `wake` without arguments, on any thread, when
    /// this is to be called again. Not after it returned an entry or failed.
    fn poll(&self, py: Python<'_>, wake: Py<PyAny>) -> PyResult<Option<Entry>> {
        let waker = Waker::from(Arc::new(CallPython(wake)));
        // A thread that finishes a probe may wait for the interpreter, and this one for that thread.
        let polled = py.detach(|| {
            let mut get = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            get.as_mut().poll(&mut Context::from_waker(&waker))
        });
        match polled {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(entry)) => Ok(Some(Entry::new(entry))),
            Poll::Ready(Err(error)) => Err(of_cache(py, &error)),
        }
    }
}

struct CallPython(Py<PyAny>);

impl Wake for CallPython {
    fn wake(self: Arc<Self>) {
        // Nothing waits any more when the interpreter ends.
        Python::try_attach(|py| match self.0.call0(py) {
            // Nor when the loop was closed.
            Err(error) if !error.is_instance_of::<PyRuntimeError>(py) => {
                error.write_unraisable(py, Some(self.0.bind(py)));
            }
            _ => {}
        });
    }
}
