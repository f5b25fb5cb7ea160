//! Finds the valid entry of an emulator among those under the root, in the fallbacks and in memory. Nothing
//! here probes.

mod environment;
mod failures;
mod upkeep;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use capscache_format::{Input, Scope, Variable};

use crate::capabilities::{Capabilities, Loaded};
use crate::error::Error;
use crate::inputs::{self, Check, HostFacts, Kvm, Present};
use crate::lookup::{ListedEntry, Lookup};
use crate::status::Stale;
use crate::store::Store;

/// The entries that a cache can reach.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) store: Store,
    /// Searched after the store, never written.
    fallbacks: Vec<Store>,
    open: RwLock<HashMap<OsString, Arc<Loaded>>>,
    /// Failures that could not be written.
    failures: RwLock<HashMap<OsString, Arc<Loaded>>>,
    /// The host that was given or, when it was first needed, examined.
    host: RwLock<Option<Arc<HostFacts>>>,
    pub(crate) settings: Settings,
}

/// The part of a cache's configuration that lookups depend on.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The time for which a failed probe is remembered.
    pub(crate) failure_ttl: Duration,
    /// The host that was given.
    pub(crate) host: Option<HostFacts>,
    /// Variables that emulators get beside those of this process.
    pub(crate) environment: Vec<Variable>,
    /// The user that emulators run as, if not that of this process.
    #[cfg(feature = "probe")]
    pub(crate) run_as: Option<capscache_probe::User>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            failure_ttl: Duration::from_secs(60),
            host: None,
            environment: Vec::new(),
            #[cfg(feature = "probe")]
            run_as: None,
        }
    }
}

impl Entries {
    pub(crate) fn new(store: Store, fallbacks: Vec<Store>, settings: Settings) -> Entries {
        Entries {
            store,
            fallbacks,
            open: RwLock::default(),
            failures: RwLock::default(),
            host: RwLock::new(settings.host.clone().map(Arc::new)),
            settings,
        }
    }

