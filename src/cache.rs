//! The cache: every operation that a caller has.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capscache_format::Groups;

use crate::builder::CacheBuilder;
use crate::capabilities::Capabilities;
use crate::entries::Entries;
use crate::error::Error;
use crate::lookup::{ListedEntry, Lookup, Validation};
#[cfg(feature = "probe")]
use crate::refresh::{Refresher, Revalidated};
use crate::status::{GarbageReport, Stale, Status};
use crate::store::Store;
use crate::trust::Trust;

/// A cache under one root. Cheap to clone; all clones share the open entries.
///
/// Nothing outside the root is ever written, and no thread runs between calls.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(crate) entries: Arc<Entries>,
    #[cfg(feature = "probe")]
    pub(crate) refresher: Arc<Refresher>,
}

impl Cache {
    /// Opens the cache under `root`, which the first write creates.
    ///
    /// # Errors
    /// [`Error::Root`] for a root that is not a directory, [`Error::Unsafe`] for one that a user other than
    /// root and the user of this process could write or replace.
    pub fn open(root: impl Into<PathBuf>) -> Result<Cache, Error> {
        Cache::builder(root).open()
    }

    /// Configures a cache under `root`; [`CacheBuilder::open`] opens it.
    pub fn builder(root: impl Into<PathBuf>) -> CacheBuilder {
        CacheBuilder::new(root.into())
    }

    /// The directory that holds all files of this cache.
    pub fn root(&self) -> &Path {
        self.entries.store.root()
    }

    /// The directory under the root that holds the entries of this release; the first write creates it.
    pub fn directory(&self) -> &Path {
        self.entries.store.directory()
    }

    /// Finds the entry of an emulator and never probes. Links and wrappers are followed.
    ///
    /// A hit costs a `stat` of the entry, of the emulator, of the directories of its modules, of the
    /// loader's cache and its list of preloaded libraries and, where KVM can run it, of `/dev/kvm`,
    /// and the check whether that opens: at most eight system calls. Behind a wrapper it costs a
    /// `stat` more for the executable and for each script, link and candidate on the way, and for
    /// each directory of libraries that the loader's cache does not have. Only where one of these
    /// changed, values are compared; equal ones give the entry a new signature. Kernel, CPU and
    /// `memfd_create` are examined once per `Cache`.
    ///
    /// # Errors
    /// [`Error::Format`] for a damaged entry, [`Error::OtherEmulator`] for one in the wrong
    /// place, [`Error::Entry`] for one that cannot be read, [`Error::Unsafe`] for one that another user
    /// could have written.
    pub fn lookup(&self, emulator: impl AsRef<Path>) -> Result<Lookup, Error> {
        self.lookup_with(emulator, Validation::Fast)
    }

    /// Finds the entry of an emulator, see [`Cache::lookup`], with the given checks.
    ///
    /// # Errors
    /// See [`Cache::lookup`].
    pub fn lookup_with(
        &self,
        emulator: impl AsRef<Path>,
        validation: Validation,
    ) -> Result<Lookup, Error> {
        let emulator = absolute(emulator.as_ref())?;
        let examined = self.examine(&emulator, validation)?;
        Ok(self.entries.with_failure(&emulator, examined))
    }

    /// Returns the state of the entry of an emulator, after the given checks. A damaged entry is a state, not an
    /// error.
    ///
    /// # Errors
    /// See [`Cache::lookup`].
    pub fn status(
        &self,
        emulator: impl AsRef<Path>,
        validation: Validation,
    ) -> Result<Status, Error> {
        Status::of(self.lookup_with(emulator, validation))
    }

    /// Returns the entry of an emulator without any check of what it depends on: its answers may be stale.
    /// `None` if there is none.
    ///
    /// # Errors
    /// See [`Cache::lookup`].
    pub fn entry(&self, emulator: impl AsRef<Path>) -> Result<Option<Capabilities>, Error> {
        self.entries.entry(&absolute(emulator.as_ref())?)
    }

    /// Returns all entries, valid or not, in no particular order, without any check of what they depend on.
    /// Damaged ones are errors.
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Result<Capabilities, Error>>, Error> {
        let entries = self.entries.read_all()?;
        Ok(entries.map(|(_, entry)| Ok(Capabilities(Arc::new(entry?)))).collect())
    }

    /// Checks all entries and returns them ordered by the emulator's path. Damaged ones are errors.
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Result<ListedEntry, Error>>, Error> {
        self.entries.list()
    }

