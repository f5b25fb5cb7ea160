//! The errors between a caller and an answer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use capscache_format::{Escaped, FailureCause, FormatError, ModelError};

use crate::status::Failure;
use crate::trust::{Distrust, Untrusted};

/// The reason why there is no cache, no entry, or no answer.
///
/// Cheap to clone: all callers that wait for one probe get the same error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory of the cache cannot be made or read.
    #[error("cannot use {} as the root of the cache: give another one", Escaped::new(path))]
    Root {
        /// The root.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: Arc<io::Error>,
    },
    /// A user who is not trusted could have written a directory or an entry of the cache.
    #[error("{} is not safe to use: {}", Escaped::new(path), Escaped::new(why))]
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
        "cannot probe {}: it keeps changing meanwhile; try again when it is installed",
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
    #[error("cannot make an entry of the answers of {}", Escaped::new(path))]
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

    /// Returns whether the entry is damaged, or that of another emulator: the next `get` replaces it.
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::Format { .. } | Error::OtherEmulator { .. })
    }
}

impl From<Untrusted> for Error {
    fn from(Untrusted { path, distrust }: Untrusted) -> Error {
        let why = match distrust {
            Distrust::Owner(owner) => format!(
                "it belongs to the user {owner}, who is neither root nor you: trust that user by name, or \
                 use another root"
            ),
            Distrust::Writable(mode) => format!(
                "its mode {mode:o} lets others write to it: `chmod go-w` it, or use a directory in it that \
                 only you may write to"
            ),
            Distrust::NotSearchable => format!("it {distrust}: use another root"),
        };
        Error::Unsafe { path, why }
    }
}