    /// The path of a hit: the open entry, if neither its file nor an input changed.
    pub(crate) fn hit(&self, emulator: &Path) -> Option<Capabilities> {
        let loaded = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(open.get(emulator.as_os_str())?)
        };
        (loaded.is_current() && loaded.is_unchanged()).then_some(Capabilities(loaded))
    }

    /// The entry on disk, if no input changed.
    pub(crate) fn open_unchanged(&self, emulator: &Path) -> Option<Capabilities> {
        let unchanged = |store: &Store| {
            let stored = store.read(&store.entry_path(emulator)).ok()??;
            let loaded = Loaded::new(stored, &self.host());
            (loaded.is_unchanged() && self.has_environment_of(loaded.inputs())).then_some(loaded)
        };
        self.stores().find_map(unchanged).map(|loaded| self.keep(emulator, loaded))
    }

    /// The newest entry, without a comparison: one that could not be written, else that of the first store that
    /// has one.
    ///
    /// # Errors
    /// See [`Store::read`], if no store has an entry.
    pub(crate) fn entry(&self, emulator: &Path) -> Result<Option<Capabilities>, Error> {
        if let Some(kept) = self.in_memory(emulator) {
            return Ok(Some(Capabilities(kept)));
        }
        let mut found = Ok(None);
        for store in self.stores() {
            match store.read(&store.entry_path(emulator)) {
                Ok(Some(stored)) => {
                    let loaded = Loaded::new(stored, &self.host());
                    return Ok(Some(Capabilities(Arc::new(loaded))));
                }
                Ok(None) => {}
                Err(error) if found.is_ok() => found = Err(error),
                Err(_) => {}
            }
        }
        found
    }

    /// The entry, valid, stale or missing; of several stale ones the one of which most holds. The stores are
    /// searched first, then the entries that could not be written there.
    ///
    /// # Errors
    /// See [`Store::read`]; only if no other store has an entry.
    pub(crate) fn examine(&self, emulator: &Path, thorough: bool) -> Result<Lookup, Error> {
        if thorough && self.settings.host.is_none() {
            self.set_host(HostFacts::of_this_host());
        }
        let mut found = Ok(Lookup::Missing);
        let stored = self.stores().map(|store| self.examine_in(store, emulator, thorough));
        let in_memory = std::iter::once_with(|| {
            let loaded = self.in_memory(emulator);
            Ok(loaded.map_or(Lookup::Missing, |loaded| self.compare(emulator, loaded, thorough)))
        });
        for examined in stored.chain(in_memory) {
            match (examined, &found) {
                (Ok(hit @ Lookup::Hit(_)), _) => return Ok(hit),
                (Ok(Lookup::Stale { reason, .. }), Ok(Lookup::Stale { reason: first, .. }))
                    if reason.scope == first.scope || first.scope == Scope::Host => {}
                (Ok(Lookup::Missing), _) | (Err(_), Err(_) | Ok(Lookup::Stale { .. })) => {}
                (other, _) => found = other,
            }
        }
        found
    }

    /// All entries under the root, by file, without a comparison.
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub(crate) fn read_all(
        &self,
    ) -> Result<impl Iterator<Item = (PathBuf, Result<Loaded, Error>)> + use<'_>, Error> {
        let read = |file: PathBuf| {
            // One that was removed in the meantime is skipped.
            let stored = self.store.read(&file).transpose()?;
            Some((file, stored.map(|stored| Loaded::new(stored, &self.host()))))
        };
        Ok(self.store.entries()?.into_iter().filter_map(read))
    }

    /// All entries under the root, compared, ordered by the path of the emulator; errors come last.
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub(crate) fn list(&self) -> Result<Vec<Result<ListedEntry, Error>>, Error> {
        let listed = self.read_all()?.map(|(file, entry)| {
            let loaded = entry?;
            let stale = self.environment_differs(&loaded).or_else(|| {
                if loaded.is_unchanged() { None } else { self.full_check(&loaded, false).1 }
            });
            Ok(ListedEntry { file, capabilities: Capabilities(Arc::new(loaded)), stale })
        });
        let mut listed: Vec<Result<ListedEntry, Error>> = listed.collect();
        listed.sort_by_key(|entry| match entry {
            Ok(entry) => (0, entry.capabilities.emulator()),
            Err(_) => (1, PathBuf::new()),
        });
        Ok(listed)
    }

    /// Registers an entry as the open one of an emulator.
    pub(crate) fn keep(&self, emulator: &Path, loaded: impl Into<Arc<Loaded>>) -> Capabilities {
        let loaded = loaded.into();
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(emulator.as_os_str().to_owned(), Arc::clone(&loaded));
        Capabilities(loaded)
    }

    /// Closes the open entry of an emulator.
    pub(crate) fn forget(&self, emulator: &Path) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.remove(emulator.as_os_str());
    }

    /// The host, which hardly ever changes while a process runs: examined once, and by thorough lookups.
    pub(crate) fn host(&self) -> Arc<HostFacts> {
        if let Some(host) = &*self.host.read().unwrap_or_else(PoisonError::into_inner) {
            return Arc::clone(host);
        }
        let mut host = self.host.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(host.get_or_insert_with(|| Arc::new(HostFacts::of_this_host())))
    }

    /// Replaces the host: microcode can be loaded late.
    fn set_host(&self, found: HostFacts) {
        let mut host = self.host.write().unwrap_or_else(PoisonError::into_inner);
        if host.as_deref() != Some(&found) {
            *host = Some(Arc::new(found));
            // The open entries were compared with the host as it was before.
            self.open.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// KVM with the rights that the emulator will have.
    pub(crate) fn kvm(&self) -> Kvm {
        #[cfg(feature = "probe")]
        return Kvm::of(self.settings.run_as.as_ref());
        #[cfg(not(feature = "probe"))]
        Kvm::now()
    }

    /// The stores in the order in which they are searched.
    fn stores(&self) -> impl Iterator<Item = &Store> {
        std::iter::once(&self.store).chain(&self.fallbacks)
    }

    /// The open entry that could not be written.
    fn in_memory(&self, emulator: &Path) -> Option<Arc<Loaded>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(emulator.as_os_str()).filter(|loaded| loaded.is_in_memory()).cloned()
    }

    fn examine_in(&self, store: &Store, emulator: &Path, thorough: bool) -> Result<Lookup, Error> {
        let Some(stored) = store.read(&store.entry_path(emulator))? else {
            return Ok(Lookup::Missing);
        };
        let loaded = Arc::new(Loaded::new(stored, &self.host()));
        Ok(self.compare(emulator, loaded, thorough))
    }

    /// Compares an entry with the present. An entry whose signatures changed over equal values is written
    /// again with the new ones, unless another process holds its lock.
    fn compare(&self, emulator: &Path, loaded: Arc<Loaded>, thorough: bool) -> Lookup {
        let (inputs, stale) = match self.environment_differs(&loaded) {
            Some(stale) => (Vec::new(), Some(stale)),
            None if !thorough && loaded.is_unchanged() => {
                return Lookup::Hit(self.keep(emulator, loaded));
            }
            None => self.full_check(&loaded, thorough),
        };
        if let Some(reason) = stale {
            let entry = Capabilities(Arc::new(loaded.with_inputs(inputs, &self.host())));
            return Lookup::Stale { reason, entry };
        }
        if inputs == loaded.inputs() {
            return Lookup::Hit(self.keep(emulator, loaded));
        }
        if let Some(persisted) = self.persist_signatures(emulator, &loaded, &inputs) {
            return Lookup::Hit(self.keep(emulator, persisted));
        }
        // Where it cannot be written, this process at least need not compare values again.
        Lookup::Hit(self.keep(emulator, loaded.with_inputs(inputs, &self.host())))
    }

    /// The inputs of an entry that hold, with their present signatures, and the first that does not: an
    /// input of all answers comes before one of the facts of the host.
    fn full_check(&self, loaded: &Loaded, thorough: bool) -> (Vec<Input>, Option<Stale>) {
        let mut inputs = Vec::new();
        let mut host_differs = None;
        let host = self.host();
        let present = Present { host: &host, kvm: &|| self.kvm(), thorough };
        for input in loaded.inputs() {
            match inputs::full_check(input, &present) {
                Check::Same => inputs.push(input.clone()),
                Check::Moved(input) => inputs.push(input),
                Check::Differs(stale) if stale.scope == Scope::Binary => {
                    return (inputs, Some(stale));
                }
                Check::Differs(stale) => host_differs = host_differs.or(Some(stale)),
            }
        }
        (inputs, host_differs)
    }

    /// Writes an entry to the root with new signatures, and reads the entry that is there then: another
    /// process may have been faster, or have more answers. `None` if that is not possible now.
    fn persist_signatures(
        &self,
        emulator: &Path,
        loaded: &Loaded,
        inputs: &[Input],
    ) -> Option<Loaded> {
        let recorded = loaded.inputs().iter();
        let persisted: Vec<Input> =
            recorded.zip(inputs).map(|(old, new)| self.input_to_persist(old, new)).collect();
        if persisted == loaded.inputs() {
            return None;
        }
        let path = self.store.entry_path(emulator);
        let _lock = self.store.lock(&path, Duration::ZERO)?;
        if !loaded.is_in(&path) && path.try_exists().ok()? {
            // An entry of a fallback is written only where the root has none.
            return None;
        }
        if loaded.is_current() {
            let mut model = loaded.entry().to_model().ok()?;
            model.inputs = persisted;
            self.store.write(&path, &model.encode().ok()?).ok()?;
        }
        let refreshed = Loaded::new(self.store.read(&path).ok()??, &self.host());
        refreshed.is_unchanged().then_some(refreshed)
    }

    /// The form in which an input that holds under a new signature is written.
    fn input_to_persist(&self, old: &Input, new: &Input) -> Input {
        let may_be_written = || inputs::may_be_written(old, &|| self.kvm());
        if old != new && !may_be_written() { old.clone() } else { new.clone() }
    }
}
