//! The emulators that libvirt finds by itself (`virQEMUCapsGetDefaultEmulator`).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::arch;
use crate::release::Release;
use crate::root::Root;

/// The emulator of distributions that install one only.
const ONLY: &str = "/usr/libexec/qemu-kvm";

/// Returns the `PATH` of a daemon that systemd starts (`systemd.exec(5)`, `default_PATH` in `path-util.c` of systemd 257): without
/// directories for administrators that are links to those for all. Some earlier releases have both unless both are links.
pub(super) fn daemon_path(root: &Root) -> &'static str {
    let file =
        |path: &str| root.status(Path::new(path)).map(|status| (status.st_dev, status.st_ino));
    let is_split = |own: &str, other: &str| match (file(own), file(other)) {
        (Ok(own), Ok(other)) => own != other,
        (Err(error), _) | (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
    };
    match () {
        () if is_split("/usr/sbin", "/usr/bin") => {
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
        }
        () if is_split("/usr/local/sbin", "/usr/local/bin") => {
            "/usr/local/sbin:/usr/local/bin:/usr/bin"
        }
        () => "/usr/local/bin:/usr/bin",
    }
}

/// Returns the emulators that a release of libvirt searches for on `path` (in the form of `PATH`) when it lists the guests of a
/// host: one of each architecture. Each is returned once, by the path that names libvirt's file of it.
pub(super) fn emulators(
    is_program: impl Fn(&Path) -> bool,
    path: &OsStr,
    host: &str,
    release: Release,
) -> Vec<PathBuf> {
    let is_present = |file: &PathBuf| is_program(file);
    let on_path = |arch: &str| {
        let name = format!("qemu-system-{}", arch::of_emulator(arch));
        let directories = std::env::split_paths(path).filter(|directory| directory.is_absolute());
        directories.map(|directory| directory.join(&name)).find(is_present)
    };
    let find = |guest: &str| {
        let is_native = arch::is_native(host, guest);
        let target = match () {
            () if is_native => host,
            () if arch::is_ppc64(guest) => "ppc64",
            () => guest,
        };
        // Only the host's own emulator runs these guests under KVM.
        let first = (host == "aarch64" && guest == "armv7l").then(|| on_path(host)).flatten();
        let other = || (target != guest).then(|| on_path(target)).flatten();
        let own = || on_path(guest).or_else(other);
        let only = || Some(PathBuf::from(ONLY)).filter(|only| is_native && is_present(only));
        first.or_else(own).or_else(only)
    };
    let mut seen = HashSet::new();
    let found = arch::names(release).filter_map(find);
    found.filter(|emulator| seen.insert(emulator.clone())).collect()
}
