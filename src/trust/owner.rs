//! The owner of a file as it appears in a user namespace.

use std::sync::OnceLock;

/// Returns whether the owner of a file is root: the user 0 or, in a user namespace, the user that all users
/// without a number there appear as (`/proc/sys/kernel/overflowuid`), to which `/` and `/usr` belong in it.
///
/// These users cannot be distinguished from inside: in a directory where every user may create files, such as
/// `/tmp`, the result means nothing.
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
