//! The subjects that an event at a path concerns.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capscache::trust::PathWalk;

/// A subject to check when an event arrives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// All of the following.
    Everything,
    /// The mount table.
    Mounts,
    /// The list of entries.
    Entries,
    /// The emulators in the search directories.
    Search,
    /// The entry of one emulator.
    Emulator(Arc<Path>),
}

pub(crate) type Subjects = HashSet<Subject>;

/// Names of interest, by directory.
#[derive(Debug, Default)]
pub(crate) struct Interests(HashMap<PathBuf, Interest>);

/// Names of interest in one directory.
#[derive(Debug, Default)]
struct Interest {
    named: HashMap<OsString, Subjects>,
    /// Subjects of every name with this prefix.
    prefixes: Vec<(&'static str, Subjects)>,
}

impl Interests {
    /// Adds subjects for events at `path` or at a directory or link on its walk.
    pub(crate) fn add_file(&mut self, path: &Path, subjects: &Subjects) {
        self.add(PathWalk::of(path), subjects);
    }

    /// Adds subjects like [`Interests::add_file`], and if `path` is a directory, for events at files in it
    /// whose name begins with `prefix`.
    pub(crate) fn add_directory(&mut self, path: &Path, prefix: &'static str, subjects: &Subjects) {
        let walk = PathWalk::of(path);
        if let Some(end) = walk.end.as_ref().filter(|end| end.is_dir()) {
            let interest = self.0.entry(end.clone()).or_default();
            interest.prefixes.push((prefix, subjects.clone()));
        }
        self.add(walk, subjects);
    }

    fn add(&mut self, walk: PathWalk, subjects: &Subjects) {
        for (directory, name) in walk.steps {
            let interest = self.0.entry(directory).or_default();
            interest.named.entry(name).or_default().extend(subjects.iter().cloned());
        }
    }

    /// Returns the directories with names of interest.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    pub(crate) fn is_directory(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Merges two names of one directory: events carry `name` alone.
    pub(crate) fn merge(&mut self, name: &Path, other: &Path) {
        let Some(interest) = self.0.remove(other) else { return };
        let merged = self.0.entry(name.to_owned()).or_default();
        merged.prefixes.extend(interest.prefixes);
        for (name, subjects) in interest.named {
            merged.named.entry(name).or_default().extend(subjects);
        }
    }

    /// Returns the subjects of an event at `path`.
    pub(crate) fn subjects_of(&self, path: &Path) -> Subjects {
        let named = path.parent().zip(path.file_name());
        let interest = named.and_then(|(directory, name)| Some((self.0.get(directory)?, name)));
        let Some((interest, name)) = interest else { return Subjects::new() };
        let has_prefix = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        let prefixes = interest.prefixes.iter().filter(|(prefix, _)| has_prefix(prefix));
        let named = interest.named.get::<OsStr>(name).into_iter().flatten();
        named.chain(prefixes.flat_map(|(_, subjects)| subjects)).cloned().collect()
    }

    /// Returns the subjects of all events in `directory`.
    pub(crate) fn subjects_in(&self, directory: &Path) -> Subjects {
        let Some(interest) = self.0.get(directory) else { return Subjects::new() };
        let prefixes = interest.prefixes.iter().flat_map(|(_, subjects)| subjects);
        interest.named.values().flatten().chain(prefixes).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_concerns_the_subjects_of_its_file_name_and_of_its_prefix() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (search, entries) = ([Subject::Search].into(), [Subject::Entries].into());
        let mut interests = Interests::default();
        interests.add_directory(&root, "qemu-", &search);
        interests.add_file(&root.join("entries"), &entries);
        let none = Subjects::new();
        assert_eq!(interests.subjects_of(&root.join("qemu-system-x86_64")), search);
        assert_eq!(interests.subjects_of(&root.join("entries")), entries);
        assert_eq!(interests.subjects_of(&root.join("bash")), none);
        assert_eq!(interests.subjects_of(&root.join("qemu-x/deeper")), none);
        // The routes of both pass through it.
        assert_eq!(interests.subjects_of(&root).len(), 2);
        assert_eq!(interests.subjects_in(&root).len(), 2);
    }
}
