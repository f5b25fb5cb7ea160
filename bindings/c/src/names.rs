//! Lists of names.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::atomic::AtomicPtr;

use crate::string::owned;

/// Strings of C, and their addresses with a NULL behind the last one.
#[derive(Debug)]
pub(crate) struct Names {
    /// Owners of what the addresses point to.
    _strings: Vec<CString>,
    /// Has the layout of pointers; threads may share it.
    addresses: Vec<AtomicPtr<c_char>>,
}

impl Names {
    pub(crate) fn new(strings: Vec<CString>) -> Names {
        // Never written: the header has them as `const`.
        let address = |text: &CString| AtomicPtr::new(text.as_ptr().cast_mut());
        let end = std::iter::once(AtomicPtr::new(ptr::null_mut()));
        let addresses = strings.iter().map(address).chain(end).collect();
        Names { _strings: strings, addresses }
    }

    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
        Names::new(names.into_iter().map(owned).collect())
    }

    pub(crate) fn address(&self) -> *const *const c_char {
        self.addresses.as_ptr().cast()
    }
}
