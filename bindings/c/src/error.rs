//! Errors.

use std::any::Any;
use std::error::Error as StdError;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capscache::format::{QueryError, Unanswered};
use capscache::{Status, chain};

use crate::code::ErrorCode;
use crate::string::{owned, owned_path};

/// The reason why a call failed. Owned by the caller, who frees it with capscache_error_free().
///
/// It does not change: threads may read it at the same time.
#[derive(Debug)]
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
        let state = match status {
            Status::Stale { input, path, recorded, found } if path.as_os_str().is_empty() => {
                format!("the {input} changed: recorded {recorded}, found {found}")
            }
            Status::Stale { input, path, recorded, found } => format!(
                "the {input} {} changed: recorded {recorded}, found {found}",
                capscache::Escaped::new(path)
            ),
            Status::Failed { reason, .. } => format!("the last probe failed: {reason}"),
            status => format!("it is {}", status.name()),
        };
        let emulator_text = capscache::Escaped::new(emulator);
        let message = format!("no valid entry of {emulator_text}: {state}");
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
        let path = path_of(&error).map(|path| owned_path(path));
        Error { path, errno: errno_of(&error), ..Error::new(code, &chain(&error)) }
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

fn path_of(error: &capscache::Error) -> Option<&PathBuf> {
    use capscache::Error as E;
    match error {
        E::Root { path, .. }
        | E::Unsafe { path, .. }
        | E::Emulator { path, .. }
        | E::Entry { path, .. }
        | E::Format { path, .. }
        | E::OtherEmulator { path, .. }
        | E::Failed { path, .. }
        | E::Changing { path }
        | E::Abandoned { path }
        | E::Incomplete { path }
        | E::Model { path, .. } => Some(path),
        #[cfg(feature = "probe")]
        E::Probe { path, .. } => Some(path),
        _ => None,
    }
}

/// Returns the number of the system's error among the causes; 0 if there is none.
fn errno_of(error: &capscache::Error) -> i32 {
    let first: &(dyn StdError + 'static) = error;
    let causes = std::iter::successors(Some(first), |cause| (*cause).source());
    let number = |cause: &(dyn StdError + 'static)| {
        let shared = || cause.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared);
        cause.downcast_ref::<io::Error>().or_else(shared)?.raw_os_error()
    };
    causes.filter_map(number).next().unwrap_or(0)
}

#[cfg(test)]
mod tests {
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
}
