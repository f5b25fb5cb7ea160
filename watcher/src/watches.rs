//! Which directories are watched, and which of them do not tell everything.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Config, ErrorKind, EventKindMask, INotifyWatcher, RecursiveMode, Watcher};

use crate::ear::{Ear, Handler};
use crate::interest::{Interests, Subjects};

/// Device and inode: two names of one directory share one watch.
type Identity = (u64, u64);

#[derive(Debug)]
pub(crate) struct Watches {
    ear: Arc<Ear>,
    /// `None`: the kernel gives no inotify instance.
    notify: Option<INotifyWatcher>,
    watched: HashMap<PathBuf, Identity>,
    /// Directories of which nothing, or not everything, is heard, and why.
    deaf: BTreeMap<PathBuf, String>,
}

impl Watches {
    pub(crate) fn new(ear: Arc<Ear>) -> Watches {
        Watches { ear, notify: None, watched: HashMap::new(), deaf: BTreeMap::new() }
    }

    /// How many directories are watched.
    pub(crate) fn len(&self) -> usize {
        self.watched.len()
    }

    /// How many directories do not tell everything, and the reasons; `None` if all do.
    pub(crate) fn deaf(&self) -> Option<(usize, String)> {
        let reasons: BTreeSet<_> = self.deaf.values().map(String::as_str).collect();
        let reasons: Vec<_> = reasons.into_iter().collect();
        (!reasons.is_empty()).then(|| (self.deaf.len(), reasons.join("; ")))
    }

    /// Forgets the watches of directories that went, and of what was in them.
    pub(crate) fn lost(&mut self, directories: &BTreeSet<PathBuf>) {
        let lost = |path: &Path| directories.iter().any(|directory| path.starts_with(directory));
        let lost: Vec<_> = self.watched.keys().filter(|path| lost(path)).cloned().collect();
        for path in lost {
            self.unwatch(&path);
        }
    }

    /// Watches what `interests` name, and nothing else; whom it concerns that a directory is watched
    /// only now: something may have happened there before.
    pub(crate) fn follow(&mut self, mut interests: Interests) -> Subjects {
        let wanted = identify(&mut interests);
        let held = |path: &PathBuf, identity: &Identity| wanted.get(path) == Some(identity);
        let gone = self.watched.iter().filter(|(path, identity)| !held(path, identity));
        let gone: Vec<PathBuf> = gone.map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.unwatch(&path);
        }
        self.deaf.clear();
        // Deepest first: if the limit is reached, what is only on the way is left out.
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by_cached_key(|(path, _)| (Reverse(path.iter().count()), path.clone()));
        let missing = wanted.iter().filter(|(path, _)| !self.watched.contains_key(path));
        let mut concerned: HashMap<_, _> =
            missing.map(|(path, _)| (path.clone(), interests.concerned_in(path))).collect();
        // Before there is anything to hear.
        self.ear.listen_for(interests);
        let mut escaped = Subjects::new();
        let mut refused = None;
        for (path, identity) in wanted {
            if let Some(reason) = silent(&path) {
                self.deaf.insert(path.clone(), reason.to_owned());
            }
            let Some(subjects) = concerned.remove(&path) else { continue };
            match refused.clone().map_or_else(|| self.watch(&path), Err) {
                Ok(()) => {
                    escaped.extend(subjects);
                    self.watched.insert(path, identity);
                }
                // What is above it tells when it comes back.
                Err(Refused::Gone) => {}
                Err(reason) => {
                    self.deaf.insert(path, reason.to_string());
                    refused = reason.is_for_all().then_some(reason);
                }
            }
        }
        escaped
    }

    fn watch(&mut self, directory: &Path) -> Result<(), Refused> {
        let notify = match &mut self.notify {
            Some(notify) => notify,
            none => {
                // Not what is opened or closed: each program that starts opens files in these
                // directories, and each look at KVM closes its node.
                let config = Config::default().with_event_kinds(EventKindMask::CORE);
                let opened = INotifyWatcher::new(Handler(Arc::clone(&self.ear)), config);
                none.insert(opened.map_err(|error| Refused::Instance(error.to_string()))?)
            }
        };
        notify.watch(directory, RecursiveMode::NonRecursive).map_err(|error| match error.kind {
            ErrorKind::MaxFilesWatch => Refused::Limit,
            ErrorKind::PathNotFound => Refused::Gone,
            _ => Refused::Other(error.to_string()),
        })
    }

    fn unwatch(&mut self, directory: &Path) {
        self.watched.remove(directory);
        if let Some(notify) = &mut self.notify {
            // It is not there any more if its directory is gone.
            let _ = notify.unwatch(directory);
        }
    }
}

/// Why a directory is not watched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("it is gone")]
    Gone,
    #[error("the limit of watches is reached: raise fs.inotify.max_user_watches")]
    Limit,
    #[error("inotify cannot be used ({0}): see fs.inotify.max_user_instances")]
    Instance(String),
    #[error("{0}")]
    Other(String),
}

impl Refused {
    /// Whether asking for another directory would bring the same answer.
    fn is_for_all(&self) -> bool {
        matches!(self, Refused::Limit | Refused::Instance(_))
    }
}

/// What the directories are now; those with several names are left with the first.
fn identify(interests: &mut Interests) -> HashMap<PathBuf, Identity> {
    let mut paths: Vec<_> = interests.directories().cloned().collect();
    paths.sort();
    let mut names: HashMap<Identity, PathBuf> = HashMap::new();
    for path in paths {
        // One that is gone is told of by what is above it.
        let Ok(status) = fs::metadata(&path) else { continue };
        match names.entry((status.dev(), status.ino())) {
            Entry::Occupied(first) => interests.unite(first.get(), &path),
            Entry::Vacant(first) => drop(first.insert(path)),
        }
    }
    names.into_iter().map(|(identity, path)| (path, identity)).collect()
}

/// Why a directory does not tell all that happens in it: others change it behind the kernel's back.
fn silent(directory: &Path) -> Option<&'static str> {
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
