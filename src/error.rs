//! The errors between a caller and an answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capscache_format::{Escaped, FailureCause, FormatError, ModelError};

use crate::status::{Failure, Status};

/// The reason why there is no cache, no entry, or no answer.
///
/// Cheap to clone: all callers that wait for one probe get the same error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory of the cache cannot be made or read.
    #[error("cannot use {} as the root of the cache", Escaped::new(path))]
    Root {
        /// The root.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: Arc<io::Error>,
    },
    /// A user who is not trusted could have written a directory or an entry of the cache.
    #[error("cannot trust {}: {}", Escaped::new(path), Escaped::new(why))]
    Unsafe {
        /// The root, a directory above or under it, or an entry.
        path: PathBuf,
        /// The user or mode, and a remedy.
        why: String,
    },
    /// There is no emulator at the path, or it cannot be examined.
    #[error("cannot stat the emulator {}", Escaped::new(path))]
    Emulator {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: Arc<io::Error>,
    },
    /// An entry cannot be read or written.
    #[error("cannot {action} the entry {}", Escaped::new(path))]
    Entry {
        /// The operation that failed: `read`, `write`, `lock`, `remove`.
        action: &'static str,
        /// The entry's file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: Arc<io::Error>,
    },
    /// An entry is damaged or of another version.
    #[error("cannot use the entry {}", Escaped::new(path))]
    Format {
        /// The entry's file.
        path: PathBuf,
        /// The damage.
        #[source]
        source: FormatError,
    },
    /// An entry is at the path of another emulator's: it was copied or renamed there.
    #[error(
        "cannot use the entry {}: it is that of another emulator, {}",
        Escaped::new(path),
        Escaped::new(emulator)
    )]
    OtherEmulator {
        /// The entry's file.
        path: PathBuf,
        /// The emulator that the entry describes.
        emulator: PathBuf,
    },
    /// The emulator could not be probed.
    #[cfg(feature = "probe")]
    #[error("cannot probe {}", Escaped::new(path))]
    Probe {
        /// The emulator.
        path: PathBuf,
        /// The cause, as far as a caller acts on it.
        cause: FailureCause,
        /// The error of the probe.
        #[source]
        source: Arc<capscache_probe::ProbeError>,
    },
    /// A recent probe of the emulator failed, and nothing changed since.
    #[error("cannot probe {}: {failure}", Escaped::new(path))]
    Failed {
        /// The emulator.
        path: PathBuf,
        /// The failure.
        failure: Failure,
    },
    /// The emulator was replaced again and again while it was probed.
    #[error(
        "cannot probe {}: it was replaced during each attempt; retry when it is installed",
        Escaped::new(path)
    )]
    Changing {
        /// The emulator.
        path: PathBuf,
    },
    /// No thread could be started for a probe.
    #[cfg(feature = "probe")]
    #[error("cannot start a thread for the probe")]
    Thread {
        /// The error of the operating system.
        #[source]
        source: Arc<io::Error>,
    },
    /// The probe ended without a result, which is a fault of this library.
    #[error("cannot probe {}: the prober panicked; please report it", Escaped::new(path))]
    Abandoned {
        /// The emulator.
        path: PathBuf,
    },
    /// The answers are incomplete, and a complete entry stays in its place.
    #[error(
        "cannot write the entry of {}: the answers are incomplete and serve this process only",
        Escaped::new(path)
    )]
    Incomplete {
        /// The emulator.
        path: PathBuf,
    },
    /// The answers are too many for an entry.
    #[error("cannot encode the answers of {}", Escaped::new(path))]
    Model {
        /// The emulator.
        path: PathBuf,
        /// The limit that they exceed.
        #[source]
        source: Arc<ModelError>,
    },
}

impl Error {
    pub(crate) fn entry(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Entry { action, path, source: Arc::new(source) }
    }

    pub(crate) fn emulator(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Emulator { path, source: Arc::new(source) }
    }

