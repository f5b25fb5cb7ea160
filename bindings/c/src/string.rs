//! Strings of C that the library owns.

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// Returns text as a string of C. A zero byte, which would end it there, is replaced by U+FFFD: no name of QEMU's has one.
pub(crate) fn owned(text: &str) -> CString {
    match CString::new(text) {
        Ok(text) => text,
        Err(_) => CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default(),
    }
}

/// Returns a path as a string of C; a path has no zero bytes.
pub(crate) fn owned_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// Returns the address of a string, NULL if there is none.
pub(crate) fn address(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_byte_does_not_end_text_early() {
        assert_eq!(owned("a\0b").to_str().unwrap(), "a\u{fffd}b");
    }
}
