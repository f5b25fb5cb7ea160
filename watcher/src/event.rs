//! Events that a watcher reports.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use capscache::Escaped;
use serde::{Serialize, Serializer};

/// A change of an emulator's entry, or of the watcher's own state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A new emulator was found.
    Appeared {
        /// Its path.
        #[serde(serialize_with = "lossy")]
        emulator: PathBuf,
    },
    /// An entry became stale and was dropped.
    Dropped {
        /// The emulator.
        #[serde(serialize_with = "lossy")]
        emulator: PathBuf,
        /// The change, in one line.
        reason: String,
    },
    /// An entry is valid again, or new.
    Refreshed {
        /// The emulator.
        #[serde(serialize_with = "lossy")]
        emulator: PathBuf,
        /// True if the watcher probed it; if not, only time stamps had changed, or another process
        /// probed it.
        probed: bool,
        /// The time that took; in JSON `milliseconds`.
        #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
        took: Duration,
    },
    /// An emulator could not be checked or probed.
    Failed {
        /// The emulator.
        #[serde(serialize_with = "lossy")]
        emulator: PathBuf,
        /// The reason, in one line.
        reason: String,
    },
    /// A change of the watcher's own state.
    Notice(Notice),
}

/// A change of the watcher's own state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "notice", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Notice {
    /// Everything was checked once, and changes from now on are noticed.
    Watching {
        /// The number of valid entries.
        entries: usize,
        /// The number of directories that are watched for them.
        directories: usize,
    },
    /// The kernel dropped events: everything is checked again.
    Overflow,
    /// Watched directories were removed, renamed or unmounted: everything is checked again.
    Lost {
        /// The directories.
        #[serde(serialize_with = "all_lossy")]
        directories: Vec<PathBuf>,
    },
    /// A file system was mounted or unmounted on a watched path: everything is checked again.
    Mounted,
    /// The directory of the entries cannot be read: entries that were read before stay watched.
    Unreadable {
        /// The reason, in one line.
        reason: String,
    },
    /// Not everything can be watched: a sweep checks everything from time to time.
    Sweeping {
        /// The number of directories that report no changes, or not all.
        directories: usize,
        /// The reason, in one line.
        reason: String,
        /// The interval; in JSON `every-milliseconds`.
        #[serde(rename = "every-milliseconds", serialize_with = "milliseconds")]
        every: Duration,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Appeared { emulator } => write!(f, "appeared {}", Escaped::new(emulator)),
            Event::Dropped { emulator, reason } => {
                write!(f, "dropped {}: {}", Escaped::new(emulator), Escaped::new(reason))
            }
            Event::Refreshed { emulator, probed: true, took } => {
                let milliseconds = took.as_millis();
                write!(f, "refreshed {}: probed in {milliseconds} ms", Escaped::new(emulator))
            }
            Event::Refreshed { emulator, .. } => write!(f, "refreshed {}", Escaped::new(emulator)),
            Event::Failed { emulator, reason } => {
                write!(f, "failed {}: {}", Escaped::new(emulator), Escaped::new(reason))
            }
            Event::Notice(notice) => notice.fmt(f),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Watching { entries, directories } => {
                let entries = count(*entries, "entry", "entries");
                write!(
                    f,
                    "watching {} for {entries}",
                    count(*directories, "directory", "directories")
                )
            }
            Notice::Overflow => write!(f, "missed events: checked everything again"),
            Notice::Lost { directories } => {
                let first = directories.first().map(|path| Escaped::new(path).to_string());
                let first = first.unwrap_or_default();
                let more = match directories.len() {
                    0 | 1 => String::new(),
                    count => format!(" and {} more", count - 1),
                };
                write!(f, "lost {first}{more}: checked everything again")
            }
            Notice::Mounted => write!(f, "mounts changed: checked everything again"),
            Notice::Unreadable { reason } => {
                write!(f, "cannot read the entries: {}", Escaped::new(reason))
            }
            Notice::Sweeping { directories, reason, every } => {
                let (directories, seconds) =
                    (count(*directories, "directory", "directories"), every.as_secs());
                let reason = Escaped::new(reason);
                write!(
                    f,
                    "sweeping every {seconds} s: {directories} may not report changes ({reason})"
                )
            }
        }
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn lossy<S: Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn all_lossy<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_millis().try_into().unwrap_or(u64::MAX))
}