    /// The cause of a failed probe, as far as a caller acts on it; `None` for an error that is not one of a
    /// probe.
    ///
    /// A [`FailureCause::Shortage`] is one of this process, not of the emulator, and is not remembered: a
    /// process with more memory, processes, descriptors or processor time may succeed.
    pub fn cause(&self) -> Option<FailureCause> {
        match self {
            #[cfg(feature = "probe")]
            Error::Probe { cause, .. } => Some(*cause),
            #[cfg(feature = "probe")]
            Error::Thread { .. } => Some(FailureCause::Shortage),
            Error::Failed { failure, .. } => Some(failure.cause),
            Error::Changing { .. } | Error::Abandoned { .. } | Error::Model { .. } => {
                Some(FailureCause::Other)
            }
            _ => None,
        }
    }

    /// Returns the path that the error is about: a root, an emulator, or the file of an entry.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::Root { path, .. }
            | Error::Unsafe { path, .. }
            | Error::Emulator { path, .. }
            | Error::Entry { path, .. }
            | Error::Format { path, .. }
            | Error::OtherEmulator { path, .. }
            | Error::Failed { path, .. }
            | Error::Changing { path }
            | Error::Abandoned { path }
            | Error::Incomplete { path }
            | Error::Model { path, .. } => Some(path),
            #[cfg(feature = "probe")]
            Error::Probe { path, .. } => Some(path),
            #[cfg(feature = "probe")]
            Error::Thread { .. } => None,
        }
    }

    /// Returns the number of the operating system's error among the causes.
    pub fn os_error(&self) -> Option<i32> {
        let first: &(dyn std::error::Error + 'static) = self;
        let causes = std::iter::successors(Some(first), |cause| (*cause).source());
        let number = |cause: &(dyn std::error::Error + 'static)| {
            let shared = || cause.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared);
            cause.downcast_ref::<io::Error>().or_else(shared)?.raw_os_error()
        };
        causes.filter_map(number).next()
    }

    /// Returns whether the entry is damaged, or that of another emulator: the next `get` replaces it.
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::Format { .. } | Error::OtherEmulator { .. })
    }

    /// Returns the state of an entry that this error is about: [`Status::Damaged`] or [`Status::Unreadable`].
    pub fn status(&self) -> Status {
        let (path, found) = match self {
            Error::Format { path, source } => (path.clone(), chain(source)),
            Error::OtherEmulator { path, emulator } => {
                (path.clone(), format!("it is the entry of {}", Escaped::new(emulator)))
            }
            Error::Entry { path, source, .. } => (path.clone(), chain(source)),
            Error::Unsafe { path, why } => (path.clone(), why.clone()),
            error => (PathBuf::new(), chain(error)),
        };
        match self.is_damage() {
            true => Status::Damaged { path, found },
            false => Status::Unreadable { path, found },
        }
    }
}

/// Returns an error and its causes in one line, escaped, without the numbers of the system's errors.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let messages = causes.filter(|cause| !is_named_by_cause(*cause)).map(|cause| {
        let text = cause.to_string();
        text.rsplit_once(" (os error ").map_or(&*text, |(text, _)| text).to_owned()
    });
    let line = messages.reduce(|line, cause| format!("{line}: {cause}"));
    Escaped::new(&line.unwrap_or_default()).to_string()
}

/// Returns whether an error only names an emulator that its cause names as well.
#[cfg(feature = "probe")]
fn is_named_by_cause(error: &(dyn std::error::Error + 'static)) -> bool {
    match error.downcast_ref() {
        Some(Error::Probe { path, source, .. }) => {
            source.to_string().contains(&Escaped::new(path).to_string())
        }
        _ => false,
    }
}

#[cfg(not(feature = "probe"))]
fn is_named_by_cause(_: &(dyn std::error::Error + 'static)) -> bool {
    false
}
