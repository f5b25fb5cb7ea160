//! What this system lets tests do, found out by trying; what it does not is said.

#![allow(dead_code, reason = "not every set of tests needs all of it")]

use std::process::Command;

/// Whether files can be given to other users and processes run as them. Not so for an ordinary user, nor
/// for root in a user namespace in which nobody else has a number.
pub(crate) fn can_be_anybody() -> bool {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let given = std::os::unix::fs::chown(file.path(), Some(12345), Some(12345));
    if let Err(error) = &given {
        println!("SKIPPED: nobody else's files and processes can be had here: {error}");
    }
    given.is_ok()
}

/// Whether something can be mounted in a mount namespace of its own.
pub(crate) fn can_mount() -> bool {
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

/// Whether device nodes can be made, and opened where they were made.
pub(crate) fn can_make_nodes() -> bool {
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

/// Whether nobody else can make modules appear for QEMU, which searches for them below `/run`. Where everybody
/// can, no emulator with modules is run in the background or for others, and rightly so.
pub(crate) fn is_run_protected() -> bool {
    use std::os::unix::fs::MetadataExt;
    let is_protected = std::fs::metadata("/run").is_ok_and(|run| run.mode() & 0o022 == 0);
    if !is_protected {
        println!("SKIPPED: anybody may write to /run, so nothing is probed in the background");
    }
    is_protected
}
