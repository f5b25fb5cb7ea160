//! `serve --seed-libvirt`: libvirt's own cache, in a mount namespace with a libvirt that is only its files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::rights::can_mount;
use test_support::{emulator, text, wait_until};

use crate::Dir;

/// The only emulator in the namespace.
const EMULATOR: &str = "/usr/bin/qemu-system-s390x";

/// libvirt's file of it.
const FILE: &str = "cache/libvirt/qemu/capabilities/04f7ed9deb8a0351be750a8a1c4632481a4a0d230cc6a3a7b04048de811f77b3.xml";

/// Installs libvirt and the emulator from the directory `$0`; becomes the rest of the arguments.
const INSTALL: &str = "cd \"$0\"; cp -a /usr/lib64/. lib64; mount --bind lib64 /usr/lib64; \
    mount --bind sbin /usr/sbin; mount --bind cache /var/cache; \
    mount --bind /usr/bin/qemu-system-s390x bin/qemu-system-s390x; mount --rbind bin /usr/bin; exec \"$@\"";

/// Returns the service with a libvirt of this release; `None`, with a report, where that is not possible.
fn serve(dir: &Dir, release: &str) -> Option<Command> {
    if !can_mount() {
        return None;
    }
    if emulator("s390x") != EMULATOR || !Path::new("/usr/lib64").is_dir() {
        println!(
            "SKIPPED: there is no {EMULATOR}, or no /usr/lib64 to install libvirt's library in"
        );
        return None;
    }
    for name in [
        &format!("lib64/libvirt.so.0.{release}"),
        "lib64/libvirt/connection-driver/libvirt_driver_qemu.so",
        "sbin/libvirtd",
        "bin/qemu-system-s390x",
        "cache/placeholder",
    ] {
        let path = dir.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    symlink(format!("libvirt.so.0.{release}"), dir.path("lib64/libvirt.so.0")).unwrap();
    let mut command = Command::new("unshare");
    dir.prepare(&mut command);
    command.args(["-m", "sh", "-euc", INSTALL, &text(dir.directory())]);
    command.args([env!("CARGO_BIN_EXE_capscache"), "serve", "--seed-libvirt", "--socket"]);
    command.arg(dir.socket());
    Some(command)
}

#[test]
fn the_service_fills_libvirts_cache_at_its_start_and_after_an_entry_changed() {
    let dir = Dir::new();
    let Some(command) = serve(&dir, "11003.0") else { return };
    let service = dir.start(command);
    let file: PathBuf = dir.path(FILE);
    let is_filled = || fs::read_to_string(&file).is_ok_and(|xml| xml.starts_with("<qemuCaps>"));
    wait_until("libvirt's file is written", is_filled);
    service.wait_for_watcher();

    fs::write(&file, "not XML").unwrap();
    for command in ["invalidate", "warm"] {
        let run = dir.command().args([command, EMULATOR]).output().unwrap();
        assert!(run.status.success(), "{run:?}");
    }
    wait_until("libvirt's file is written again", is_filled);
    let log = service.log();
    assert!(
        log.contains(&format!("wrote libvirt's file of {EMULATOR}: there was no file")),
        "{log}"
    );
}

#[test]
fn the_service_does_not_start_with_a_libvirt_whose_release_is_not_known() {
    let dir = Dir::new();
    let Some(mut command) = serve(&dir, "99000.0") else { return };
    let run = command.output().unwrap();
    assert_eq!(run.status.code(), Some(2), "{run:?}");
    let complaint = String::from_utf8_lossy(&run.stderr);
    assert!(
        complaint.contains("libvirt 99.0.0: the known releases are 9.0, 10.0, 11.3, 12.8"),
        "{complaint}"
    );
    assert!(!dir.socket().exists());
}
