//! What the answers depend on: recorded when they were given, looked at on every lookup.
//!
//! Each input has a *trigger*, what a hit pays for (a `stat`), and *values*, read only when the
//! trigger moved (the content's digest). Equal values behind a moved trigger give the input a new
//! signature and cost no probe; values that differ make the entry stale.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capscache_format::{Input, InputKind, Scope, Signature};
use rustix::fs::Stat;
use sha2::{Digest, Sha256};

/// Within this time of a file's change another change may leave its time stamps as they are.
const RACY: Duration = Duration::from_secs(2);

/// Why an entry does not answer for its emulator any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Which input differs.
    pub input: InputKind,
    /// Its path.
    pub path: PathBuf,
    /// What was recorded.
    pub recorded: String,
    /// What is there now.
    pub found: String,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stale { input, path, recorded, found } = self;
        write!(f, "the {input} {} changed: recorded {recorded}, found {found}", path.display())
    }
}

/// What a look at an input showed.
#[derive(Debug)]
pub(crate) enum Look {
    /// The trigger did not move.
    Same,
    /// The trigger moved, the values did not: the input with its new signature.
    Moved(Input),
    /// The values differ.
    Differs(Stale),
}

/// What a hit compares: one `stat`.
#[derive(Debug)]
pub(crate) struct Trigger {
    path: PathBuf,
    signature: Signature,
}

impl Trigger {
    pub(crate) fn new(path: PathBuf, signature: Signature) -> Trigger {
        Trigger { path, signature }
    }

    /// The triggers of an entry; `None` if one of its signatures is racy, so that content decides.
    pub(crate) fn of(inputs: &[Input]) -> Option<Vec<Trigger>> {
        let mut triggers: Vec<Trigger> = Vec::new();
        for input in inputs {
            if input.racy {
                return None;
            }
            let Some(signature) = input.signature else { continue };
            // The emulator that is no wrapper is its own executable: one look is enough.
            if triggers.iter().all(|known| known.signature != signature) {
                triggers.push(Trigger::new(path_of(input), signature));
            }
        }
        Some(triggers)
    }

    /// Whether it moved.
    pub(crate) fn moved(&self) -> bool {
        rustix::fs::stat(&self.path).map(|status| signature(&status)) != Ok(self.signature)
    }
}

/// What `stat` says of a file, as far as it identifies the content.
pub(crate) fn signature(status: &Stat) -> Signature {
    let nanoseconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Signature {
        device: status.st_dev,
        inode: status.st_ino,
        size: u64::try_from(status.st_size).unwrap_or(0),
        mtime: (status.st_mtime, nanoseconds(status.st_mtime_nsec)),
        ctime: (status.st_ctime, nanoseconds(status.st_ctime_nsec)),
    }
}

/// Records a file: its signature, its digest, and whether the signature can be relied on.
pub(crate) fn record(kind: InputKind, path: &Path, status: &Stat, sha256: [u8; 32]) -> Input {
    let signature = signature(status);
    Input {
        kind,
        scope: Scope::Binary,
        name: name_of(path),
        signature: Some(signature),
        sha256: Some(sha256),
        racy: is_racy(signature, SystemTime::now()),
    }
}

/// Records a file that has no path here, such as one inside another mount namespace.
#[cfg(feature = "probe")]
pub(crate) fn record_unreachable(kind: InputKind, path: &Path, sha256: [u8; 32]) -> Input {
    Input {
        kind,
        scope: Scope::Binary,
        name: name_of(path),
        signature: None,
        sha256: Some(sha256),
        racy: false,
    }
}

/// Looks at an input: at its trigger, and at its values if that moved.
pub(crate) fn look(input: &Input) -> Look {
    let Some(recorded) = input.signature else { return Look::Same };
    let path = path_of(input);
    let differs = |recorded: String, found: String| {
        Look::Differs(Stale { input: input.kind, path: path.clone(), recorded, found })
    };
    let status = match rustix::fs::stat(&path) {
        Ok(status) => status,
        Err(error) => return differs("a file".to_owned(), io::Error::from(error).to_string()),
    };
    let found = signature(&status);
    if found == recorded && !input.racy {
        return Look::Same;
    }
    match sha256_of(&path) {
        Err(error) => differs("a file".to_owned(), error.to_string()),
        Ok(sha256) if Some(sha256) == input.sha256 => {
            Look::Moved(record(input.kind, &path, &status, sha256))
        }
        Ok(sha256) => differs(
            input
                .sha256
                .map_or("nothing".to_owned(), |recorded| content(&recorded, &input.signature)),
            content(&sha256, &Some(found)),
        ),
    }
}

/// The SHA-256 of a file's content.
pub(crate) fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&buffer[..read]);
    }
}

pub(crate) fn name_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

pub(crate) fn path_of(input: &Input) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&input.name))
}

/// As in git's index: a file that changed just now may change again within one tick of its file
/// system's clock. A time stamp in the future is no reason to trust it either.
fn is_racy(signature: Signature, now: SystemTime) -> bool {
    let (seconds, nanoseconds) = signature.ctime;
    let Ok(seconds) = u64::try_from(seconds) else { return false };
    let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    now.duration_since(changed).map_or(true, |age| age < RACY)
}

/// A file's content in a few words.
fn content(sha256: &[u8; 32], signature: &Option<Signature>) -> String {
    let hex: String = sha256.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    match signature {
        Some(signature) => format!("SHA-256 {hex}… of {} bytes", signature.size),
        None => format!("SHA-256 {hex}…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Signature {
        Signature { device: 1, inode: 2, size: 3, mtime: (0, 0), ctime: (seconds, 500_000_000) }
    }

    #[test]
    fn a_signature_is_racy_until_the_file_is_two_seconds_old() {
        let now = UNIX_EPOCH + Duration::new(100, 0);
        assert!(is_racy(at(99), now));
        assert!(is_racy(at(98), now));
        assert!(!is_racy(at(97), now));
    }

    #[test]
    fn a_file_from_the_future_is_racy() {
        assert!(is_racy(at(101), UNIX_EPOCH + Duration::new(100, 0)));
    }
}
