//! The user that an emulator runs as.

use std::io;

use rustix::fs::{Gid, Uid};

/// Another user than the caller, for emulators to run as. Becoming that user needs root, or CAP_SETUID and CAP_SETGID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user ID.
    pub uid: u32,
    /// The ID of the user's own group.
    pub gid: u32,
    /// Further groups: the one that may open `/dev/kvm`, if KVM is used and not open to all users.
    pub groups: Vec<u32>,
}

/// A [`User`] as system calls take it.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
}

impl TryFrom<&User> for Identity {
    type Error = io::Error;

    /// Fails for the highest number, which means *unchanged* to the kernel: root would stay root.
    fn try_from(user: &User) -> io::Result<Self> {
        let User { uid, gid, groups } = user;
        if [uid, gid].into_iter().chain(groups).any(|id| *id == u32::MAX) {
            let what = "4294967295 is not a valid uid or gid";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(Self {
            uid: Uid::from_raw(*uid),
            gid: Gid::from_raw(*gid),
            groups: groups.iter().map(|group| Gid::from_raw(*group)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_with_which_root_would_stay_root_is_refused() {
        for (uid, gid, groups) in
            [(u32::MAX, 1, vec![]), (1, u32::MAX, vec![]), (1, 1, vec![7, u32::MAX])]
        {
            let refused = Identity::try_from(&User { uid, gid, groups }).unwrap_err();
            assert_eq!(refused.to_string(), "4294967295 is not a valid uid or gid");
        }
    }
}
