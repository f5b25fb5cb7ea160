//! The cache: lookups, and what a miss leads to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use capscache_format::{Input, Scope};

use crate::capabilities::{Capabilities, Loaded};
use crate::error::Error;
use crate::host::HostFacts;
use crate::input::{Look, Stale, look};
use crate::store::Store;

/// A cache under one root. Cheap to clone; all clones share what is open.
///
/// Nothing outside the root is ever written, and nothing runs beside the calls.
#[derive(Clone, Debug)]
pub struct Cache(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) store: Store,
    open: RwLock<HashMap<OsString, Arc<Loaded>>>,
    host: OnceLock<HostFacts>,
    #[cfg(feature = "probe")]
    pub(crate) flights: crate::flight::Flights,
    #[cfg(feature = "probe")]
    pub(crate) limits: capscache_probe::Limits,
}

/// What a cache may be told when it is opened.
#[derive(Clone, Debug, Default)]
pub struct CacheOptions {
    /// What emulators may cost.
    #[cfg(feature = "probe")]
    pub limits: capscache_probe::Limits,
    /// What to hold for true of this host instead of looking; for tests, and for caches that are
    /// made for another host.
    pub host: Option<HostFacts>,
}

/// What a lookup found, without any probe.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// A valid entry.
    Hit(Capabilities),
    /// An entry that does not answer for its emulator any more.
    Stale(Stale),
    /// No entry.
    Missing,
}

/// As [`Lookup`], with the stale entry, whose inputs are those that hold: parts of it may still be
/// good.
#[derive(Debug)]
pub(crate) enum Examined {
    Valid(Capabilities),
    Stale(
        Stale,
        #[cfg_attr(not(feature = "probe"), expect(dead_code, reason = "a probe updates it"))]
        Box<Loaded>,
    ),
    Missing,
}

impl From<Examined> for Lookup {
    fn from(examined: Examined) -> Lookup {
        match examined {
            Examined::Valid(capabilities) => Lookup::Hit(capabilities),
            Examined::Stale(stale, _) => Lookup::Stale(stale),
            Examined::Missing => Lookup::Missing,
        }
    }
}

/// One entry of the cache, valid or not.
#[derive(Debug)]
pub struct Listed {
    /// The entry's file.
    pub file: PathBuf,
    /// Its answers.
    pub capabilities: Capabilities,
    /// Why it is stale, if it is.
    pub stale: Option<Stale>,
}

