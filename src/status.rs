//! The state of entries and failures as plain data.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capscache_format::{Escaped, FailureCause, Groups, InputKind, Scope};

/// The state of an emulator's entry, as plain data: see [`Cache::status`](crate::Cache::status).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The entry answers for its emulator.
    Valid,
    /// An input changed.
    Stale {
        /// The name of the kind of input.
        input: Cow<'static, str>,
        /// The path of the input; empty for an input without one.
        path: PathBuf,
        /// The recorded state.
        recorded: String,
        /// The present state.
        found: String,
    },
    /// The file of the entry is damaged.
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage.
        found: String,
    },
    /// The file of the entry cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        found: String,
    },
    /// There is no valid entry, and the last probe failed.
    Failed {
        /// The error with its causes, in one line.
        reason: String,
        /// The time since the probe, in whole seconds.
        age: Duration,
        /// The time until a `get` probes again, if nothing changes before, rounded up to whole seconds.
        retry_in: Duration,
    },
    /// There is no entry.
    Missing,
}

impl fmt::Display for Status {
    /// Writes the reason why there is no valid entry, as far as it is known, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Stale { input, path, recorded, found } => {
                write_change(f, input, path, recorded, found)
            }
            Status::Failed { reason, .. } => {
                write!(f, "the last probe failed: {}", Escaped::new(reason))
            }
            other => write!(f, "it is {}", other.name()),
        }
    }
}

impl Status {
    /// The name of the state: `valid`, `stale`, `damaged`, `unreadable`, `failed`, `missing`.
    pub fn name(&self) -> &'static str {
        match self {
            Status::Valid => "valid",
            Status::Stale { .. } => "stale",
            Status::Damaged { .. } => "damaged",
            Status::Unreadable { .. } => "unreadable",
            Status::Failed { .. } => "failed",
            Status::Missing => "missing",
        }
    }
}

impl From<Stale> for Status {
    fn from(Stale { input, path, recorded, found, .. }: Stale) -> Status {
        Status::Stale { input: input.name().into(), path, recorded, found }
    }
}

impl From<Failure> for Status {
    fn from(Failure { reason, age, retry_in, .. }: Failure) -> Status {
        Status::Failed { reason, age, retry_in }
    }
}

/// The reason why an entry no longer answers for its emulator.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stale {
    /// The kind of the input that differs.
    pub input: InputKind,
    /// The answers that are stale: all, or those that depend on the host.
    pub scope: Scope,
    /// The path of the input; empty for an input without one.
    pub path: PathBuf,
    /// The recorded state.
    pub recorded: String,
    /// The present state.
    pub found: String,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stale { input, path, recorded, found, .. } = self;
        write_change(f, input.name(), path, recorded, found)
    }
}

fn write_change(
    f: &mut fmt::Formatter<'_>,
    input: &str,
    path: &Path,
    recorded: &str,
    found: &str,
) -> fmt::Result {
    write!(f, "the {}", Escaped::new(input))?;
    if !path.as_os_str().is_empty() {
        write!(f, " {}", Escaped::new(path))?;
    }
    write!(f, " changed: recorded {}, found {}", Escaped::new(recorded), Escaped::new(found))
}

/// A recent failed probe of an emulator that has not changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The error with its causes, in one line.
    pub reason: String,
    /// The cause, as far as a caller acts on it.
    pub cause: FailureCause,
    /// The groups that were probed for beside the core group: a probe for fewer may succeed.
    pub groups: Groups,
    /// The time since the probe, in whole seconds.
    pub age: Duration,
    /// The time until a `get` probes again, if nothing changes before, rounded up to whole seconds.
    pub retry_in: Duration,
    /// The paths whose change makes a `get` probe again.
    pub depends_on: Vec<Dependency>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (age, retry_in) = (self.age.as_secs(), self.retry_in.as_secs());
        write!(f, "{} ({age} s ago; retry in {retry_in} s)", Escaped::new(&self.reason))
    }
}

/// A path whose change may change answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    /// The file at the path, present or not.
    File(PathBuf),
    /// The directory at the path, present or not, and each file in it.
    Directory(PathBuf),
}

impl Dependency {
    /// The path, which may be a link and need not exist.
    pub fn path(&self) -> &Path {
        match self {
            Dependency::File(path) | Dependency::Directory(path) => path,
        }
    }
}

/// The result of [`Cache::collect_garbage`](crate::Cache::collect_garbage): what was removed, and what was
/// skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageReport {
    /// Emulators that no longer exist, whose entries were removed; sorted.
    pub emulators: Vec<PathBuf>,
    /// The number of damaged entries.
    pub damaged: usize,
    /// The number of recorded failures that no longer hold.
    pub failures: usize,
    /// The number of temporary files of writers that died.
    pub temporaries: usize,
    /// The number of temporary directories of probes that were killed.
    pub scratch_directories: usize,
    /// The directories of older releases; sorted.
    pub releases: Vec<PathBuf>,
    /// Files that cannot be read, such as links and files of other users, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

impl GarbageReport {
    /// Returns whether nothing was removed or skipped.
    pub fn is_empty(&self) -> bool {
        *self == GarbageReport::default()
    }
}
