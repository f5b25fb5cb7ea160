//! Users, as system calls take them.

use std::io;

use rustix::fs::{Gid, Uid};

/// A user with its groups, as system calls take them.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user ID.
    pub uid: Uid,
    /// The ID of the user's own group.
    pub gid: Gid,
    /// Further groups.
    pub groups: Vec<Gid>,
}

impl Identity {
    /// Takes the numbers of a user.
    ///
    /// # Errors
    /// `InvalidInput` for the highest number, which means *unchanged* to the kernel: root would stay root.
    pub fn new(uid: u32, gid: u32, groups: &[u32]) -> io::Result<Identity> {
        if [uid, gid].iter().chain(groups).any(|id| *id == u32::MAX) {
            let what = "4294967295 is not a valid uid or gid";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(Identity {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            groups: groups.iter().map(|group| Gid::from_raw(*group)).collect(),
        })
    }
}
