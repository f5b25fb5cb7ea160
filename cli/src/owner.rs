//! The owner of a root: root does not write to a directory that a less trusted user could rearrange at the
//! same time, but switches to that user.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, anyhow};
use rustix::process::{Gid, Uid};

use crate::output::chain;

/// The cache of the whole system.
pub(crate) const SYSTEM_ROOT: &str = "/var/cache/capscache";

/// Returns the user whose files are trusted in the cache of the whole system: root, who owns the directory
/// above it, made this user the owner.
pub(crate) fn of_system_root(root: &Path) -> Option<u32> {
    let directory = || std::fs::symlink_metadata(root).ok().filter(std::fs::Metadata::is_dir);
    (root == Path::new(SYSTEM_ROOT)).then(directory).flatten().map(|directory| directory.uid())
}

/// Returns the owner of a root, if that is not root and this process runs as root.
pub(crate) fn other_than_root(root: &Path) -> Option<u32> {
    let owner = std::fs::metadata(root).ok()?.uid();
    (rustix::process::geteuid().is_root() && owner != 0).then_some(owner)
}

/// Switches to a user permanently, with the group of its root and the one that may open `/dev/kvm`, as the
/// service's unit does. This process must not have a second thread yet.
///
/// # Errors
/// The error of the system if this process is not permitted to: the caller must not continue as root.
pub(crate) fn become_user(uid: u32, root: &Path) -> Result<()> {
    let gid_of = |path: &Path| std::fs::metadata(path).map(|status| Gid::from_raw(status.gid()));
    let switch = || {
        let gid = gid_of(root)?;
        let kvm: Vec<Gid> = gid_of(Path::new("/dev/kvm")).into_iter().collect();
        let uid = Uid::from_raw(uid);
        rustix::thread::set_thread_groups(&kvm)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        // The process stays undumpable, so that the user cannot take root's terminal and descriptors.
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(std::io::Error::from)
    };
    switch().map_err(|error| {
        let cause = chain(&error);
        anyhow!("cannot switch to the user {uid}, the owner of the cache: {cause}; run the command as that user")
    })
}
