//! Compares an input that is a list of files: by what `stat` returns for each and, only where that differs, by
//! their contents.

use std::time::SystemTime;

use capscache_format::Input;

use super::{Check, Compare, Present, differs, find, with_signature};

/// The full check of a list of files, of the kind `compare`.
///
/// `stats`: the [`stat_digest`](crate::file::stat_digest) of the present files, `None` if they cannot be listed.
/// `record`: the input as it is now, with the contents, recorded after the given time.
pub(super) fn full_check(
    compare: &impl Compare,
    input: &Input,
    present: &Present<'_>,
    stats: impl FnOnce() -> Option<[u8; 32]>,
    record: impl FnOnce(SystemTime) -> Input,
) -> Check {
    let Some(found) = find(input, present) else { return Check::Same };
    // As long as the time stamps of files are the same, no content needs to be read.
    let stats = stats();
    if stats.is_some() && stats == input.sha256 {
        return match found.is_unchanged {
            true => Check::Same,
            false => Check::Moved(with_signature(input, found.signature.ok(), found.since)),
        };
    }
    let again = record(found.since);
    let has_same_contents = compare.has_contents(&again) && again.evidence == input.evidence;
    match again.sha256 == input.sha256 || has_same_contents {
        true => Check::Moved(again),
        false => differs(input, compare.describe(input), compare.describe(&again)),
    }
}
