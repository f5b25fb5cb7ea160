//! The part of `AsyncCache.get` that Python's event loop drives.

use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use capscache::{Capabilities, Error};
use pyo3::prelude::*;
use rustix::event::{EventfdFlags, eventfd};

use crate::entry::Entry;
use crate::error::of_cache;

type Get = Pin<Box<dyn Future<Output = Result<Capabilities, Error>> + Send>>;

/// An entry that may have to be probed first. Dropping it gives up waiting and leaves the probe to finish for other callers.
#[pyclass(module = "capscache._native", frozen)]
pub(crate) struct Pending {
    get: Mutex<Get>,
    ready: Arc<Ready>,
}

impl Pending {
    pub(crate) fn new(get: Get) -> io::Result<Pending> {
        let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Pending { get: Mutex::new(get), ready: Arc::new(Ready(ready)) })
    }
}

#[pymethods]
impl Pending {
    /// Returns a descriptor that is readable when `poll` is to be called again.
    fn fileno(&self) -> RawFd {
        self.ready.0.as_raw_fd()
    }

    /// Returns the entry if it is there, otherwise None. Not after it returned an entry or failed.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Entry>> {
        let waker = Waker::from(Arc::clone(&self.ready));
        // A thread that finishes a probe may wait for the lock.
        let polled = py.detach(|| {
            let mut get = self.get.lock().unwrap_or_else(PoisonError::into_inner);
            self.ready.clear();
            get.as_mut().poll(&mut Context::from_waker(&waker))
        });
        match polled {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(entry)) => Ok(Some(Entry::new(entry))),
            Poll::Ready(Err(error)) => Err(of_cache(py, &error)),
        }
    }
}

/// Wakes the event loop from the thread of a probe, without Python: the interpreter may be ending, and a thread that
/// runs Python then is a fatal error.
struct Ready(OwnedFd);

impl Ready {
    fn clear(&self) {
        // It fails if there is nothing to read.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        // Fails only if the counter is full, and then the descriptor is readable.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}
