//! What can go wrong between a caller and an answer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use capscache_format::{Escaped, FormatError};

use crate::failure::Failure;

/// Why there is no cache, no entry, or no answer.
///
/// Cheap to clone: everybody who waits for one probe gets the same error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory of the cache cannot be made or read.
    #[error("cannot use {} as the root of the cache: give another one", Escaped::new(path))]
    Root {
        /// The root.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// A directory or an entry of the cache could be written by somebody who is not trusted.
    #[error("{} is not safe to use: {}", Escaped::new(path), Escaped::new(why))]
    Unsafe {
        /// The root, a directory under it, or an entry.
        path: PathBuf,
        /// Who could write it, and what to do.
        why: String,
    },
    /// There is nothing at the path that was asked for, or it cannot be looked at.
    #[error("cannot look at the emulator {}", Escaped::new(path))]
    Emulator {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// An entry cannot be read or written.
    #[error("cannot {action} the entry {}", Escaped::new(path))]
    Entry {
        /// What was to be done: `read`, `write`, `lock`, `remove`.
        action: &'static str,
        /// The entry's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// An entry is damaged or of another version.
    #[error("the entry {} cannot be used", Escaped::new(path))]
    Format {
        /// The entry's file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// An entry lies where that of another emulator belongs: it was copied or renamed there.
    #[error(
        "the entry {} is that of {}, and lies in the place of another",
        Escaped::new(path),
        Escaped::new(emulator)
    )]
    OtherEmulator {
        /// The entry's file.
        path: PathBuf,
        /// The emulator that it is about.
        emulator: PathBuf,
    },
    /// The emulator could not be asked.
    #[cfg(feature = "probe")]
    #[error("cannot probe {}", Escaped::new(path))]
    Probe {
        /// The emulator.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<capscache_probe::ProbeError>,
    },
    /// The emulator could not be asked not long ago, and nothing changed since.
    #[error("cannot probe {}: {failure}", Escaped::new(path))]
    Failed {
        /// The emulator.
        path: PathBuf,
        /// When, and why.
        failure: Failure,
    },
    /// The emulator was replaced again and again while it was probed.
    #[error(
        "{} keeps changing while it is probed: try again when it is installed",
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
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The probe ended without a result, which is a fault of this library.
    #[error("the probe of {} broke off: please report it", Escaped::new(path))]
    Abandoned {
        /// The emulator.
        path: PathBuf,
    },
    /// The answers are incomplete, and those of a complete entry stay in their place.
    #[error("the answers of {} are incomplete and serve this process only", Escaped::new(path))]
    Incomplete {
        /// The emulator.
        path: PathBuf,
    },
    /// The answers are too many for an entry.
    #[error("the answers of {} make no entry", Escaped::new(path))]
    Model {
        /// The emulator.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<capscache_format::ModelError>,
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

    /// Whether what is at the path is no emulator: it cannot be run, or said something else than an
    /// emulator does, or nothing. A failure of an emulator, or of this host, is none of these.
    #[cfg(feature = "probe")]
    pub fn is_no_emulator(&self) -> bool {
        use capscache_probe::{InterviewError, Loss, ProbeError, StartError};
        let source = match self {
            Error::Probe { source, .. } => source,
            Error::Failed { failure, .. } => return failure.no_emulator,
            _ => return false,
        };
        let ProbeError::Interview(InterviewError::Start(error)) = &**source else { return false };
        match error {
            StartError::IsDirectory { .. }
            | StartError::NotExecutable { .. }
            | StartError::WrongFormat { .. }
            | StartError::NotQmp { .. } => true,
            StartError::NoGreeting { source, .. } => {
                !matches!(source, Loss::Silent { .. } | Loss::OutOfTime { .. } | Loss::Io(_))
            }
            _ => false,
        }
    }

    /// Whether the error is about this process, which was short of memory, processes, descriptors or
    /// processor time, and not about the emulator. Such a failure is not remembered.
    #[cfg(feature = "probe")]
    pub fn is_shortage(&self) -> bool {
        match self {
            Error::Thread { .. } => true,
            Error::Probe { source, .. } => {
                matches!(**source, capscache_probe::ProbeError::Start(_))
                    || crate::shortage::is_shown_in(&capscache_probe::chain(&**source))
            }
            _ => false,
        }
    }

    /// Whether the entry is damaged, or that of another emulator, and would be made anew by the next
    /// `get`.
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::Format { .. } | Error::OtherEmulator { .. })
    }
}
