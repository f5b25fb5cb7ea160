//! The rights to `/dev/kvm`, of the user who runs the command.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use capscache::Escaped;
use rustix::io::Errno;

use super::Check;
use super::users;
use crate::output::chain;

const PART: &str = "kvm";
const NODE: &str = "/dev/kvm";

pub(super) fn check() -> Vec<Check> {
    vec![check_node(Path::new(NODE))]
}

fn check_node(path: &Path) -> Check {
    let node = Escaped::new(path);
    let status = match fs::metadata(path) {
        Ok(status) if status.file_type().is_char_device() => status,
        Ok(_) => {
            let remedy = format!("remove {node}, then `modprobe kvm` creates the node");
            return Check::failure(PART, format!("{node} is not a device"), remedy);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let found = format!("there is no {node}: emulators run under TCG, which is slower");
            let remedy = "enable virtualization in the firmware of the host, or nested virtualization for a virtual \
                          machine, and load the module: `modprobe kvm_intel`, `kvm_amd` or `kvm`; in a container, \
                          pass the device";
            return Check::warning(PART, found, remedy);
        }
        Err(error) => {
            let found = format!("cannot stat {node}: {}", chain(&error));
            return Check::failure(
                PART,
                found,
                "`namei -l /dev/kvm` shows the directory that may not be searched",
            );
        }
    };
    let rights = Rights {
        owner: users::name(status.uid()),
        group: users::group(status.gid()),
        mode: status.mode() & 0o777,
        list: AccessList::of(path),
        user: users::name(rustix::process::geteuid().as_raw()),
    };
    let opened = File::options().read(true).write(true).open(path);
    rights.check(&node.to_string(), opened.map(drop))
}

/// Owner, group, mode and access control list of the node, and the user who runs the command.
struct Rights {
    owner: String,
    group: users::Group,
    mode: u32,
    list: Option<AccessList>,
    user: String,
}

impl Rights {
    fn check(&self, node: &str, opened: io::Result<()>) -> Check {
        let Rights { owner, group, mode, user, .. } = self;
        let name = &group.name;
        // As `ls` marks it.
        let plus = if self.list.is_some() { "+" } else { "" };
        let who = format!(
            "{node} is {owner}:{name}, mode {mode:o}{plus}; {} may open it",
            self.may_open()
        );
        let error = match opened {
            Ok(()) => return Check::ok(PART, format!("{user} may open it: {who}")),
            Err(error) => error,
        };
        if Errno::from_io_error(&error) != Some(Errno::ACCESS) {
            let found = format!("cannot open {node}: {}; {who}", chain(&error));
            let remedy = "check the messages of the kernel: `journalctl -k --grep kvm`; in a container, permit the \
                          device in its cgroup too";
            return Check::failure(PART, found, remedy);
        }
        let remedy = if !self.group_may() && self.list.is_some() {
            format!("permit the group: `setfacl -m g::rw,m::rw {node}` as root")
        } else if !self.group_may() {
            format!(
                "permit the group: `chmod g+rw {node}`, or install the udev rules of QEMU or systemd"
            )
        } else if group.members.contains(user) {
            format!("log in again: {user} is in the group {name}, but this session is not")
        } else {
            format!("`usermod -aG {name} {user}` as root, then log in again")
        };
        Check::failure(PART, format!("{user} may not open it: {who}"), remedy)
    }

    /// Returns whether the members of the group may read and write the node. Where there is an access control list, the
    /// mode has its mask in place of the group.
    fn group_may(&self) -> bool {
        self.list.as_ref().map_or(self.mode & 0o060 == 0o060, |list| list.group_may)
    }

    /// Returns the users who may read and write the node.
    fn may_open(&self) -> String {
        let Rights { owner, group, mode, list, .. } = self;
        if mode & 0o006 == 0o006 {
            return "every user".to_owned();
        }
        let mut names = vec!["root"];
        if mode & 0o600 == 0o600 {
            names.push(owner);
        }
        if self.group_may() {
            names.extend(group.members.iter().map(String::as_str));
        }
        names.extend(list.iter().flat_map(|list| &list.names).map(String::as_str));
        let mut known = HashSet::new();
        names.retain(|name| known.insert(*name));
        names.join(", ")
    }
}

/// The rights that an access control list adds to the mode (`acl(5)`): udev gives the user who sits at the host the right to
/// open KVM by one.
#[derive(Debug, Default, PartialEq, Eq)]
struct AccessList {
    /// Users who may read and write, and members of groups that may.
    names: Vec<String>,
    /// True if the group of the node may.
    group_may: bool,
}

impl AccessList {
    fn of(path: &Path) -> Option<AccessList> {
        // 8 bytes an entry: more than the list of a device ever has.
        let mut bytes = [0; 4096];
        let length = rustix::fs::getxattr(path, "system.posix_acl_access", &mut bytes).ok()?;
        AccessList::parse(&bytes[..length], users::name, |gid| users::group(gid).members)
    }

