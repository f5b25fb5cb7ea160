//! What a watcher tells.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use capscache::Escaped;
use serde::{Serialize, Serializer};

/// What happened to an emulator's entry, or to the watching itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// An emulator is there that was not there before.
    Appeared {
        /// Its path.
        #[serde(serialize_with = "lossy")]
        emulator: PathBuf,
    },
    /// The answers of an entry do not hold any more.
    Dropped {
        /// The emulator.
        #[serde(serialize_with = "lossy")]
        emulator: PathBuf,
        /// What changed, in one line.
        reason: String,
    },
    /// There are answers that hold.
    Refreshed {
        /// The emulator.
        #[serde(serialize_with = "lossy")]
        emulator: PathBuf,
        /// Whether the watcher probed it; if not, only time stamps had changed, or somebody else
        /// probed it.
        probed: bool,
        /// How long that took; in JSON `milliseconds`.
        #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
        took: Duration,
    },
    /// An emulator could not be looked at or probed.
    Failed {
        /// The emulator.
        #[serde(serialize_with = "lossy")]
        emulator: PathBuf,
        /// Why, in one line.
        reason: String,
    },
    /// Something about the watching itself.
    Notice(Notice),
}

/// What happened to the watching itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "notice", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Notice {
    /// Everything was looked at once, and what changes from now on is noticed.
    Watching {
        /// How many entries there are.
        entries: usize,
        /// How many directories are watched for them.
        directories: usize,
    },
    /// More happened than the kernel keeps for us: everything is looked at again.
    Overflow,
    /// Watched directories were removed, renamed or unmounted: everything is looked at again.
    Lost {
        /// Which ones.
        #[serde(serialize_with = "all_lossy")]
        directories: Vec<PathBuf>,
    },
    /// Something was mounted or unmounted on the way to what is watched: everything is looked at
    /// again.
    Mounted,
    /// The directory of the entries cannot be read: those that were known are kept in view.
    Unreadable {
        /// Why, in one line.
        reason: String,
    },
    /// Not everything can be watched: everything is looked at from time to time.
    Sweeping {
        /// Directories that tell nothing, or not all.
        directories: usize,
        /// Why, in one line.
        reason: String,
        /// How often; in JSON `every-milliseconds`.
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
            Notice::Overflow => write!(f, "missed events: looked at everything again"),
            Notice::Lost { directories } => {
                let first = directories.first().map(|path| Escaped::new(path).to_string());
                let first = first.unwrap_or_default();
                let more = match directories.len() {
                    0 | 1 => String::new(),
                    count => format!(" and {} more", count - 1),
                };
                write!(f, "lost {first}{more}: looked at everything again")
            }
            Notice::Mounted => write!(f, "mounts changed: looked at everything again"),
            Notice::Unreadable { reason } => {
                write!(f, "cannot read the entries: {}", Escaped::new(reason))
            }
            Notice::Sweeping { directories, reason, every } => {
                let (directories, seconds) =
                    (count(*directories, "directory", "directories"), every.as_secs());
                let reason = Escaped::new(reason);
                write!(f, "sweeping every {seconds} s: {directories} may tell nothing ({reason})")
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