    /// Removes the entry of an emulator, and a failure that is remembered. Returns whether there was an
    /// entry. Handles on it stay readable.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn invalidate(&self, emulator: impl AsRef<Path>) -> Result<bool, Error> {
        self.entries.invalidate(&absolute(emulator.as_ref())?)
    }

    /// Removes all entries of this release, and all failures that are remembered. Returns the number of
    /// entries.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn invalidate_all(&self) -> Result<usize, Error> {
        self.entries.invalidate_all()
    }

    /// Removes an entry that is stale as a whole, and returns the reason why it is stale. One that is
    /// stale only in the facts of the host stays: the next [`Cache::get`] probes for those only. Also kept
    /// are an entry that another process is about to replace, those of fallbacks, and one of which this
    /// process may not examine an input: it may hold for other processes.
    ///
    /// # Errors
    /// See [`Cache::lookup`], and [`Error::Entry`] if the entry cannot be removed.
    pub fn drop_stale(
        &self,
        emulator: impl AsRef<Path>,
        validation: Validation,
    ) -> Result<Option<Stale>, Error> {
        let emulator = absolute(emulator.as_ref())?;
        let examined = self.examine(&emulator, validation)?;
        self.entries.drop_if_stale(&emulator, examined)
    }

    /// Forgets that the last probe of an emulator failed, so that the next `get` probes again. Returns
    /// whether a failure was remembered.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn forget_failure(&self, emulator: impl AsRef<Path>) -> Result<bool, Error> {
        self.entries.forget_failure(&absolute(emulator.as_ref())?)
    }

    /// Checks an entry as a whole: place, digest, records, every value. Returns whether there is one.
    ///
    /// # Errors
    /// See [`Cache::lookup`]; [`Error::Format`] describes the damage.
    pub fn verify(&self, emulator: impl AsRef<Path>) -> Result<bool, Error> {
        let emulator = absolute(emulator.as_ref())?;
        self.entries.store.verify(&self.entries.store.entry_path(&emulator))
    }

    /// Checks all entries as a whole. Returns the number of good ones, and the errors of the others.
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub fn verify_all(&self) -> Result<(usize, Vec<Error>), Error> {
        self.entries.store.verify_all()
    }

    /// Removes the entries of emulators that no longer exist and the leftovers of writers that died, of
    /// failures and of older releases. Files that a process works on are kept, and so are fallbacks.
    ///
    /// # Errors
    /// [`Error::Entry`] for a directory that cannot be read, and for a file that cannot be removed.
    pub fn collect_garbage(&self) -> Result<GarbageReport, Error> {
        self.entries.collect_garbage()
    }

    fn examine(&self, emulator: &Path, validation: Validation) -> Result<Lookup, Error> {
        match validation {
            Validation::Fast => match self.entries.hit(emulator) {
                Some(hit) => Ok(Lookup::Hit(hit)),
                None => self.entries.examine(emulator, false),
            },
            Validation::Thorough => self.entries.examine(emulator, true),
            #[cfg(feature = "probe")]
            Validation::Start => self.refresher.examine_by_starting(emulator),
        }
    }
}

/// The calls that probe.
#[cfg(feature = "probe")]
impl Cache {
    /// Returns the capabilities of an emulator: from the cache if it has a valid entry, else from one probe.
    ///
    /// A hit is a few `stat`s, see [`Cache::lookup`]. Otherwise blocks until the probe is over,
    /// which other callers may have started; works inside an async runtime too, but blocks its thread.
    ///
    /// # Errors
    /// [`Error`]; not for an entry that cannot be written: see [`Capabilities::persist_error`].
    pub fn get(&self, emulator: impl AsRef<Path>) -> Result<Capabilities, Error> {
        self.get_with(emulator, Groups::CORE)
    }

    /// Returns the same as [`Cache::get`] with further groups, which are filled if the entry lacks them.
    ///
    /// # Errors
    /// See [`Cache::get`].
    pub fn get_with(
        &self,
        emulator: impl AsRef<Path>,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        self.refresher.get_with(&absolute(emulator.as_ref())?, groups)
    }

    /// Returns the same as [`Cache::get`] without blocking the thread, on any executor.
    ///
    /// Dropping the future gives up waiting and leaves the probe to finish for other callers.
    ///
    /// # Errors
    /// See [`Cache::get`].
    pub async fn get_async(&self, emulator: impl AsRef<Path>) -> Result<Capabilities, Error> {
        self.get_with_async(emulator, Groups::CORE).await
    }

