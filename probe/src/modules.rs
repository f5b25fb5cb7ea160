//! The directories in which an emulator searches for its modules.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::process::Executable;

/// The number of bytes that a search of the executable keeps of the block before: more than any path of a
/// module directory has.
pub(crate) const OVERLAP_BYTES: usize = 256;

/// Finds the module directories that an executable names: absolute paths `…/lib*/qemu` or
/// `…/lib/MULTIARCH/qemu` that end with a zero byte in `block`.
pub(crate) fn named_module_directories(block: &[u8], found: &mut BTreeSet<PathBuf>) {
    const END: &[u8] = b"/qemu\0";
    for end in memchr::memmem::find_iter(block, END) {
        let before = &block[..end];
        // Strings follow zeros; without one this is the rest of a name that was found before.
        let Some(zero) = before.iter().rposition(|byte| *byte == 0) else { continue };
        let start = zero + 1;
        let path = Path::new(OsStr::from_bytes(&block[start..end + END.len() - 1]));
        let holder = path.parent().and_then(Path::file_name).unwrap_or_default().as_bytes();
        let is_library = holder.starts_with(b"lib") || holder.windows(7).any(|p| p == b"-linux-");
        if path.is_absolute() && is_library {
            found.insert(path.to_owned());
        }
    }
}

/// Returns the directories in which an emulator searches for modules, present or not, as paths of this
/// process: `QEMU_MODULE_DIR`, those that it was built with, the same relative to its executable, those
/// from which it has loaded modules, and the directory for modules of a package that was upgraded
/// meanwhile. Empty for an emulator without modules. (QEMU 7.2, `util/module.c`)
pub(crate) fn module_directories(
    executable: &Executable,
    package: &str,
    named: &BTreeSet<PathBuf>,
    objects: &[PathBuf],
) -> Vec<PathBuf> {
    let in_root = |path: &Path| executable.root.join(path.strip_prefix("/").unwrap_or(path));
    let mut directories: BTreeSet<PathBuf> = named.iter().map(|path| in_root(path)).collect();
    let prefix = executable.path.parent().and_then(Path::parent);
    for directory in named {
        let mut parts = directory.iter();
        let is_lib = |part: &OsStr| part.as_bytes().starts_with(b"lib");
        if let (Some(prefix), Some(lib)) = (prefix, parts.find(|part| is_lib(part))) {
            directories.insert(prefix.join(lib).join(parts.as_path()));
        }
    }
    let of_modules = objects.iter().filter_map(|object| object.parent());
    directories.extend(
        of_modules.filter(|path| path.file_name() == Some(OsStr::new("qemu"))).map(Path::to_owned),
    );
    if !directories.is_empty() {
        let upgraded = Path::new("/var/run/qemu").join(version_directory(package));
        directories.insert(in_root(&upgraded));
        let given = executable.environment.iter().filter(|(name, _)| name == "QEMU_MODULE_DIR");
        directories.extend(given.map(|(_, value)| in_root(Path::new(value))));
    }
    directories.into_iter().collect()
}

/// Returns QEMU's name for the directory of a package's modules: each character that is not a letter, digit
/// or `+-.~` becomes an underscore.
fn version_directory(package: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "+-.~".contains(c) { c } else { '_' };
    package.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn not_running(path: &str) -> Executable {
        Executable::not_running(path.into(), File::open("/dev/null").unwrap())
    }

    #[test]
    fn modules_are_searched_in_the_directory_of_the_environment_and_inside_the_root() {
        let mut executable = not_running("/jail/usr/bin/qemu-system-x86_64");
        executable.root = "/jail".into();
        executable.environment = vec![("QEMU_MODULE_DIR".into(), "/m".into())];
        let named = BTreeSet::from([PathBuf::from("/usr/lib/qemu")]);
        assert_eq!(
            module_directories(&executable, "7", &named, &[]),
            ["/jail/m", "/jail/usr/lib/qemu", "/jail/var/run/qemu/7"].map(PathBuf::from)
        );
    }

    #[test]
    fn an_executable_names_its_module_directory_among_other_strings() {
        let block =
            b"\0/usr/share/qemu\0/usr/lib/ipxe/qemu\0/usr/lib/x86_64-linux-gnu/qemu\0x/lib/qemu\0\
            /opt/q/lib64/qemu\0/usr/lib/qemu/helper\0";
        let mut found = BTreeSet::new();
        named_module_directories(block, &mut found);
        let found: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(found, ["/opt/q/lib64/qemu", "/usr/lib/x86_64-linux-gnu/qemu"]);
    }

    #[test]
    fn modules_are_searched_in_the_built_in_directory_and_beside_the_executable() {
        let named = BTreeSet::from([PathBuf::from("/usr/lib/x86_64-linux-gnu/qemu")]);
        let searched = |executable: &str| {
            let package = "Debian 1:7.2+dfsg-7";
            module_directories(&not_running(executable), package, &named, &[])
        };
        assert_eq!(
            searched("/usr/bin/qemu-system-x86_64"),
            ["/usr/lib/x86_64-linux-gnu/qemu", "/var/run/qemu/Debian_1_7.2+dfsg-7"]
                .map(PathBuf::from)
        );
        assert_eq!(
            searched("/opt/q/bin/qemu-system-x86_64"),
            [
                "/opt/q/lib/x86_64-linux-gnu/qemu",
                "/usr/lib/x86_64-linux-gnu/qemu",
                "/var/run/qemu/Debian_1_7.2+dfsg-7"
            ]
            .map(PathBuf::from)
        );
    }

    #[test]
    fn an_emulator_without_modules_searches_no_directory() {
        let executable = not_running("/usr/bin/qemu-system-avr");
        assert!(module_directories(&executable, "", &BTreeSet::new(), &[]).is_empty());
    }
}
