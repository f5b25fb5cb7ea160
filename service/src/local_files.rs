//! Emulators whose entries may be checked on the thread that answers all connections.
//!
//! A `stat` on a file system that hangs, such as FUSE whose server stopped, hangs too. Where all files that
//! an entry depends on are on file systems of this host, a hit is answered at once; otherwise on another
//! thread.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use capscache::Capabilities;
use capscache::trust::{PathWalk, check_trusted};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::statfs;

/// Emulators that are remembered: more than any host has.
const MAX_EMULATORS: usize = 4096;

/// File systems that the kernel serves by itself, from memory or a disk (`statfs(2)`): ext, XFS, Btrfs,
/// bcachefs, F2FS, ZFS, tmpfs, ramfs, overlay, squashfs, EROFS, ISO 9660, FAT, proc, sysfs.
const LOCAL_FILE_SYSTEMS: [i64; 15] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xca45_1a4e,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0x0102_1994,
    0x8584_58f6,
    0x794c_7630,
    0x7371_7368,
    0xe0f5_e1e2,
    0x9660,
    0x4d44,
    0x9fa0,
    0x6265_6572,
];

/// Emulators whose entries depend on local files only. Forgotten when anything is mounted or unmounted.
#[derive(Debug)]
pub(crate) struct LocalFiles {
    /// Becomes ready for `poll` when mounts change; without it nothing is remembered.
    mounts: Option<File>,
    emulators: RefCell<HashSet<PathBuf>>,
}

impl LocalFiles {
    pub(crate) fn new() -> LocalFiles {
        let mounts = File::open("/proc/self/mountinfo").ok();
        LocalFiles { mounts, emulators: RefCell::default() }
    }

    /// Returns whether an emulator's entry is known to depend on local files only.
    pub(crate) fn has(&self, emulator: &Path) -> bool {
        let Some(mounts) = &self.mounts else { return false };
        let mut polled = [PollFd::new(mounts, PollFlags::PRI)];
        let changed = poll(&mut polled, Some(&Timespec::default())).map_or(true, |ready| ready > 0);
        let mut emulators = self.emulators.borrow_mut();
        if changed {
            emulators.clear();
        }
        emulators.contains(emulator)
    }

    /// Records the result of [`is_local`].
    pub(crate) fn record(&self, emulator: &Path, is_local: bool) {
        let mut emulators = self.emulators.borrow_mut();
        if !is_local {
            emulators.remove(emulator);
        } else if emulators.len() < MAX_EMULATORS {
            emulators.insert(emulator.to_owned());
        }
    }
}

/// Returns whether an emulator, all files that its entry depends on, and all directories and links on the
/// way to them are on file systems of this host. May hang itself.
pub(crate) fn is_local(emulator: &Path, entry: &Capabilities) -> bool {
    let mut seen = HashSet::new();
    let mut is_local = |path: &Path| is_path_local(path, &mut seen);
    // A user who may change a directory or link on the way could lead it elsewhere at any time.
    let mut stays = |path: &Path| is_local(path) && check_trusted(path).is_ok();
    stays(emulator) && entry.depends_on().iter().all(|input| stays(input.path()))
}

fn is_path_local(path: &Path, seen: &mut HashSet<PathBuf>) -> bool {
    let walk = PathWalk::of(path);
    let directories = walk.steps.into_iter().map(|(directory, _)| directory);
    let mut files = directories.chain(walk.unsearchable).chain(walk.end);
    let is_local = |file: PathBuf| {
        seen.contains(&file) || (is_on_local_file_system(&file) && seen.insert(file))
    };
    !walk.is_unresolvable && files.all(is_local)
}

fn is_on_local_file_system(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| LOCAL_FILE_SYSTEMS.contains(&found.f_type))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_path_that_leads_to_another_file_system_is_not_local() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let is_local = |path: &Path| is_path_local(path, &mut HashSet::new());
        fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", root.join("link")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        if !is_on_local_file_system(&root) {
            println!("SKIPPED: {root:?} is not on a known file system");
            return;
        }
        for name in ["file", "link", "nothing", "file/nothing"] {
            assert!(is_local(&root.join(name)), "{name}");
        }
        assert!(!is_local(&root.join("loop")));
        // Where control groups are mounted, there is a file system that is not in the list.
        if Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
            std::os::unix::fs::symlink("/sys/fs/cgroup", root.join("other")).unwrap();
            assert!(!is_local(&root.join("other/cgroup.procs")));
        }
    }

    #[test]
    fn an_emulator_that_is_not_local_any_more_is_forgotten() {
        let local = LocalFiles::new();
        let emulator = Path::new("/emulator");
        local.record(emulator, true);
        local.record(emulator, false);
        assert!(!local.has(emulator));
    }
}
