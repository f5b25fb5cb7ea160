//! The inotify watches of directories, and the directories whose events are unreliable.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Config, ErrorKind, EventKindMask, INotifyWatcher, RecursiveMode, Watcher};

use capscache::chain;

use crate::event_queue::{EventQueue, Handler};
use crate::interest::{Interests, Subjects};

/// Device and inode: two names of one directory share one watch.
type Identity = (u64, u64);

#[derive(Debug)]
pub(crate) struct Watches {
    queue: Arc<EventQueue>,
    /// `None` as long as the kernel refuses an inotify instance.
    notify: Option<INotifyWatcher>,
    watched: HashMap<PathBuf, Identity>,
    /// Directories without events, or not all of them, and why.
    unreliable: BTreeMap<PathBuf, String>,
}

impl Watches {
    pub(crate) fn new(queue: Arc<EventQueue>) -> Watches {
        Watches { queue, notify: None, watched: HashMap::new(), unreliable: BTreeMap::new() }
    }

    /// Returns the number of watched directories.
    pub(crate) fn len(&self) -> usize {
        self.watched.len()
    }

    /// Returns the number of directories whose events are unreliable, and the reasons; `None` if there is
    /// none.
    pub(crate) fn unreliable(&self) -> Option<(usize, String)> {
        let reasons: BTreeSet<_> = self.unreliable.values().map(String::as_str).collect();
        let reasons: Vec<_> = reasons.into_iter().collect();
        (!reasons.is_empty()).then(|| (self.unreliable.len(), reasons.join("; ")))
    }

    /// Removes the watches of these directories, which were lost, and of all below them.
    pub(crate) fn forget(&mut self, directories: &BTreeSet<PathBuf>) {
        let lost = |path: &Path| directories.iter().any(|directory| path.starts_with(directory));
        let lost: Vec<_> = self.watched.keys().filter(|path| lost(path)).cloned().collect();
        for path in lost {
            self.unwatch(&path);
        }
    }

    /// Watches the directories of `interests`, and nothing else; returns the subjects of directories that
    /// were not watched before: they may have changed unnoticed.
    pub(crate) fn update(&mut self, mut interests: Interests) -> Subjects {
        let wanted = identify(&mut interests);
        let held = |path: &PathBuf, identity: &Identity| wanted.get(path) == Some(identity);
        let gone = self.watched.iter().filter(|(path, identity)| !held(path, identity));
        let gone: Vec<PathBuf> = gone.map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.unwatch(&path);
        }
        self.unreliable.clear();
        // Deepest first: if the limit is reached, only parents are left out.
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by_cached_key(|(path, _)| (Reverse(path.iter().count()), path.clone()));
        let missing = wanted.iter().filter(|(path, _)| !self.watched.contains_key(path));
        let mut new: HashMap<_, _> =
            missing.map(|(path, _)| (path.clone(), interests.subjects_in(path))).collect();
        // Before the first event of a new watch.
        self.queue.set_interests(interests);
        let mut missed = Subjects::new();
        let mut failed = None;
        for (path, identity) in wanted {
            if let Some(reason) = unreliable_file_system(&path) {
                self.unreliable.insert(path.clone(), reason.to_owned());
            }
            let Some(subjects) = new.remove(&path) else { continue };
            match failed.clone().map_or_else(|| self.watch(&path), Err) {
                Ok(()) => {
                    missed.extend(subjects);
                    self.watched.insert(path, identity);
                }
                // If it is created again, that is an event in its parent.
                Err(WatchError::Gone) => {}
                Err(error) => {
                    self.unreliable.insert(path, error.to_string());
                    failed = error.affects_all().then_some(error);
                }
            }
        }
        missed
    }

    fn watch(&mut self, directory: &Path) -> Result<(), WatchError> {
        let notify = match &mut self.notify {
            Some(notify) => notify,
            none => {
                // Without opening and closing: each program that starts opens files in these
                // directories, and each check of KVM closes its node.
                let config = Config::default().with_event_kinds(EventKindMask::CORE);
                let opened = INotifyWatcher::new(Handler(Arc::clone(&self.queue)), config);
                none.insert(opened.map_err(|error| WatchError::Instance(chain(&error)))?)
            }
        };
        notify.watch(directory, RecursiveMode::NonRecursive).map_err(|error| match error.kind {
            ErrorKind::MaxFilesWatch => WatchError::Limit,
            ErrorKind::PathNotFound => WatchError::Gone,
            _ => WatchError::Other(chain(&error)),
        })
    }

    fn unwatch(&mut self, directory: &Path) {
        self.watched.remove(directory);
        if let Some(notify) = &mut self.notify {
            // It fails if the directory is gone, and its watch with it.
            let _ = notify.unwatch(directory);
        }
    }
}

/// Error of watching a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum WatchError {
    #[error("it was removed")]
    Gone,
    #[error("the limit of watches is reached; raise fs.inotify.max_user_watches")]
    Limit,
    #[error("cannot use inotify: {0}; raise fs.inotify.max_user_instances")]
    Instance(String),
    #[error("{0}")]
    Other(String),
}

impl WatchError {
    /// Returns whether watching any other directory would fail too.
    fn affects_all(&self) -> bool {
        matches!(self, WatchError::Limit | WatchError::Instance(_))
    }
}

/// Stats the directories; keeps the first name of those with several.
fn identify(interests: &mut Interests) -> HashMap<PathBuf, Identity> {
    let mut paths: Vec<_> = interests.directories().cloned().collect();
    paths.sort();
    let mut names: HashMap<Identity, PathBuf> = HashMap::new();
    for path in paths {
        // If one that is gone is created again, that is an event in its parent.
        let Ok(status) = fs::metadata(&path) else { continue };
        match names.entry((status.dev(), status.ino())) {
            Entry::Occupied(first) => interests.merge(first.get(), &path),
            Entry::Vacant(first) => drop(first.insert(path)),
        }
    }
    names.into_iter().map(|(identity, path)| (path, identity)).collect()
}

/// Returns the name of the directory's file system if inotify does not report all changes there: other
/// hosts or file systems make some.
fn unreliable_file_system(directory: &Path) -> Option<&'static str> {
    const KINDS: [(i64, &str); 14] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFE53_4D42, "SMB2"),
        (0xFF53_4D42, "CIFS"),
        (0x0102_1997, "9p"),
        (0x6573_5546, "FUSE"),
        (0x794C_7630, "overlay"),
        (0x00C3_6400, "Ceph"),
        (0x5346_414F, "AFS"),
        (0x0BD0_0BD0, "Lustre"),
        (0x0116_1970, "GFS2"),
        (0x7461_636F, "OCFS2"),
        (0x4750_4653, "GPFS"),
        (0x786F_4256, "vboxsf"),
    ];
    let kind = rustix::fs::statfs(directory).ok()?.f_type;
    KINDS.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}