impl Cache {
    /// Opens the cache under `root`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Root`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Cache, Error> {
        Cache::open_with(root, CacheOptions::default())
    }

    /// As [`Cache::open`], with options.
    ///
    /// # Errors
    /// [`Error::Root`].
    pub fn open_with(root: impl Into<PathBuf>, options: CacheOptions) -> Result<Cache, Error> {
        let root = root.into();
        let failed = |source| Error::Root { path: root.clone(), source: Arc::new(source) };
        std::fs::create_dir_all(&root).map_err(failed)?;
        let root = std::path::absolute(&root).map_err(failed)?;
        Ok(Cache(Arc::new(Shared {
            store: Store::new(&root),
            root,
            open: RwLock::default(),
            host: options.host.map_or_else(OnceLock::new, OnceLock::from),
            #[cfg(feature = "probe")]
            flights: crate::flight::Flights::default(),
            #[cfg(feature = "probe")]
            limits: options.limits,
        })))
    }

    /// The directory that holds everything of this cache.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// What the cache knows of an emulator, never probing. Links and wrappers are followed.
    ///
    /// A hit costs a `stat` of the entry, of the emulator and, behind a wrapper, of what really
    /// runs, of the directories of its modules and of firmware, of the loader's cache and, where
    /// KVM can run it, of `/dev/kvm`. Only where one of these moved, values are compared; equal ones
    /// give the entry a new signature. Kernel, CPU and `memfd_create` are looked at once per
    /// `Cache`.
    ///
    /// # Errors
    /// [`Error::Format`] for a damaged entry, [`Error::Entry`] for one that cannot be read.
    pub fn lookup(&self, emulator: impl AsRef<Path>) -> Result<Lookup, Error> {
        let emulator = absolute(emulator.as_ref())?;
        match self.0.hit(&emulator) {
            Some(hit) => Ok(Lookup::Hit(hit)),
            None => Ok(self.0.examine(&emulator, false)?.into()),
        }
    }

    /// As [`Cache::lookup`], looking also at what a hit does not pay for: every module file, every
    /// shared object that the emulator had mapped.
    ///
    /// # Errors
    /// As [`Cache::lookup`].
    pub fn lookup_thoroughly(&self, emulator: impl AsRef<Path>) -> Result<Lookup, Error> {
        let emulator = absolute(emulator.as_ref())?;
        Ok(self.0.examine(&emulator, true)?.into())
    }

    /// All entries, valid or not, ordered by the emulator's path. Damaged ones come as errors.
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Listed, Error>>, Error> {
        let mut listed = Vec::new();
        for file in self.0.store.entries()? {
            let stored = match self.0.store.read(&file) {
                Ok(Some(stored)) => stored,
                // Removed meanwhile.
                Ok(None) => continue,
                Err(error) => {
                    listed.push(Err(error));
                    continue;
                }
            };
            let loaded = Loaded::new(stored, self.0.host());
            let stale = if loaded.is_untouched() { None } else { self.0.compare(&loaded, false).1 };
            let capabilities = Capabilities(Arc::new(loaded));
            listed.push(Ok(Listed { file, capabilities, stale }));
        }
        listed.sort_by_key(|entry| match entry {
            Ok(entry) => (0, entry.capabilities.emulator()),
            Err(_) => (1, PathBuf::new()),
        });
        Ok(listed)
    }

    /// Drops the entry of an emulator; whether there was one. Handles on it stay readable.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn invalidate(&self, emulator: impl AsRef<Path>) -> Result<bool, Error> {
        let emulator = absolute(emulator.as_ref())?;
        let removed = self.0.store.remove(&self.0.store.entry_path(&emulator))?;
        self.0.forget(&emulator);
        Ok(removed)
    }

    /// Drops all entries of this release; how many there were.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn invalidate_all(&self) -> Result<usize, Error> {
        let mut removed = 0;
        for file in self.0.store.entries()? {
            removed += usize::from(self.0.store.remove(&file)?);
        }
        self.0.open.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(removed)
    }

    /// Checks an entry as a whole: digest, records, every value. Returns whether there is one.
    ///
    /// # Errors
    /// [`Error::Format`] says what is damaged.
    pub fn verify(&self, emulator: impl AsRef<Path>) -> Result<bool, Error> {
        let emulator = absolute(emulator.as_ref())?;
        self.0.verify(&self.0.store.entry_path(&emulator))
    }

    /// Checks all entries as a whole: how many are good, and what is wrong with the others.
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub fn verify_all(&self) -> Result<(usize, Vec<Error>), Error> {
        let (mut good, mut bad) = (0, Vec::new());
        for file in self.0.store.entries()? {
            match self.0.verify(&file) {
                Ok(there) => good += usize::from(there),
                Err(error) => bad.push(error),
            }
        }
        Ok((good, bad))
    }
}

