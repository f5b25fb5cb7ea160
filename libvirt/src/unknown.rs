//! Names that are not flags of a release, with a hint.

use crate::release::Release;
use crate::table::FLAGS;

/// An error of a name that is not a flag that can be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownFlag {
    /// libvirt never had the flag.
    #[error(
        "cannot query the flag {name:?}: libvirt {release} does not have it; the nearest are {nearest}"
    )]
    Never {
        /// The name.
        name: String,
        /// The release.
        release: Release,
        /// Names with a similar spelling.
        nearest: String,
    },
    /// A later release has the flag.
    #[error(
        "cannot query the flag {name:?}: libvirt {release} does not have it, and {since} does; name that release (--libvirt {since})"
    )]
    Later {
        /// The name.
        name: &'static str,
        /// The release.
        release: Release,
        /// The oldest known release that has it.
        since: Release,
    },
    /// libvirt retired the flag.
    #[error(
        "cannot query the flag {name:?}: libvirt retired it by {release}, as every QEMU that it supports has it, or none does"
    )]
    Retired {
        /// The name.
        name: &'static str,
        /// The release.
        release: Release,
    },
}

impl UnknownFlag {
    /// Returns the error of a name that no release has.
    pub(crate) fn new(name: &str, release: Release) -> UnknownFlag {
        let mut live: Vec<&str> =
            FLAGS.iter().filter(|flag| flag.is_live(release)).map(|f| f.name).collect();
        // Names that contain the given one come first.
        live.sort_by_cached_key(|one| (!one.contains(name), distance(one, name)));
        live.truncate(3);
        UnknownFlag::Never { name: name.to_owned(), release, nearest: live.join(", ") }
    }
}

/// The number of letters to add, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    // Longer names are not compared in full.
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
