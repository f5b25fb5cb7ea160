//! Text that comes from C.

use std::ffi::{CStr, OsStr, c_char};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Error;

/// A string of the caller's, which may be NULL: `const char *` in the header.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Text<'a>(*const c_char, PhantomData<&'a CStr>);

impl<'a> Text<'a> {
    /// Returns the string; `None` for NULL.
    pub(crate) fn optional(self) -> Option<Text<'a>> {
        (!self.0.is_null()).then_some(self)
    }

    /// Returns the bytes of the string; `name` is the parameter's.
    ///
    /// # Errors
    /// An invalid argument for NULL.
    pub(crate) fn bytes(self, name: &str) -> Result<&'a [u8], Error> {
        if self.0.is_null() {
            return Err(Error::null(name));
        }
        // JUSTIFICATION: C passes the address of a string and not its length.
        // SAFETY: only C makes a `Text`, as an argument that the header documents as NULL or as a string that ends with a
        // zero byte and does not change during the call. What remains is a caller that breaks this, as with any
        // function of C.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes())
    }

    /// Returns the string as text.
    ///
    /// # Errors
    /// An invalid argument for NULL, and for bytes that are not UTF-8.
    pub(crate) fn utf8(self, name: &str) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes(name)?)
            .map_err(|_| Error::invalid(&format!("{name} is not UTF-8")))
    }

    /// Returns the string as a path, which has any bytes.
    ///
    /// # Errors
    /// An invalid argument for NULL, and for an empty path.
    pub(crate) fn path(self, name: &str) -> Result<&'a Path, Error> {
        match self.bytes(name)? {
            [] => Err(Error::invalid(&format!("{name} is empty"))),
            bytes => Ok(Path::new(OsStr::from_bytes(bytes))),
        }
    }
}
