//! Finds the emulators of this host.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::file::is_program;

pub use crate::inputs::files_that_may_run;

/// Suffixes of files that a package manager unpacks or sets aside.
const HALF_INSTALLED: [&str; 6] =
    [".dpkg-new", ".dpkg-tmp", ".dpkg-old", ".dpkg-dist", ".distrib", ".rpmnew"];

/// Returns the emulators in the directories of `PATH`, in `/usr/libexec` and in `further`, in this order,
/// sorted by name within a directory.
///
/// An emulator is an executable file called `qemu-system-*` or `qemu-kvm`. A directory that is
/// named twice, or linked to, is searched once; one that cannot be read is skipped.
pub fn find_emulators(further: &[PathBuf]) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let mut emulators = Vec::new();
    for directory in search_directories(further) {
        let Ok(directory) = fs::canonicalize(directory) else { continue };
        if seen.insert(directory.clone()) {
            emulators.extend(emulators_in(&directory));
        }
    }
    emulators
}

/// Returns whether [`find_emulators`] finds an emulator. Its directory may be given as a searched directory or
/// by the path that this links to: `/bin/qemu-system-x86_64` is found if `/bin` is on `PATH`, even if that is a
/// link.
pub fn finds_emulator(emulator: &Path, further: &[PathBuf]) -> bool {
    let Some(within) = emulator.parent() else { return false };
    let is_searched = |directory: PathBuf| {
        directory == within
            || fs::canonicalize(directory).is_ok_and(|directory| directory == within)
    };
    search_directories(further).into_iter().any(is_searched) && is_emulator(emulator)
}

/// Returns the directories that [`find_emulators`] searches, in this order, present or not.
pub fn search_directories(further: &[PathBuf]) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path).chain([PathBuf::from("/usr/libexec")]);
    named.filter(|directory| directory.is_absolute()).chain(further.iter().cloned()).collect()
}

fn emulators_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = paths.filter(|path| is_emulator(path)).collect();
    found.sort();
    found
}

fn is_emulator(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return false };
    let is_named = name.starts_with("qemu-system-") || name == "qemu-kvm";
    let half_installed = HALF_INSTALLED.iter().any(|suffix| name.ends_with(suffix));
    is_named && !half_installed && is_program(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_emulator_is_found_by_the_names_of_its_directory_and_by_no_other() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (real, link) = (root.join("real"), root.join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        std::os::unix::fs::symlink("real", root.join("other")).unwrap();
        for name in ["qemu-kvm", "qemu-img"] {
            fs::write(real.join(name), "").unwrap();
            fs::set_permissions(real.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let further = [link.clone()];
        assert!(finds_emulator(&link.join("qemu-kvm"), &further));
        assert!(finds_emulator(&real.join("qemu-kvm"), &further));
        for other in [
            root.join("other/qemu-kvm"),
            link.join("../real/qemu-kvm"),
            link.join("qemu-img"),
            link.join("qemu-system-absent"),
            PathBuf::from("/"),
        ] {
            assert!(!finds_emulator(&other, &further), "{}", other.display());
        }
    }

    #[test]
    fn only_executable_files_with_an_emulators_name_are_emulators() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, mode| {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        file("qemu-system-x86_64", 0o755);
        file("qemu-kvm", 0o755);
        file("qemu-img", 0o755);
        file("qemu-system-arm", 0o644);
        file("qemu-system-arm.dpkg-new", 0o755);
        file("qemu-system-i386.distrib", 0o755);
        fs::create_dir(directory.path().join("qemu-system-dir")).unwrap();
        std::os::unix::fs::symlink("qemu-kvm", directory.path().join("qemu-system-link")).unwrap();
        std::os::unix::fs::symlink("gone", directory.path().join("qemu-system-gone")).unwrap();
        let names: Vec<_> = emulators_in(directory.path())
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["qemu-kvm", "qemu-system-link", "qemu-system-x86_64"]);
    }
}