    /// Parses the value of the extended attribute (`linux/posix_acl_xattr.h`): a version, then a tag, permissions and the
    /// number of a user or group for each entry, all of them little-endian.
    fn parse(
        bytes: &[u8],
        user: impl Fn(u32) -> String,
        members: impl Fn(u32) -> Vec<String>,
    ) -> Option<AccessList> {
        const VERSION: [u8; 4] = [2, 0, 0, 0];
        const USER: u16 = 0x02;
        const OWNING_GROUP: u16 = 0x04;
        const GROUP: u16 = 0x08;
        const MASK: u16 = 0x10;
        let entries = bytes.strip_prefix(&VERSION)?.chunks_exact(8).map(|entry| {
            let half = |at| u16::from_le_bytes([entry[at], entry[at + 1]]);
            (half(0), half(2), u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]))
        });
        let mask = entries.clone().find(|entry| entry.0 == MASK).map_or(0o7, |entry| entry.1);
        let mut list = AccessList::default();
        for (tag, _, id) in entries.filter(|entry| entry.1 & mask & 0o6 == 0o6) {
            match tag {
                USER => list.names.push(user(id)),
                GROUP => list.names.extend(members(id)),
                OWNING_GROUP => list.group_may = true,
                _ => (),
            }
        }
        Some(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn rights(mode: u32, members: &[&str]) -> Rights {
        let members = members.iter().map(|&member| member.to_owned()).collect();
        let group = users::Group { name: "kvm".to_owned(), members };
        Rights { owner: "root".to_owned(), group, mode, list: None, user: "ann".to_owned() }
    }

    #[test]
    fn the_remedy_for_a_node_that_does_not_open_depends_on_group_and_mode() {
        let denied = || Err(io::Error::from_raw_os_error(13));
        let check = |mode, members| rights(mode, members).check("/dev/kvm", denied());
        let stranger = check(0o660, &["bob"]);
        assert_eq!(stranger.state, State::Failure);
        assert_eq!(
            stranger.found,
            "ann may not open it: /dev/kvm is root:kvm, mode 660; root, bob may open it"
        );
        let remedy = |check: Check| check.remedy.unwrap();
        assert_eq!(remedy(stranger), "`usermod -aG kvm ann` as root, then log in again");
        assert!(
            remedy(check(0o660, &["ann"])).starts_with("log in again: ann is in the group kvm")
        );
        assert!(remedy(check(0o600, &["ann"])).starts_with("permit the group: `chmod g+rw"));
        let busy = rights(0o666, &[]).check("/dev/kvm", Err(io::Error::from_raw_os_error(16)));
        assert!(busy.found.starts_with("cannot open /dev/kvm: "), "{}", busy.found);
        assert!(busy.found.ends_with("; every user may open it"), "{}", busy.found);
    }

    #[test]
    fn an_access_control_list_permits_users_and_has_the_mask_in_place_of_the_group() {
        let entry = |(tag, permissions, id): (u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let parse = |entries: &[(u16, u16, u32)]| {
            let bytes = [vec![2, 0, 0, 0], entries.iter().copied().flat_map(entry).collect()];
            let members = |gid: u32| vec![format!("member-of-{gid}")];
            AccessList::parse(&bytes.concat(), |uid| format!("user-{uid}"), members).unwrap()
        };
        let none = u32::MAX;
        let owner = (0x01, 6, none);
        let listed = [owner, (0x02, 6, 7), (0x02, 4, 8), (0x04, 0, none), (0x08, 6, 9)];
        let list = parse(&[&listed[..], &[(0x10, 6, none), (0x20, 0, none)]].concat());
        assert_eq!(list.names, ["user-7", "member-of-9"]);
        let with_list = Rights { list: Some(list), ..rights(0o660, &["bob"]) };
        assert_eq!(with_list.may_open(), "root, user-7, member-of-9");
        let check = with_list.check("/dev/kvm", Err(io::Error::from_raw_os_error(13)));
        assert!(check.found.contains("root:kvm, mode 660+;"), "{}", check.found);
        assert!(check.remedy.unwrap().contains("`setfacl -m g::rw,m::rw /dev/kvm`"));
        let masked = parse(&[&listed[..], &[(0x10, 4, none)]].concat());
        assert_eq!(masked, AccessList::default());
        assert!(parse(&[owner, (0x04, 6, none)]).group_may);
        assert_eq!(AccessList::parse(&[1, 0, 0, 0], |_| String::new(), |_| Vec::new()), None);
    }

    #[test]
    fn a_host_without_the_node_is_a_warning_and_a_file_in_its_place_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let node = directory.path().join("kvm");
        assert_eq!(check_node(&node).state, State::Warning);
        fs::write(&node, "").unwrap();
        assert_eq!(check_node(&node).state, State::Failure);
    }
}
