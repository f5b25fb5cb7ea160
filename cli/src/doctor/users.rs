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
    /// Names of the users whose primary group it is, then of those that `/etc/group` lists as members.
    pub(super) members: Vec<String>,
}

/// Returns a group by its number.
pub(super) fn group(gid: u32) -> Group {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    find(gid, &read("/etc/passwd"), &read("/etc/group"))
}

fn find(gid: u32, users: &str, groups: &str) -> Group {
    let gid = gid.to_string();
    let fields = |line| str::split(line, ':').collect::<Vec<_>>();
    let primary = users.lines().map(fields).filter_map(|fields| match fields[..] {
        [name, _, _, id, ..] if id == gid => Some(name),
        _ => None,
    });
    let group = groups.lines().map(fields).find_map(|fields| match fields[..] {
        [name, _, id, members] if id == gid => Some((name, members)),
        _ => None,
    });
    let (name, listed) = group.unwrap_or((&gid, ""));
    let listed = listed.split(',').filter(|name| !name.is_empty());
    Group { name: name.to_owned(), members: primary.chain(listed).map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_members_and_one_without_a_name_its_number() {
        let users = "root:x:0:0::/root:/bin/sh\neve:x:1:103::/:/bin/sh\n";
        let groups = "kvm:x:103:ann,bob\ndisk:x:6:\n";
        let group = |name: &str, members: &[&str]| Group {
            name: name.to_owned(),
            members: members.iter().map(|&member| member.to_owned()).collect(),
        };
        assert_eq!(find(103, users, groups), group("kvm", &["eve", "ann", "bob"]));
        assert_eq!(find(6, users, groups), group("disk", &[]));
        assert_eq!(find(3, users, groups), group("3", &[]));
    }
}
