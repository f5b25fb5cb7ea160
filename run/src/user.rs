//! The user that an emulator runs as.

use std::io;

use capscache_process::Identity;

/// Another user than the caller, for emulators to run as. Becoming that user needs root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name, for the environment.
    pub name: String,
    /// The user ID.
    pub uid: u32,
    /// The ID of the user's own group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

impl User {
    /// Finds a user by name or number in `/etc/passwd`, with the groups of `/etc/group`.
    ///
    /// # Errors
    /// An error of reading the files; `NotFound` if there is no such user.
    pub fn find(name: &str) -> io::Result<User> {
        let passwd = std::fs::read_to_string("/etc/passwd")?;
        let group = std::fs::read_to_string("/etc/group")?;
        let found = find(name, &passwd, &group);
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such user"))
    }

    /// Returns the user as system calls take it.
    ///
    /// # Errors
    /// An error for the highest number, which means *unchanged* to the kernel: root would stay root.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        Identity::new(self.uid, self.gid, &self.groups)
    }
}

fn find(name: &str, passwd: &str, group: &str) -> Option<User> {
    let mut entries = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let (name, uid, gid) = entries.find_map(|entry| match entry[..] {
        [found, _, uid, gid, ..] if found == name || uid == name => {
            Some((found.to_owned(), uid.parse().ok()?, gid.parse().ok()?))
        }
        _ => None,
    })?;
    let groups = group.lines().filter_map(|line| {
        let entry: Vec<_> = line.split(':').collect();
        match entry[..] {
            [_, _, id, members] if members.split(',').any(|member| member == name) => {
                id.parse().ok()
            }
            _ => None,
        }
    });
    let groups = groups.collect();
    Some(User { name, uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nvm:x:64055:108::/var:/bin/false\n";
    const GROUP: &str = "kvm:x:103:other,vm\ndisk:x:6:\nvmx:x:7:vmx\n";

    #[test]
    fn a_user_has_the_groups_whose_member_it_is() {
        let user = User { name: "vm".to_owned(), uid: 64055, gid: 108, groups: vec![103] };
        assert_eq!(find("vm", PASSWD, GROUP), Some(user.clone()));
        assert_eq!(find("64055", PASSWD, GROUP), Some(user));
        assert_eq!(find("v", PASSWD, GROUP), None);
    }

    #[test]
    fn the_number_with_which_root_would_stay_root_is_refused() {
        let user = User { name: String::new(), uid: 1, gid: u32::MAX, groups: Vec::new() };
        let refused = user.identity().map(|identity| identity.uid).unwrap_err();
        assert_eq!(refused.to_string(), "4294967295 is not a valid uid or gid");
    }
}
