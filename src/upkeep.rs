//! What those need who keep a cache fresh: what entries depend on, and a way to drop what is stale.

#[cfg(feature = "probe")]
use std::ffi::OsStr;
use std::io::ErrorKind;
#[cfg(feature = "probe")]
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capscache_format::{Input, InputKind, Scope};

use crate::cache::{Cache, Examined, absolute};
use crate::capabilities::Capabilities;
use crate::error::Error;
use crate::input::{Stale, path_of, paths_of, paths_of_route};
use crate::kvm::KVM;

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

    /// The files that probing an emulator may run of which nothing is known yet: itself and, if it is a
    /// script, whatever it resolves through, as far as its text tells: files and directories that it names,
    /// and where a command of it would be found first. Of scripts that name ever more
    /// files the first hundreds.
    ///
    /// With them, whether these are surely all: those of an emulator that is not a script, or one of plain
    /// commands with literal words. Other scripts may run what their text does not tell.
    #[cfg(feature = "probe")]
    pub fn of_unprobed(emulator: &Path) -> (Vec<Dependency>, bool) {
        let routes = crate::wrapper::routes(emulator, &crate::wrapper::environment(&[]));
        let searched = routes.searched.iter().flat_map(|(directory, names)| {
            names.iter().map(|name| directory.join(OsStr::from_bytes(name)))
        });
        let paths = std::iter::once(emulator.to_owned()).chain(routes.files);
        let files = paths.chain(searched).map(Dependency::File);
        let all = files.chain(routes.directories.into_iter().map(Dependency::Directory));
        (all.collect(), !routes.is_open)
    }

    /// What recorded inputs are about, in their order.
    pub(crate) fn of(inputs: &[Input]) -> Vec<Dependency> {
        let mut dependencies = Vec::new();
        for input in inputs {
            match input.kind {
                InputKind::Modules => {
                    dependencies.push(Dependency::Directory(path_of(input)));
                }
                // Another mount namespace's file: its path means nothing here.
                InputKind::Executable if input.signature.is_none() && input.sha256.is_some() => {}
                InputKind::Emulator | InputKind::Executable => {
                    dependencies.push(Dependency::File(path_of(input)));
                }
                InputKind::Kvm => dependencies.push(Dependency::File(KVM.into())),
                InputKind::Libraries => {
                    let path = path_of(input);
                    let objects =
                        paths_of(&input.value).map(|path| Dependency::File(path.to_owned()));
                    dependencies.extend(objects);
                    // What is installed without the loader's cache shows in its directory only.
                    let is_list = path.parent().is_some_and(|parent| parent.ends_with("etc"));
                    dependencies.push(if is_list {
                        Dependency::File(path)
                    } else {
                        Dependency::Directory(path)
                    });
                }
                InputKind::Route => {
                    dependencies.extend(paths_of_route(input).into_iter().map(Dependency::File));
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
    /// modules, shared objects, `/dev/kvm`.
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
        self.drop_if_stale(&emulator, self.0.examine_thoroughly(&emulator)?)
    }

    /// As [`Cache::drop_stale`], and starts a wrapper to compare what it runs, as
    /// [`Cache::lookup_starting`] does.
    ///
    /// # Errors
    /// As [`Cache::drop_stale`].
    #[cfg(feature = "probe")]
    pub fn drop_stale_starting(&self, emulator: impl AsRef<Path>) -> Result<Option<Stale>, Error> {
        let emulator = absolute(emulator.as_ref())?;
        self.drop_if_stale(&emulator, self.0.examine_starting(&emulator)?)
    }

    fn drop_if_stale(&self, emulator: &Path, examined: Examined) -> Result<Option<Stale>, Error> {
        let path = self.0.store.entry_path(emulator);
        let Examined::Stale(stale, entry) = examined else { return Ok(None) };
        if stale.scope == Scope::Binary
            && !is_hidden(&stale.path)
            && entry.is_in(&path)
            && let Some(_lock) = self.0.store.lock(&path, Duration::ZERO)
            && entry.is_current()
        {
            self.0.store.remove(&path)?;
            self.0.forget(emulator);
        }
        Ok(Some(stale))
    }
}

/// Whether this process may not know what is at a path: others may, and for them an entry may hold.
pub fn is_hidden(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}
