//! The rights to `/dev/kvm`, of the user who runs the command.

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
    let group = users::group(status.gid());
    let rights = Rights {
        owner: users::name(status.uid()),
        group,
        mode: status.mode() & 0o777,
        user: users::name(rustix::process::geteuid().as_raw()),
    };
    let opened = File::options().read(true).write(true).open(path);
    rights.check(&node.to_string(), opened.map(drop))
}

/// Owner, group and mode of the node, and the user who runs the command.
struct Rights {
    owner: String,
    group: users::Group,
    mode: u32,
    user: String,
}

impl Rights {
    fn check(&self, node: &str, opened: io::Result<()>) -> Check {
        let Rights { owner, group, mode, user } = self;
        let name = &group.name;
        let who =
            format!("{node} is {owner}:{name}, mode {mode:o}; {} may open it", self.may_open());
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
        let remedy = if mode & 0o060 != 0o060 {
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

    /// Returns the users who may read and write the node.
    fn may_open(&self) -> String {
        let Rights { owner, group, mode, .. } = self;
        if mode & 0o006 == 0o006 {
            return "every user".to_owned();
        }
        let mut users = vec!["root".to_owned()];
        if owner != "root" && mode & 0o600 == 0o600 {
            users.push(owner.clone());
        }
        if mode & 0o060 == 0o060 {
            users.extend(group.members.iter().filter(|member| *member != owner).cloned());
        }
        users.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn rights(mode: u32, members: &[&str]) -> Rights {
        let members = members.iter().map(|&member| member.to_owned()).collect();
        let group = users::Group { name: "kvm".to_owned(), members };
        Rights { owner: "root".to_owned(), group, mode, user: "ann".to_owned() }
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
    fn a_host_without_the_node_is_a_warning_and_a_file_in_its_place_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let node = directory.path().join("kvm");
        assert_eq!(check_node(&node).state, State::Warning);
        fs::write(&node, "").unwrap();
        assert_eq!(check_node(&node).state, State::Failure);
    }
}