    /// Returns the same as [`Cache::get_with`] without blocking the thread; see [`Cache::get_async`].
    ///
    /// # Errors
    /// See [`Cache::get`].
    pub async fn get_with_async(
        &self,
        emulator: impl AsRef<Path>,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        let emulator = absolute(emulator.as_ref())?.into_owned();
        self.refresher.get_with_async(&emulator, groups).await
    }

    /// Checks an entry thoroughly, and drops what [`Cache::get_with`] would still use: an entry that only this
    /// check finds stale, incomplete answers, a remembered failure.
    ///
    /// # Errors
    /// Those of [`Cache::invalidate`] and [`Cache::forget_failure`].
    pub fn revalidate(
        &self,
        emulator: impl AsRef<Path>,
        groups: Groups,
    ) -> Result<Revalidated, Error> {
        self.refresher.revalidate(&absolute(emulator.as_ref())?, groups)
    }

    /// Returns a valid entry with `groups` after the check of [`Cache::revalidate`]: probes again what does not hold, also
    /// after a failure that is remembered.
    ///
    /// # Errors
    /// See [`Cache::revalidate`] and [`Cache::get`].
    pub fn refresh(
        &self,
        emulator: impl AsRef<Path>,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        match self.revalidate(&emulator, groups)? {
            Revalidated::Valid(entry) => Ok(entry),
            _ => self.get_with(emulator, groups),
        }
    }

    /// Returns the entry with all `groups` if nothing has to be run or compared for it: a few `stat`s and
    /// no more, so that it may be called where nothing may block. `None` means only that [`Cache::get_with`]
    /// takes longer.
    pub fn try_get(&self, emulator: impl AsRef<Path>, groups: Groups) -> Option<Capabilities> {
        self.refresher.try_get(&absolute(emulator.as_ref()).ok()?, groups)
    }
}

impl CacheBuilder {
    /// Opens the cache.
    ///
    /// # Errors
    /// See [`Cache::open`], also for each of the fallbacks.
    pub fn open(self) -> Result<Cache, Error> {
        let root = std::path::absolute(&self.root)
            .map_err(|source| Error::Root { path: self.root, source: Arc::new(source) })?;
        let trust = Trust::new(self.trusted_owner);
        let store = Store::new(&root, trust)?;
        let fallbacks = self.fallbacks.iter().map(|root| Store::new(root, trust));
        let entries = Entries::new(store, fallbacks.collect::<Result<_, _>>()?, self.entries);
        let entries = Arc::new(entries);
        Ok(Cache {
            #[cfg(feature = "probe")]
            refresher: Arc::new(Refresher::new(Arc::clone(&entries), self.probes)),
            entries,
        })
    }
}

/// The path that names an entry: absolute, without `.` and repeated slashes, so that each spelling names the
/// same entry. Links are not followed, and `..` stays: behind a link it leads elsewhere.
fn absolute(emulator: &Path) -> Result<Cow<'_, Path>, Error> {
    if !emulator.is_absolute() {
        let absolute = std::path::absolute(emulator).map_err(Error::emulator(emulator))?;
        return Ok(Cow::Owned(absolute.components().collect()));
    }
    if is_normal(emulator.as_os_str().as_bytes()) {
        return Ok(Cow::Borrowed(emulator));
    }
    Ok(Cow::Owned(emulator.components().collect()))
}

/// Returns whether an absolute path has no part that is empty or `.`. Every hit calls it.
fn is_normal(path: &[u8]) -> bool {
    let mut at = 1;
    while at < path.len() {
        let ends = || matches!(path.get(at + 1), None | Some(b'/'));
        if path[at - 1] == b'/' && (path[at] == b'/' || (path[at] == b'.' && ends())) {
            return false;
        }
        at += 1;
    }
    path.last() != Some(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_of_a_path_names_one_entry() {
        for spelling in
            ["/a/b", "//a/b", "/a//b", "/a///b", "/./a/b", "/a/./b", "/a/././/b", "/a/b/.", "/a/b/"]
        {
            assert_eq!(absolute(spelling.as_ref()).unwrap().as_os_str(), "/a/b", "{spelling}");
        }
        assert!(matches!(absolute("/a/.b/b.".as_ref()), Ok(Cow::Borrowed(_))));
        let above = "/a/../b";
        assert_eq!(absolute(above.as_ref()).unwrap().as_os_str(), above, "a may be a link");
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("./b".as_ref()).unwrap(), here.join("b"));
    }
}
