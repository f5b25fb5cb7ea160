//! The user that libvirt runs emulators as, and whether that user may open KVM.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::error::SeedError;
use crate::root::Root;

/// The users that distributions compile into libvirt, of which the first that exists is the default; else root.
const DEFAULT_USERS: [&str; 2] = ["libvirt-qemu", "qemu"];

const KVM: &str = "/dev/kvm";

/// A user and its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QemuUser {
    /// The name, or the number where it has none.
    pub name: String,
    /// The user.
    pub uid: u32,
    /// The groups; the first is the one that emulators run with.
    pub gids: Vec<u32>,
}

impl QemuUser {
    /// Finds the user in libvirt's configuration (`user` and `group` in `qemu.conf`), else the one that
    /// distributions compile into it. Users are those of `/etc/passwd` and `/etc/group`.
    ///
    /// # Errors
    /// [`SeedError::UnknownUser`].
    pub(super) fn find(root: &Root, configuration: &Path) -> Result<QemuUser, SeedError> {
        let read = |path: &str| root.read(Path::new(path)).unwrap_or_default();
        let (users, groups) = (read("/etc/passwd"), read("/etc/group"));
        let text = root.read(configuration).unwrap_or_default();
        let default = DEFAULT_USERS.into_iter().find(|name| line_of(&users, name).is_some());
        let named = setting(&text, "user").or(default).unwrap_or("root");
        let unknown = |kind, name: &str| SeedError::UnknownUser {
            kind,
            name: name.to_owned(),
            path: root.outside(configuration),
        };
        let uid = number(&users, named).or((named == "root").then_some(0));
        let uid = uid.ok_or_else(|| unknown("user", named))?;
        let account = users.lines().find(|line| field(line, 2) == Some(uid));
        let name = account.and_then(|line| line.split(':').next()).unwrap_or(named);
        let primary = account.and_then(|line| field(line, 3));
        let gid = match setting(&text, "group") {
            Some(group) => Some(number(&groups, group).ok_or_else(|| unknown("group", group))?),
            // Distributions name the default group as its user.
            None => line_of(&groups, name).and_then(|line| field(line, 2)).or(primary),
        };
        let has_member = |line: &&str| {
            line.rsplit(':').next().is_some_and(|members| members.split(',').any(|one| one == name))
        };
        let further = groups.lines().filter(has_member).filter_map(|line| field(line, 2));
        let gids = gid.into_iter().chain(primary).chain(further).collect();
        Ok(QemuUser { name: name.to_owned(), uid, gids })
    }

    /// Returns the user of this process, as which the libvirt of a session runs emulators.
    pub(super) fn own() -> QemuUser {
        let uid = rustix::process::geteuid().as_raw();
        let mut gids = vec![rustix::process::getegid().as_raw()];
        gids.extend(
            rustix::process::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()),
        );
        QemuUser { name: uid.to_string(), uid, gids }
    }

    /// Returns whether the user may open `/dev/kvm` of this host for reading and writing (`virQEMUCapsKVMUsable`).
    /// Access control lists count for the user of this process only.
    pub(super) fn may_open_kvm(&self) -> bool {
        if self.uid == rustix::process::geteuid().as_raw() {
            let both = Access::READ_OK | Access::WRITE_OK;
            return accessat(CWD, KVM, both, AtFlags::EACCESS).is_ok();
        }
        let Ok(node) = rustix::fs::stat(KVM) else { return false };
        let shift = match () {
            () if self.uid == node.st_uid => 6,
            () if self.gids.contains(&node.st_gid) => 3,
            () => 0,
        };
        self.uid == 0 || node.st_mode >> shift & 0o6 == 0o6
    }
}

/// Returns the value of a setting with a string in a configuration of libvirt; the last one counts.
fn setting<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let value = |line: &'t str| {
        let rest = line.trim_start().strip_prefix(name)?.trim_start().strip_prefix('=')?;
        let rest = rest.trim_start();
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        rest[1..].split(quote).next()
    };
    text.lines().filter_map(value).next_back().filter(|value| !value.is_empty())
}

/// Returns the line of a name in the form of `/etc/passwd`.
fn line_of<'t>(lines: &'t str, name: &str) -> Option<&'t str> {
    lines.lines().find(|line| line.split(':').next() == Some(name))
}

fn field(line: &str, at: usize) -> Option<u32> {
    line.split(':').nth(at)?.parse().ok()
}

/// Returns the number of a user or group: by name, else the number itself, which `+` marks as one.
fn number(lines: &str, name: &str) -> Option<u32> {
    match name.strip_prefix('+') {
        Some(digits) => digits.parse().ok(),
        None => line_of(lines, name).and_then(|line| field(line, 2)).or_else(|| name.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Times;

    const PASSWD: &str =
        "root:x:0:0::/root:/bin/sh\nlibvirt-qemu:x:64055:106::/:/x\nqemu:x:107:107::/:/x\n";
    const GROUP: &str = "root:x:0:\nkvm:x:106:libvirt-qemu,x\nqemu:x:107:\nlibvirt-qemu:x:64056:\nvideo:x:44:qemu\n";

    fn find(passwd: &str, configuration: &str) -> Result<QemuUser, SeedError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        for (name, text) in [("passwd", passwd), ("group", GROUP), ("qemu.conf", configuration)] {
            std::fs::write(directory.path().join("etc").join(name), text).unwrap();
        }
        let root = Root::open(directory.path(), Times::Kept).unwrap();
        QemuUser::find(&root, Path::new("/etc/qemu.conf"))
    }

    fn user(name: &str, uid: u32, gids: &[u32]) -> QemuUser {
        QemuUser { name: name.to_owned(), uid, gids: gids.to_vec() }
    }

    #[test]
    fn the_user_is_the_configured_one_else_the_one_of_the_distribution_else_root() {
        let default = user("libvirt-qemu", 64055, &[64056, 106, 106]);
        assert_eq!(find(PASSWD, "#user = \"root\"\n").unwrap(), default);
        let fedora = "qemu:x:107:107::/:/x\n";
        assert_eq!(find(fedora, "").unwrap(), user("qemu", 107, &[107, 107, 44]));
        assert_eq!(find("root:x:0:0::/:/x\n", "").unwrap(), user("root", 0, &[0, 0]));
        let configured = "user = 'qemu'\n group=\"kvm\" # comment\n";
        assert_eq!(find(PASSWD, configured).unwrap(), user("qemu", 107, &[106, 107, 44]));
        let numbers = "user = \"+64055\"\ngroup = \"7\"\n";
        assert_eq!(find(PASSWD, numbers).unwrap(), user("libvirt-qemu", 64055, &[7, 106, 106]));
        assert_eq!(find(PASSWD, "user = \"1234\"\n").unwrap(), user("1234", 1234, &[]));
    }

    #[test]
    fn a_configured_user_or_group_that_does_not_exist_is_named_with_the_file() {
        for (text, kind) in [("user = \"nope\"", "user"), ("group = \"nope\"", "group")] {
            let error = find(PASSWD, text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot find the {kind} \"nope\"")), "{error}");
            assert!(error.contains("/etc/qemu.conf"), "{error}");
        }
    }
}
