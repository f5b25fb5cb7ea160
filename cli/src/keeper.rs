//! The user who keeps a root: root does not write to a directory that somebody less trusted could
//! rearrange at the same time, but goes on as that user.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Gid, Uid};

/// The cache of the whole system.
pub(crate) const SYSTEM_ROOT: &str = "/var/cache/capscache";

/// The user whose files are believed in the cache of the whole system: root, to whom the directory above it
/// belongs, gave it to this user.
pub(crate) fn of_system(root: &Path) -> Option<u32> {
    let keeper = || std::fs::symlink_metadata(root).ok().filter(std::fs::Metadata::is_dir);
    (root == Path::new(SYSTEM_ROOT)).then(keeper).flatten().map(|directory| directory.uid())
}

/// The user to whom a root belongs, where that is neither this process' user nor root, and this process
/// is root.
pub(crate) fn of(root: &Path) -> Option<u32> {
    let owner = std::fs::metadata(root).ok()?.uid();
    (rustix::process::geteuid().is_root() && owner != 0).then_some(owner)
}

/// Takes on a user for good, before this process has a second thread, with the group of its root and the one that may open `/dev/kvm`, as the
/// service's unit gives them.
///
/// # Errors
/// The system's, where this process may not do so: the caller must not go on as root.
pub(crate) fn become_user(uid: u32, root: &Path) -> Result<()> {
    let gid_of = |path: &Path| std::fs::metadata(path).map(|status| Gid::from_raw(status.gid()));
    let take_on = || {
        let gid = gid_of(root)?;
        let kvm: Vec<Gid> = gid_of(Path::new("/dev/kvm")).into_iter().collect();
        let uid = Uid::from_raw(uid);
        rustix::thread::set_thread_groups(&kvm)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        // The process stays undumpable: root's terminal and descriptors are not for that user to take.
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(std::io::Error::from)
    };
    take_on().with_context(|| {
        format!("cannot go on as the user {uid}, to whom the root of the cache belongs: run it as that user")
    })
}
