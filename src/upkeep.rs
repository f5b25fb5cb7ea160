//! What those need who keep a cache fresh: what entries depend on, and a way to drop what is stale.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capscache_format::{Input, InputKind, Scope};

use crate::cache::{Cache, Examined, absolute};
use crate::capabilities::Capabilities;
use crate::error::Error;
use crate::input::{Stale, path_of, paths_of};

/// A path whose change may change answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    /// What is at the path, whether there is anything or not.
    File(PathBuf),
    /// Each file in the directory as well.
    Directory(PathBuf),
}

impl Dependency {
    /// The path, which may be a link and need not exist.
    pub fn path(&self) -> &Path {
        match self {
            Dependency::File(path) | Dependency::Directory(path) => path,
        }
    }

    /// What probing an emulator may run of which nothing is known yet: itself and, if it is a script,
    /// the absolute paths that stand in it and in the scripts among them. Of scripts that name ever
    /// more of them the first hundreds.
    #[cfg(feature = "probe")]
    pub fn of_unprobed(emulator: &Path) -> Vec<Dependency> {
        const ENOUGH: usize = 500;
        let mut paths = vec![emulator.to_owned()];
        let mut read = 0;
        while read < paths.len() && paths.len() < ENOUGH {
            for named in crate::input::named_in_script(&paths[read]) {
                if !paths.contains(&named) {
                    paths.push(named);
                }
            }
            read += 1;
        }
        paths.into_iter().map(Dependency::File).collect()
    }

    /// What recorded inputs are about, in their order.
    pub(crate) fn of(inputs: &[Input]) -> Vec<Dependency> {
        let mut dependencies = Vec::new();
        for input in inputs {
            match input.kind {
                InputKind::Modules | InputKind::Firmware => {
                    dependencies.push(Dependency::Directory(path_of(input)));
                }
                // Another mount namespace's file: its path means nothing here.
                InputKind::Executable if input.signature.is_none() && input.sha256.is_some() => {}
                InputKind::Emulator | InputKind::Executable | InputKind::Kvm => {
                    dependencies.push(Dependency::File(path_of(input)));
                }
                InputKind::Libraries => {
                    let objects = paths_of(&input.value).map(Path::to_owned);
                    let files = std::iter::once(path_of(input)).chain(objects);
                    dependencies.extend(files.map(Dependency::File));
                }
                // No path says when these change.
                _ => {}
            }
        }
        dependencies
    }
}

impl Capabilities {
    /// The paths that the answers depend on, in no particular order: the emulator and what it runs,
    /// modules, shared objects, firmware descriptors, `/dev/kvm`.
    pub fn depends_on(&self) -> Vec<Dependency> {
        Dependency::of(self.0.inputs())
    }
}

impl Cache {
    /// The directory under the root where the entries of this release lie; made when something is
    /// written.
    pub fn directory(&self) -> &Path {
        self.0.store.directory()
    }

    /// All entries, valid or not, in no particular order, without a look at what they depend on.
    /// Damaged ones come as errors.
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Result<Capabilities, Error>>, Error> {
        let entries = self.0.read_all()?;
        Ok(entries.map(|(_, entry)| Ok(Capabilities(Arc::new(entry?)))).collect())
    }

    /// Looks at an entry as [`Cache::lookup_thoroughly`] does and drops it if it is stale as a whole,
    /// which a [`Cache::lookup`] may not see; says why it is stale. One that is stale only in what
    /// depends on the host stays: the next [`Cache::get`] asks for that part and nothing else. One
    /// that somebody is about to replace stays too, and so do fallbacks, and one of which this process
    /// may not look at what it depends on: others may, for whom it holds.
    ///
    /// # Errors
    /// As [`Cache::lookup`], and [`Error::Entry`] if the entry cannot be removed.
    pub fn drop_stale(&self, emulator: impl AsRef<Path>) -> Result<Option<Stale>, Error> {
        let emulator = absolute(emulator.as_ref())?;
        let path = self.0.store.entry_path(&emulator);
        let Examined::Stale(stale, entry) = self.0.examine_thoroughly(&emulator)? else {
            return Ok(None);
        };
        if stale.scope == Scope::Binary
            && !is_hidden(&stale.path)
            && entry.is_in(&path)
            && let Some(_lock) = self.0.store.lock(&path, Duration::ZERO)
            && entry.is_current()
        {
            self.0.store.remove(&path)?;
            self.0.forget(&emulator);
        }
        Ok(Some(stale))
    }
}

/// Whether this process may not know what is at a path: others may, and for them an entry may hold.
pub fn is_hidden(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}
