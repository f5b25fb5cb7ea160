//! Errors.

use std::any::Any;
use std::ffi::CString;
use std::path::Path;

use capscache::format::Unanswered;
use capscache::{Status, chain};
use capscache_query::QueryError;

use crate::code::ErrorCode;
use crate::string::{owned, owned_path};

/// The reason why a call failed. Owned by the caller, who frees it with capscache_error_free().
///
/// It does not change: threads may read it at the same time.
#[derive(Clone, Debug)]
pub struct Error {
    pub(crate) code: ErrorCode,
    pub(crate) message: CString,
    pub(crate) path: Option<CString>,
    pub(crate) errno: i32,
}

impl Error {
    fn new(code: ErrorCode, message: &str) -> Error {
        Error { code, message: owned(message), path: None, errno: 0 }
    }

    /// An argument that cannot be used.
    pub(crate) fn invalid(message: &str) -> Error {
        Error::new(ErrorCode::InvalidArgument, &format!("invalid argument: {message}"))
    }

    /// The error with the name of the call that it belongs to, if another call reports it.
    pub(crate) fn in_call(self, name: &str) -> Error {
        let message = owned(&format!("{name}: {}", self.message.to_string_lossy()));
        Error { message, ..self }
    }

    /// A handle that is NULL.
    pub(crate) fn null(name: &str) -> Error {
        Error::invalid(&format!("{name} is NULL"))
    }

    /// A call that needs a feature of the build.
    #[cfg(not(feature = "probe"))]
    pub(crate) fn unsupported() -> Error {
        Error::new(
            ErrorCode::Unsupported,
            "this library only reads entries: it was built without the feature `probe`",
        )
    }

    /// An entry that is not there, or that no longer answers for its emulator.
    pub(crate) fn no_entry(emulator: &Path, status: &Status) -> Error {
        let emulator_text = capscache::Escaped::new(emulator);
        let message = format!("no valid entry of {emulator_text}: {status}");
        Error { path: Some(owned_path(emulator)), ..Error::new(ErrorCode::NoEntry, &message) }
    }

    /// A value that an entry does not have.
    pub(crate) fn absent(message: &str) -> Error {
        Error::new(ErrorCode::Absent, message)
    }

    /// A panic, which is a fault of the library.
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Error {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message");
        Error::internal(&format!("the library panicked: {text}; please report it"))
    }

    /// A fault of the library.
    pub(crate) fn internal(message: &str) -> Error {
        Error::new(ErrorCode::Internal, message)
    }
}

impl From<capscache::Error> for Error {
    fn from(error: capscache::Error) -> Error {
        use capscache::Error as E;
        let code = match &error {
            E::Root { .. } => ErrorCode::Root,
            E::Unsafe { .. } => ErrorCode::Unsafe,
            E::Emulator { .. } => ErrorCode::Emulator,
            E::Entry { .. } => ErrorCode::Entry,
            E::Format { .. } | E::OtherEmulator { .. } => ErrorCode::Damaged,
            E::Abandoned { .. } => ErrorCode::Internal,
            error => error.cause().map_or(ErrorCode::Probe, ErrorCode::from),
        };
        let path = error.path().map(owned_path);
        Error { path, errno: error.os_error().unwrap_or(0), ..Error::new(code, &chain(&error)) }
    }
}

impl From<Unanswered> for Error {
    fn from(reason: Unanswered) -> Error {
        Error::new(ErrorCode::from(&reason), &chain(&reason))
    }
}

impl From<QueryError> for Error {
    fn from(error: QueryError) -> Error {
        Error::new(ErrorCode::InvalidQuery, &chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_error_has_the_path_and_the_number_of_the_system() {
        let source = Arc::new(io::Error::from_raw_os_error(13));
        let error = Error::from(capscache::Error::Root { path: "/a\u{1b}".into(), source });
        assert_eq!((error.code, error.errno), (ErrorCode::Root, 13));
        assert_eq!(error.path.unwrap().to_bytes(), b"/a\x1b");
        let message = error.message.to_str().unwrap();
        assert_eq!(message, r"cannot use /a\x1b as the root of the cache: Permission denied");
    }

    #[test]
    fn what_changed_is_escaped_in_the_message() {
        let status = Status::Stale {
            input: "environment".into(),
            path: "".into(),
            recorded: "A=\u{1b}".to_owned(),
            found: "none".to_owned(),
        };
        let error = Error::no_entry("/q".as_ref(), &status);
        let expected =
            r"no valid entry of /q: the environment changed: recorded A=\x1b, found none";
        assert_eq!(error.message.to_str().unwrap(), expected);
    }
}
