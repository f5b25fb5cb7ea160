//! Which emulators may be looked at on the thread that answers everybody.
//!
//! A `stat` on a file system that hangs, such as FUSE whose server stopped, hangs too. Where all that an
//! entry depends on is on file systems of this host, a hit is answered at once; else on another thread.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use capscache::Capabilities;
use capscache_watcher::check_trusted;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::statfs;

/// Emulators that are remembered: more than any host has.
const MOST: usize = 4096;

/// Links that are followed on the way to one file, as the kernel does (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// File systems that the kernel serves by itself, from memory or a disk (`statfs(2)`): ext, XFS, Btrfs,
/// bcachefs, F2FS, ZFS, tmpfs, ramfs, overlay, squashfs, EROFS, ISO 9660, FAT, proc, sysfs.
const OF_THIS_HOST: [i64; 15] = [
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

/// The emulators that were found to be so, as long as nothing is mounted or unmounted.
#[derive(Debug)]
pub(super) struct Local {
    /// Tells by `poll` that mounts changed; without it nothing is remembered.
    mounts: Option<File>,
    emulators: RefCell<HashSet<PathBuf>>,
}

impl Local {
    pub(super) fn new() -> Local {
        let mounts = File::open("/proc/self/mountinfo").ok();
        Local { mounts, emulators: RefCell::default() }
    }

    /// Whether a look at what an emulator depends on takes no time.
    pub(super) fn has(&self, emulator: &Path) -> bool {
        let Some(mounts) = &self.mounts else { return false };
        let mut polled = [PollFd::new(mounts, PollFlags::PRI)];
        let changed = poll(&mut polled, Some(&Timespec::default())).map_or(true, |ready| ready > 0);
        let mut emulators = self.emulators.borrow_mut();
        if changed {
            emulators.clear();
        }
        emulators.contains(emulator)
    }

    /// Takes notice of what [`is_local`] said.
    pub(super) fn note(&self, emulator: &Path, is_local: bool) {
        let mut emulators = self.emulators.borrow_mut();
        if !is_local {
            emulators.remove(emulator);
        } else if emulators.len() < MOST {
            emulators.insert(emulator.to_owned());
        }
    }
}

/// Whether an emulator and all that its entry depends on are on file systems of this host, and so is all
/// that leads there. May hang itself.
pub(super) fn is_local(emulator: &Path, entry: &Capabilities) -> bool {
    let mut seen = HashSet::new();
    let mut is_local = |path: &Path| leads_nowhere_else(path, &mut seen, MOST_LINKS);
    // Whoever may change what is on the way could lead it elsewhere at any time.
    let mut stays = |path: &Path| is_local(path) && check_trusted(path).is_ok();
    stays(emulator) && entry.depends_on().iter().all(|input| stays(input.path()))
}

fn leads_nowhere_else(path: &Path, seen: &mut HashSet<PathBuf>, links: usize) -> bool {
    let mut way: Vec<&Path> = path.ancestors().collect();
    while let Some(step) = way.pop() {
        if seen.contains(step) {
            continue;
        }
        let Ok(status) = fs::symlink_metadata(step) else {
            // Nothing is there, nor behind it.
            return true;
        };
        if status.is_symlink() {
            let Ok(target) = fs::read_link(step) else { return false };
            let target = step.parent().unwrap_or(step).join(target);
            let Some(links) = links.checked_sub(1) else { return false };
            if !leads_nowhere_else(&target, seen, links) {
                return false;
            }
        } else if !is_of_this_host(step) {
            return false;
        }
        seen.insert(step.to_owned());
    }
    true
}

fn is_of_this_host(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| OF_THIS_HOST.contains(&found.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_on_the_way_is_not_local() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let is_local = |path: &Path| leads_nowhere_else(path, &mut HashSet::new(), MOST_LINKS);
        fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", root.join("link")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        if !is_of_this_host(&root) {
            println!("SKIPPED: {} is on no file system that is known", root.display());
            return;
        }
        for name in ["file", "link", "nothing", "file/nothing"] {
            assert!(is_local(&root.join(name)), "{name}");
        }
        assert!(!is_local(&root.join("loop")));
        // Where control groups or such are mounted, one is at hand that is not in the list.
        if Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
            std::os::unix::fs::symlink("/sys/fs/cgroup", root.join("other")).unwrap();
            assert!(!is_local(&root.join("other/cgroup.procs")));
        }
    }

    #[test]
    fn an_emulator_is_forgotten_that_is_not_local_any_more() {
        let local = Local::new();
        let emulator = Path::new("/emulator");
        local.note(emulator, true);
        local.note(emulator, false);
        assert!(!local.has(emulator));
    }
}
