//! The version of the library.

use std::ffi::{CStr, c_char};

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// The version of the library that runs, such as `0.1.0`. Never freed.
///
/// CAPSCACHE_VERSION is that of the header: a program runs with a library of that version or of any later one of the
/// same name (libcapscache.so.0).
#[unsafe(no_mangle)]
pub extern "C" fn capscache_version() -> *const c_char {
    VERSION.as_ptr()
}
