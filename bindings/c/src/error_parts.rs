//! The parts of an error.

use std::ffi::c_char;

use crate::boundary::{free, read};
use crate::code::ErrorCode;
use crate::error::Error;
use crate::string::address;

/// The kind of the error; CAPSCACHE_CODE_NONE for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_error_code(error: Option<&Error>) -> ErrorCode {
    error.map_or(ErrorCode::None, |error| error.code)
}

/// The error and its causes in one line, in UTF-8, without characters that a terminal acts on. Owned by the error.
/// NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_error_message(error: Option<&Error>) -> *const c_char {
    read(error, |error| error.message.as_ptr())
}

/// The file or directory that the error is about, as exact bytes; NULL if there is none. Owned by the error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_error_path(error: Option<&Error>) -> *const c_char {
    read(error, |error| address(error.path.as_ref()))
}

/// The number of the system's error (errno) that is the cause; 0 if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_error_errno(error: Option<&Error>) -> i32 {
    read(error, |error| error.errno)
}

/// Frees an error; does nothing for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_error_free(error: Option<Box<Error>>) {
    free(error);
}
