//! Whose a file is, as a user namespace lets one see it.

use std::sync::OnceLock;

/// Whether a file's owner is root: the user 0 or, in a user namespace, the one as which all those show
/// that have no number there (`/proc/sys/kernel/overflowuid`), to whom `/` and `/usr` belong in it.
///
/// Who of those it is cannot be seen from inside: where anybody may make files, such as in `/tmp`, this
/// says nothing.
pub fn is_root_or_unmapped(owner: u32) -> bool {
    static UNMAPPED: OnceLock<Option<u32>> = OnceLock::new();
    owner == 0 || Some(owner) == *UNMAPPED.get_or_init(unmapped)
}

fn unmapped() -> Option<u32> {
    let read = |path| std::fs::read_to_string(path).ok();
    let map = read("/proc/self/uid_map")?;
    // The initial namespace maps everything onto itself.
    let is_whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    (!is_whole).then(|| read("/proc/sys/kernel/overflowuid")?.trim().parse().ok()).flatten()
}
