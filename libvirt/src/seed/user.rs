//! The user that libvirt runs emulators as, and whether that user may open KVM.

use std::io;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::error::{SeedError, io_error};
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
    /// [`SeedError::UnknownUser`]; [`SeedError::Io`] if one of the files is there and cannot be read.
    pub(super) fn find(root: &Root, configuration: &Path) -> Result<QemuUser, SeedError> {
        let read = |path: &Path| match root.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(io_error("read", root.outside(path))),
        };
        let (users, groups) = (read(Path::new("/etc/passwd"))?, read(Path::new("/etc/group"))?);
        let text = read(configuration)?;
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

/// Returns the value of a setting with a string in a configuration of libvirt; the first one counts (`virConfGetValue`).
fn setting<'t>(mut text: &'t str, name: &str) -> Option<&'t str> {
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return None;
        }
        let end_of_line = text.find('\n').unwrap_or(text.len());
        let (line, rest) = text.split_at(end_of_line);
        let assigned = line.split_once('=').filter(|_| !line.starts_with('#'));
        let Some((key, _)) = assigned else {
            text = rest;
            continue;
        };
        let value = text[key.len() + 1..].trim_start_matches([' ', '\t']);
        let string = string(value);
        if key.trim_end() == name {
            return string.map(|(value, _)| value).filter(|value| !value.is_empty());
        }
        // A string in three quotes may have several lines. Those of a list have no setting of these names.
        text = string.map_or(rest, |(_, rest)| rest);
    }
}

/// Splits a text that begins with a string into the string and the rest (`virConfParseString`).
fn string(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix("\"\"\"") {
        return rest.split_once("\"\"\"");
    }
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let (value, rest) = text[1..].split_once(quote)?;
    (!value.contains('\n')).then_some((value, rest))
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
    fn settings_are_read_as_libvirt_reads_them() {
        let configured = |text: &str| find(PASSWD, text).unwrap().name;
        assert_eq!(configured("user = \"qemu\"\nuser = \"root\"\n"), "qemu");
        assert_eq!(configured("user = \"\"\"qemu\"\"\" # comment\n"), "qemu");
        assert_eq!(configured("a = \"\"\"\nuser = 'root'\n\"\"\"\n\tuser='qemu'"), "qemu");
        assert_eq!(configured("user_ = 'root'\n#user = 'root'\nuser = 'qemu'"), "qemu");
        assert_eq!(configured("list = [\n  \"a\",\n]\nuser = 'qemu'"), "qemu");
        assert_eq!(configured("user = \"qemu\nuser = 'root'\n"), "libvirt-qemu");
    }

    #[test]
    fn bytes_that_are_not_utf_8_hide_no_user_and_no_setting() {
        let directory = tempfile::tempdir().unwrap();
        let etc = directory.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let write = |name: &str, text: &[u8]| std::fs::write(etc.join(name), text).unwrap();
        write("passwd", b"ann:x:5:5:J\xfcrgen:/:/x\nqemu:x:107:107:G\xe9rant:/:/x\n");
        write("group", b"gr\xfcn:x:9:\nqemu:x:107:\n");
        write("qemu.conf", b"# Gr\xfc\xdfe\nuser = \"qemu\"\n");
        let root = Root::open(directory.path(), Times::Kept).unwrap();
        let find = || QemuUser::find(&root, Path::new("/etc/qemu.conf"));
        assert_eq!(find().unwrap(), user("qemu", 107, &[107, 107]));
        std::fs::remove_file(etc.join("passwd")).unwrap();
        std::fs::create_dir(etc.join("passwd")).unwrap();
        let error = find().unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with("/etc/passwd"), "{error}");
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
