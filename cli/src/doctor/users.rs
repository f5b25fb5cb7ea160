//! Names of users and groups, from `/etc/passwd` and `/etc/group`.

use std::fs;

use capscache_run::User;

/// Returns the name of a user, or the number of one without a name.
pub(super) fn name(uid: u32) -> String {
    User::find(&uid.to_string()).map_or_else(|_| uid.to_string(), |user| user.name)
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The name, or the number of one without a name.
    pub(super) name: String,
    /// Names of the users that the file lists as members.
    pub(super) members: Vec<String>,
}

/// Returns a group by its number.
pub(super) fn group(gid: u32) -> Group {
    find(gid, &fs::read_to_string("/etc/group").unwrap_or_default())
}

fn find(gid: u32, groups: &str) -> Group {
    let gid = gid.to_string();
    let found = groups.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        match fields[..] {
            [name, _, id, members] if id == gid => {
                let members = members.split(',').filter(|name| !name.is_empty());
                Some(Group { name: name.into(), members: members.map(str::to_owned).collect() })
            }
            _ => None,
        }
    });
    found.unwrap_or(Group { name: gid, members: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_members_and_one_without_a_name_its_number() {
        let file = "kvm:x:103:ann,bob\ndisk:x:6:\n";
        let group = |name: &str, members: &[&str]| Group {
            name: name.to_owned(),
            members: members.iter().map(|&member| member.to_owned()).collect(),
        };
        assert_eq!(find(103, file), group("kvm", &["ann", "bob"]));
        assert_eq!(find(6, file), group("disk", &[]));
        assert_eq!(find(3, file), group("3", &[]));
    }
}
