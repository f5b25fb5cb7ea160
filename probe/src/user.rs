//! The user that an emulator runs as.

use std::io;

use capscache_process::Identity;

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

impl User {
    /// Returns the user as system calls take it. Fails for the highest number, which means *unchanged* to the kernel: root
    /// would stay root.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        Identity::new(self.uid, self.gid, &self.groups)
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
            let refused = User { uid, gid, groups }.identity().unwrap_err();
            assert_eq!(refused.to_string(), "4294967295 is not a valid uid or gid");
        }
    }
}