impl Shared {
    /// The way of a hit: the entry that is open, if neither its file nor any trigger moved.
    pub(crate) fn hit(&self, emulator: &Path) -> Option<Capabilities> {
        let loaded = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(open.get(emulator.as_os_str())?)
        };
        (loaded.is_current() && loaded.is_untouched()).then_some(Capabilities(loaded))
    }

    /// The entry on disk, if nothing moved that it depends on.
    #[cfg(feature = "probe")]
    pub(crate) fn open_untouched(&self, emulator: &Path) -> Option<Capabilities> {
        let stored = self.store.read(&self.store.entry_path(emulator)).ok()??;
        let loaded = Loaded::new(stored, self.host());
        loaded.is_untouched().then(|| self.keep(emulator, loaded))
    }

    /// What cannot change while this process runs.
    pub(crate) fn host(&self) -> &HostFacts {
        self.host.get_or_init(HostFacts::of_this_host)
    }

    /// The entry on disk, valid, stale or missing. One whose signatures moved over equal values is
    /// written again with the new ones, unless somebody holds its lock.
    pub(crate) fn examine(&self, emulator: &Path, thorough: bool) -> Result<Examined, Error> {
        let path = self.store.entry_path(emulator);
        let Some(stored) = self.store.read(&path)? else {
            // One that could not be written is in this process alone.
            return Ok(self.hit(emulator).map_or(Examined::Missing, Examined::Valid));
        };
        let loaded = Loaded::new(stored, self.host());
        if !thorough && loaded.is_untouched() {
            return Ok(Examined::Valid(self.keep(emulator, loaded)));
        }
        let (inputs, stale) = self.compare(&loaded, thorough);
        if let Some(stale) = stale {
            let rest = Box::new(loaded.with_inputs(inputs, self.host()));
            return Ok(Examined::Stale(stale, rest));
        }
        if inputs == loaded.inputs {
            return Ok(Examined::Valid(self.keep(emulator, loaded)));
        }
        let lock = self.store.lock(&path, Duration::ZERO);
        if lock.is_some()
            && self.refresh(&path, &loaded, inputs.clone()).is_ok()
            && let Ok(Some(stored)) = self.store.read(&path)
        {
            return Ok(Examined::Valid(self.keep(emulator, Loaded::new(stored, self.host()))));
        }
        // Where it cannot be written, this process at least need not compare values again.
        Ok(Examined::Valid(self.keep(emulator, loaded.with_inputs(inputs, self.host()))))
    }

    /// The inputs of an entry that hold, as they are now, and the first that does not: what all
    /// answers depend on goes before what only those do that depend on the host.
    fn compare(&self, loaded: &Loaded, thorough: bool) -> (Vec<Input>, Option<Stale>) {
        let mut inputs = Vec::new();
        let mut host_differs = None;
        for input in &loaded.inputs {
            match look(input, self.host(), thorough) {
                Look::Same => inputs.push(input.clone()),
                Look::Moved(input) => inputs.push(input),
                Look::Differs(stale) if stale.scope == Scope::Binary => {
                    return (inputs, Some(stale));
                }
                Look::Differs(stale) => host_differs = host_differs.or(Some(stale)),
            }
        }
        (inputs, host_differs)
    }

    /// Writes an entry again with new signatures, unless another process was faster.
    fn refresh(&self, path: &Path, loaded: &Loaded, inputs: Vec<Input>) -> Result<(), Error> {
        if !loaded.is_current() {
            return Ok(());
        }
        let format = |source| Error::Format { path: path.to_owned(), source };
        let mut model = loaded.entry().to_model().map_err(format)?;
        model.inputs = inputs;
        let bytes = model
            .encode()
            .map_err(|source| Error::Model { path: path.to_owned(), source: Arc::new(source) })?;
        self.store.write(path, &bytes)
    }

    /// Remembers an entry as the open one of an emulator.
    pub(crate) fn keep(&self, emulator: &Path, loaded: Loaded) -> Capabilities {
        let loaded = Arc::new(loaded);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(emulator.as_os_str().to_owned(), Arc::clone(&loaded));
        Capabilities(loaded)
    }

    fn forget(&self, emulator: &Path) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.remove(emulator.as_os_str());
    }

    fn verify(&self, path: &Path) -> Result<bool, Error> {
        let Some(stored) = self.store.read(path)? else { return Ok(false) };
        let format = |source| Error::Format { path: path.to_owned(), source };
        stored.entry.verify().map_err(format)?;
        Ok(true)
    }
}

/// The path that names an entry: absolute, links not followed.
pub(crate) fn absolute(emulator: &Path) -> Result<Cow<'_, Path>, Error> {
    if emulator.is_absolute() {
        return Ok(Cow::Borrowed(emulator));
    }
    std::path::absolute(emulator).map(Cow::Owned).map_err(Error::emulator(emulator))
}
