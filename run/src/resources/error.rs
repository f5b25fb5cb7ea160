//! Errors of what an emulator needs from the host.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capscache_format::Escaped;

use crate::error::Place;

/// Error of a file, device or setting that an emulator needs.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// A file or device cannot be used.
    #[error("cannot {verb} {}", Escaped::new(path))]
    Io {
        /// The operation.
        verb: &'static str,
        /// The file or device.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// The host, or this user, cannot do what the guest needs.
    #[error("cannot start the guest: {what}; {remedy}")]
    Host {
        /// The setting, and what the host lacks.
        what: String,
        /// The remedy.
        remedy: String,
    },
    /// The guest needs something from its runner that this release does not do.
    #[error("cannot start the guest: {what} is not supported; remove it from the guest")]
    Unsupported {
        /// The setting.
        what: &'static str,
    },
}

impl ResourceError {
    /// Returns the error of a setting that the host cannot apply.
    pub(crate) fn host(what: impl Into<String>, remedy: impl Into<String>) -> ResourceError {
        ResourceError::Host { what: what.into(), remedy: remedy.into() }
    }

    /// Returns the error of a program that is not there.
    pub(crate) fn missing(program: &Path) -> ResourceError {
        let what = format!("a device needs the program {}, which is not there", program.display());
        ResourceError::host(what, "install it, or remove the device")
    }

    /// Adds the place of the setting.
    pub(crate) fn at(self, place: &Place) -> ResourceError {
        match self {
            ResourceError::Host { what, remedy } => {
                ResourceError::Host { what: format!("{place}: {what}"), remedy }
            }
            ResourceError::Unsupported { what } => ResourceError::Host {
                what: format!("{place}: {what} is not supported"),
                remedy: "remove it from the guest".to_owned(),
            },
            ResourceError::Io { .. } => self,
        }
    }

    pub(crate) fn io(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> ResourceError {
        let path = path.into();
        move |source| ResourceError::Io { verb, path, source: Arc::new(source) }
    }
}
