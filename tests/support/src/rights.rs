//! Rights of the tests on this system, determined by trying; each function reports a skip where one is missing.

use std::process::Command;

/// Returns true if files can be given to other users and processes run as them. An ordinary user cannot, nor can root
/// in a user namespace that maps no other user.
pub fn can_change_user() -> bool {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let given = std::os::unix::fs::chown(file.path(), Some(12345), Some(12345));
    if let Err(error) = &given {
        println!("SKIPPED: files and processes of other users cannot be made here: {error}");
    }
    given.is_ok()
}

/// Returns true if something can be mounted in a new mount namespace.
pub fn can_mount() -> bool {
    let directory = tempfile::tempdir().expect("a directory");
    let mut mount = Command::new("unshare");
    mount.args(["-m", "mount", "-t", "tmpfs", "none"]).arg(directory.path());
    let mounted = mount.output();
    let can = mounted.as_ref().is_ok_and(|output| output.status.success());
    if !can {
        let why = mounted.map(|output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
        println!("SKIPPED: nothing can be mounted here: {why:?}");
    }
    can
}

/// Returns true if an emulator that mounts can be confined, which takes a user namespace (user_namespaces(7)): a
/// process in a chroot cannot make one.
pub fn can_confine_mounts() -> bool {
    let made = Command::new("unshare").args(["-Urm", "true"]).output();
    let can = made.as_ref().is_ok_and(|output| output.status.success());
    if !can {
        let why = made.map(|output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
        println!("SKIPPED: no user namespace can be made here: {why:?}");
    }
    can && can_mount()
}

/// Returns true if device nodes can be made, and opened where they were made.
pub fn can_make_nodes() -> bool {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let path = tempfile::tempdir().expect("a directory");
    let node = path.path().join("null");
    let made = mknodat(CWD, &node, FileType::CharacterDevice, Mode::RWXU, makedev(1, 3));
    let opened = made.map_err(std::io::Error::from).and_then(|()| std::fs::File::open(&node));
    if let Err(error) = &opened {
        println!("SKIPPED: no device nodes can be made here: {error}");
    }
    opened.is_ok()
}

/// Returns true if strace is installed and may trace.
pub fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        println!("SKIPPED: strace is missing or may not trace");
    }
    can
}

/// Returns true if no other user can make modules appear for QEMU, which searches for them below `/run`. Where every
/// user can, an emulator with modules is not run in the background or for other users.
pub fn is_run_protected() -> bool {
    use std::os::unix::fs::MetadataExt;
    let is_protected = std::fs::metadata("/run").is_ok_and(|run| run.mode() & 0o022 == 0);
    if !is_protected {
        println!("SKIPPED: every user may write to /run, so nothing is probed in the background");
    }
    is_protected
}
