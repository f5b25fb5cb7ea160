//! Which event concerns whom.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::route::Route;

/// What has to be looked at again when something happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// All of the following.
    Everything,
    /// What is mounted.
    Mounts,
    /// Which entries there are.
    Entries,
    /// Which emulators there are.
    Search,
    /// One emulator's entry.
    Emulator(Arc<Path>),
}

pub(crate) type Subjects = HashSet<Subject>;

/// What is to be noticed, by directory and name.
#[derive(Debug, Default)]
pub(crate) struct Interests(HashMap<PathBuf, Interest>);

/// What is to be noticed in one directory.
#[derive(Debug, Default)]
struct Interest {
    named: HashMap<OsString, Subjects>,
    /// Whom every name concerns that begins so.
    beginning: Vec<(&'static str, Subjects)>,
}

impl Interests {
    /// What happens to `path`, or to anything on the way to it, concerns `subjects`.
    pub(crate) fn add_file(&mut self, path: &Path, subjects: &Subjects) {
        self.add(Route::to(path), subjects);
    }

    /// As [`Interests::add_file`], and if it is a directory, so does what happens to a file in it
    /// whose name begins with `prefix`.
    pub(crate) fn add_directory(&mut self, path: &Path, prefix: &'static str, subjects: &Subjects) {
        let route = Route::to(path);
        if let Some(end) = route.end.as_ref().filter(|end| end.is_dir()) {
            let interest = self.0.entry(end.clone()).or_default();
            interest.beginning.push((prefix, subjects.clone()));
        }
        self.add(route, subjects);
    }

    fn add(&mut self, route: Route, subjects: &Subjects) {
        for (directory, name) in route.steps {
            let interest = self.0.entry(directory).or_default();
            interest.named.entry(name).or_default().extend(subjects.iter().cloned());
        }
    }

    /// The directories in which something is to be noticed.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    pub(crate) fn is_directory(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Two names of one directory: what happens there is told under `name` alone.
    pub(crate) fn unite(&mut self, name: &Path, other: &Path) {
        let Some(interest) = self.0.remove(other) else { return };
        let united = self.0.entry(name.to_owned()).or_default();
        united.beginning.extend(interest.beginning);
        for (name, subjects) in interest.named {
            united.named.entry(name).or_default().extend(subjects);
        }
    }

    /// Whom it concerns that something happened to `path`.
    pub(crate) fn concerned(&self, path: &Path) -> Subjects {
        let named = path.parent().zip(path.file_name());
        let interest = named.and_then(|(directory, name)| Some((self.0.get(directory)?, name)));
        let Some((interest, name)) = interest else { return Subjects::new() };
        let begins = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        let beginning = interest.beginning.iter().filter(|(prefix, _)| begins(prefix));
        let named = interest.named.get::<OsStr>(name).into_iter().flatten();
        named.chain(beginning.flat_map(|(_, subjects)| subjects)).cloned().collect()
    }

    /// Whom it concerns that something in `directory` may have escaped.
    pub(crate) fn concerned_in(&self, directory: &Path) -> Subjects {
        let Some(interest) = self.0.get(directory) else { return Subjects::new() };
        let beginning = interest.beginning.iter().flat_map(|(_, subjects)| subjects);
        interest.named.values().flatten().chain(beginning).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_concerns_those_who_named_its_file_or_its_beginning() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (search, entries) = ([Subject::Search].into(), [Subject::Entries].into());
        let mut interests = Interests::default();
        interests.add_directory(&root, "qemu-", &search);
        interests.add_file(&root.join("entries"), &entries);
        let none = Subjects::new();
        assert_eq!(interests.concerned(&root.join("qemu-system-x86_64")), search);
        assert_eq!(interests.concerned(&root.join("entries")), entries);
        assert_eq!(interests.concerned(&root.join("bash")), none);
        assert_eq!(interests.concerned(&root.join("qemu-x/deeper")), none);
        // Both pass through it.
        assert_eq!(interests.concerned(&root).len(), 2);
        assert_eq!(interests.concerned_in(&root).len(), 2);
    }
}
