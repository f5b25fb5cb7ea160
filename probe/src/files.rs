//! The files that an emulator is made of, beside its executable: shared objects and modules.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// Longer than any path of a module directory; what a search of the executable keeps of the block
/// before.
pub(crate) const OVERLAP_BYTES: usize = 256;

/// How much is read of the list of what a process has mapped. QEMU's has some 50 KB.
const MAX_MAPS_BYTES: u64 = 4 << 20;

/// The shared objects that a process has mapped, as paths of this mount namespace, sorted.
///
/// Read from `/proc/PID/maps`, whose paths are those of the process: one that leads to another file
/// here is left out.
pub(crate) fn mapped_objects(pid: Pid) -> io::Result<Vec<PathBuf>> {
    let mut maps = Vec::new();
    let file = File::open(format!("/proc/{}/maps", pid.as_raw_pid()))?;
    file.take(MAX_MAPS_BYTES).read_to_end(&mut maps)?;
    let mut objects: Vec<PathBuf> =
        maps.split(|byte| *byte == b'\n').filter_map(mapped_object).collect();
    objects.sort();
    Ok(objects)
}

/// A line is `FROM-TO PERMISSIONS OFFSET MAJOR:MINOR INODE   PATH`; an object has several, one of
/// which is its beginning.
fn mapped_object(line: &[u8]) -> Option<PathBuf> {
    let start = line.iter().position(|byte| *byte == b'/')?;
    let (columns, path) = line.split_at(start);
    let columns = std::str::from_utf8(columns).ok()?;
    let mut columns = columns.split_ascii_whitespace().skip(2);
    let offset = columns.next()?;
    let inode: u64 = columns.nth(1)?.parse().ok()?;
    if offset.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let path = Path::new(OsStr::from_bytes(path));
    let is_object = path.file_name()?.as_bytes().windows(3).any(|part| part == b".so");
    let is_here = std::fs::metadata(path).is_ok_and(|status| status.ino() == inode);
    (is_object && is_here).then(|| path.to_owned())
}

/// The module directories that an executable names: absolute paths `…/lib*/qemu` or
/// `…/lib/MULTIARCH/qemu` that end with a zero byte in `block`.
pub(crate) fn named_module_directories(block: &[u8], found: &mut BTreeSet<PathBuf>) {
    const END: &[u8] = b"/qemu\0";
    for end in memchr::memmem::find_iter(block, END) {
        let before = &block[..end];
        // Strings stand behind zeros; without one this is the rest of a name that was found before.
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

/// Where an emulator looks for modules, present or not: the directories that it was built with, the
/// same relative to where its executable lies, those that it has modules of, and the directory for
/// modules of a package that was upgraded meanwhile. None for an emulator without modules.
pub(crate) fn module_directories(
    executable: &Path,
    package: &str,
    named: &BTreeSet<PathBuf>,
    objects: &[PathBuf],
) -> Vec<PathBuf> {
    let mut directories = named.clone();
    let prefix = executable.parent().and_then(Path::parent);
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
        directories.insert(Path::new("/var/run/qemu").join(version_directory(package)));
    }
    directories.into_iter().collect()
}

/// QEMU's name for the directory of a package's modules: what is not a letter, digit or `+-.~`
/// becomes an underscore.
fn version_directory(package: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "+-.~".contains(c) { c } else { '_' };
    package.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_emulator_looks_where_it_was_built_for_and_beside_itself() {
        let named = BTreeSet::from([PathBuf::from("/usr/lib/x86_64-linux-gnu/qemu")]);
        let looked = |executable: &str| {
            let package = "Debian 1:7.2+dfsg-7";
            module_directories(Path::new(executable), package, &named, &[])
        };
        assert_eq!(
            looked("/usr/bin/qemu-system-x86_64"),
            ["/usr/lib/x86_64-linux-gnu/qemu", "/var/run/qemu/Debian_1_7.2+dfsg-7"]
                .map(PathBuf::from)
        );
        assert_eq!(
            looked("/opt/q/bin/qemu-system-x86_64"),
            [
                "/opt/q/lib/x86_64-linux-gnu/qemu",
                "/usr/lib/x86_64-linux-gnu/qemu",
                "/var/run/qemu/Debian_1_7.2+dfsg-7"
            ]
            .map(PathBuf::from)
        );
    }

    #[test]
    fn an_emulator_without_modules_looks_nowhere() {
        let executable = Path::new("/usr/bin/qemu-system-avr");
        assert!(module_directories(executable, "", &BTreeSet::new(), &[]).is_empty());
    }

    #[test]
    fn this_process_has_mapped_objects_and_all_of_them_are_files() {
        let objects = mapped_objects(rustix::process::getpid()).unwrap();
        assert!(
            objects.iter().any(|path| path.to_string_lossy().contains("libc.so")),
            "{objects:?}"
        );
        assert!(objects.iter().all(|path| path.is_file()), "{objects:?}");
    }
}
