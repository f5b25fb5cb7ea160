//! Changes of mounts. Mounting a file system over a directory is not an event in it: systemd-sysext
//! merges directories into `/usr` that way, and containers get their `/dev/kvm`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::interest::Interests;

const MOUNTS: &str = "/proc/self/mountinfo";

/// Mounts on watched paths, as they were remembered.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// Polled for changes; `None` without `/proc`.
    file: Option<File>,
    relevant: Vec<Vec<u8>>,
}

/// A copy of `/proc/self/mountinfo`.
pub(crate) struct MountTable(Vec<u8>);

impl MountTable {
    pub(crate) fn read() -> MountTable {
        MountTable(fs::read(MOUNTS).unwrap_or_default())
    }

    /// Returns the identifying fields of the mounts that `interests` depend on.
    fn relevant(&self, interests: &Interests) -> Vec<Vec<u8>> {
        let is_relevant = |line: &&[u8]| {
            mount_point(line).is_some_and(|point| {
                interests.is_directory(&point) || !interests.subjects_of(&point).is_empty()
            })
        };
        let lines = self.0.split(|byte| *byte == b'\n').filter(is_relevant);
        // The five fields up to the mount point: options and propagation follow.
        lines
            .map(|line| line.split(|b| *b == b' ').take(5).collect::<Vec<_>>().join(&b' '))
            .collect()
    }
}

impl Mounts {
    pub(crate) fn new() -> Mounts {
        Mounts { file: File::open(MOUNTS).ok(), relevant: Vec::new() }
    }

    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Remembers the mounts of `table`, which was read before the directories of `interests` were resolved.
    pub(crate) fn remember(&mut self, table: &MountTable, interests: &Interests) {
        self.relevant = table.relevant(interests);
    }

    /// Returns whether the mounts that `interests` depend on changed since.
    pub(crate) fn changed(&self, interests: &Interests) -> bool {
        MountTable::read().relevant(interests) != self.relevant
    }
}

/// Returns the mount point of a line of `mountinfo`, in which blanks and the like are octal escapes
/// (`proc_pid_mountinfo(5)`).
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let number = after.get(..3).filter(|_| *first == b'\\');
        let number =
            number.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(number.unwrap_or(*first));
        rest = if number.is_some() { &after[3..] } else { after };
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::interest::Subject;

    const LINES: &str = "\
21 1 254:0 / / rw,relatime - ext4 /dev/root rw
22 21 0:20 / /proc rw - proc proc rw
23 21 0:21 / /etc rw - tmpfs tmpfs rw
24 21 0:22 /x /with\\040blank rw - tmpfs tmpfs rw
";

    #[test]
    fn only_mounts_on_watched_paths_are_relevant() {
        let mut interests = Interests::default();
        interests.add_file(Path::new("/etc/passwd"), &[Subject::Search].into());
        let before = MountTable(LINES.into()).relevant(&interests);
        assert_eq!(before, [&b"21 1 254:0 / /"[..], b"23 21 0:21 / /etc"]);

        let elsewhere = LINES.replace("/proc", "/sys").replace("rw,relatime", "ro");
        assert_eq!(MountTable(elsewhere.into()).relevant(&interests), before);
        let over_the_file = LINES.to_owned() + "25 23 0:23 /f /etc/passwd rw - tmpfs tmpfs rw\n";
        assert_eq!(MountTable(over_the_file.into()).relevant(&interests).len(), 3);
        let again = LINES.replace("23 21", "26 21");
        assert_ne!(MountTable(again.into()).relevant(&interests), before);
    }

    #[test]
    fn mount_points_may_contain_blanks_and_malformed_lines_are_accepted() {
        let points: Vec<_> = LINES.lines().map(|line| mount_point(line.as_bytes())).collect();
        assert_eq!(points[3], Some("/with blank".into()));
        assert_eq!(mount_point(b""), None);
        assert_eq!(mount_point(b"1 2 3 4 /a\\"), Some("/a\\".into()));
        assert_eq!(mount_point(b"1 2 3 4 /a\\999"), Some("/a\\999".into()));
    }
}
