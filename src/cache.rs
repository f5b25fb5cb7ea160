//! The cache: lookups, and what a miss leads to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use capscache_format::{Input, InputKind, Scope};

use crate::capabilities::{Capabilities, Loaded};
use crate::error::Error;
use crate::failure::Failure;
use crate::host::HostFacts;
use crate::input::{Look, Stale, environment_value, look, path_of};
use crate::kvm::{self, Kvm};
use crate::store::{Store, Trust};
use crate::wrapper;

/// A cache under one root. Cheap to clone; all clones share what is open.
///
/// Nothing outside the root is ever written, and nothing runs beside the calls.
#[derive(Clone, Debug)]
pub struct Cache(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) store: Store,
    /// Looked at after the store, never written.
    fallbacks: Vec<Store>,
    open: RwLock<HashMap<OsString, Arc<Loaded>>>,
    /// Failures that could not be written.
    pub(crate) failures: RwLock<HashMap<OsString, Arc<Loaded>>>,
    pub(crate) failure_ttl: Duration,
    /// What was given or, when that was first needed, looked at.
    host: RwLock<Option<Arc<HostFacts>>>,
    is_host_given: bool,
    #[cfg(feature = "probe")]
    pub(crate) flights: crate::flight::Flights,
    #[cfg(feature = "probe")]
    pub(crate) limits: capscache_probe::Limits,
    #[cfg(feature = "probe")]
    pub(crate) run_as: Option<capscache_probe::User>,
    /// Further variables of the emulators' environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    #[cfg(feature = "probe")]
    pub(crate) writable: Vec<PathBuf>,
}

/// What a cache may be told when it is opened.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Roots of other caches, such as one that is part of an image of this host: what is valid there
    /// is used where the root has nothing valid, and parts of it that still hold are not asked
    /// again. They are looked at in this order and never written; one that is not there is skipped.
    pub fallbacks: Vec<PathBuf>,
    /// A user whose files are believed beside those of root and of this process' own user, such as
    /// the one that a service runs as which fills the cache.
    pub trusted_owner: Option<u32>,
    /// How long it is believed that an emulator cannot be probed, if nothing changes: 60 s by
    /// default.
    pub failure_ttl: Duration,
    /// What emulators may cost.
    #[cfg(feature = "probe")]
    pub limits: capscache_probe::Limits,
    /// Whom emulators run as, if not as this process, which must be root: KVM is what it is to that
    /// user.
    #[cfg(feature = "probe")]
    pub run_as: Option<capscache_probe::User>,
    /// Further variables of the emulators' environment, which replace those of the same name. Answers
    /// that were given under others are not used.
    pub environment: Vec<(OsString, OsString)>,
    /// Directories that emulators may write to, besides their temporary directory: where a wrapper
    /// keeps a log, say.
    #[cfg(feature = "probe")]
    pub writable: Vec<PathBuf>,
    /// What to hold for true of this host instead of looking; for tests, and for caches that are
    /// made for another host.
    pub host: Option<HostFacts>,
}

impl Default for CacheOptions {
    fn default() -> CacheOptions {
        CacheOptions {
            fallbacks: Vec::new(),
            trusted_owner: None,
            failure_ttl: Duration::from_secs(60),
            #[cfg(feature = "probe")]
            limits: capscache_probe::Limits::default(),
            #[cfg(feature = "probe")]
            run_as: None,
            environment: Vec::new(),
            #[cfg(feature = "probe")]
            writable: Vec::new(),
            host: None,
        }
    }
}

/// What a lookup found, without any probe.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// A valid entry.
    Hit(Capabilities),
    /// An entry that does not answer for its emulator any more.
    Stale(Stale),
    /// No entry that is valid, and the last probe failed: until then nobody is made to wait for the
    /// next failure.
    Failed(Failure),
    /// No entry.
    Missing,
}

/// As [`Lookup`], with the stale entry, whose inputs are those that hold: parts of it may still be
/// good.
#[derive(Debug)]
pub(crate) enum Examined {
    Valid(Capabilities),
    Stale(Stale, Box<Loaded>),
    Missing,
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
    /// Opens the cache under `root`, which is made when something is written to it.
    ///
    /// # Errors
    /// [`Error::Root`] for what is no directory, [`Error::Unsafe`] for one that belongs to, or can be
    /// written by, somebody else than root and the user of this process.
    pub fn open(root: impl Into<PathBuf>) -> Result<Cache, Error> {
        Cache::open_with(root, CacheOptions::default())
    }

    /// As [`Cache::open`], with options.
    ///
    /// # Errors
    /// As [`Cache::open`], also for each of the fallbacks.
    pub fn open_with(root: impl Into<PathBuf>, options: CacheOptions) -> Result<Cache, Error> {
        let root = root.into();
        let root = std::path::absolute(&root)
            .map_err(|source| Error::Root { path: root, source: Arc::new(source) })?;
        let trust = Trust::new(options.trusted_owner);
        let fallbacks = options.fallbacks.iter().map(|root| Store::new(root, trust));
        Ok(Cache(Arc::new(Shared {
            store: Store::new(&root, trust)?,
            root,
            fallbacks: fallbacks.collect::<Result<_, _>>()?,
            open: RwLock::default(),
            failures: RwLock::default(),
            failure_ttl: options.failure_ttl,
            is_host_given: options.host.is_some(),
            host: RwLock::new(options.host.map(Arc::new)),
            #[cfg(feature = "probe")]
            flights: crate::flight::Flights::default(),
            #[cfg(feature = "probe")]
            limits: options.limits,
            #[cfg(feature = "probe")]
            run_as: options.run_as,
            environment: options.environment,
            #[cfg(feature = "probe")]
            writable: options.writable,
        })))
    }

    /// The directory that holds everything of this cache.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// What the cache knows of an emulator, never probing. Links and wrappers are followed.
    ///
    /// A hit costs a `stat` of the entry, of the emulator, of the directories of its modules, of the
    /// loader's cache and its list of preloaded libraries and, where KVM can run it, of `/dev/kvm`,
    /// and the question whether that opens: at most eight system calls. Behind a wrapper it costs a
    /// `stat` more for what really runs and for each script, link and candidate on the way, and for
    /// each directory of libraries that the loader's cache does not know. Only where one of these
    /// moved, values are compared; equal ones give the entry a new signature. Kernel, CPU and
    /// `memfd_create` are looked at once per `Cache`.
    ///
    /// # Errors
    /// [`Error::Format`] for a damaged entry, [`Error::OtherEmulator`] for one that lies in the wrong
    /// place, [`Error::Entry`] for one that cannot be read, [`Error::Unsafe`] for one that somebody
    /// else could have written.
    pub fn lookup(&self, emulator: impl AsRef<Path>) -> Result<Lookup, Error> {
        let emulator = absolute(emulator.as_ref())?;
        match self.0.hit(&emulator) {
            Some(hit) => Ok(Lookup::Hit(hit)),
            None => Ok(self.0.told(&emulator, self.0.examine(&emulator, false)?)),
        }
    }

    /// As [`Cache::lookup`], looking also at what a hit does not pay for: every module file, every
    /// shared object that the emulator had mapped, microcode that was loaded since the cache was
    /// opened.
    ///
    /// # Errors
    /// As [`Cache::lookup`].
    pub fn lookup_thoroughly(&self, emulator: impl AsRef<Path>) -> Result<Lookup, Error> {
        let emulator = absolute(emulator.as_ref())?;
        let examined = self.0.examine_thoroughly(&emulator)?;
        Ok(self.0.told(&emulator, examined))
    }

    /// All entries, valid or not, ordered by the emulator's path. Damaged ones come as errors.
    ///
    /// # Errors
    /// [`Error::Entry`] if the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Listed, Error>>, Error> {
        let mut listed = Vec::new();
        for (file, entry) in self.0.read_all()? {
            listed.push(entry.map(|loaded| {
                let untouched = loaded.is_untouched();
                let stale = self.0.environment_differs(&loaded);
                let compared = || self.0.compare(&loaded, false).1;
                let stale = stale.or_else(|| if untouched { None } else { compared() });
                Listed { file, capabilities: Capabilities(Arc::new(loaded)), stale }
            }));
        }
        listed.sort_by_key(|entry| match entry {
            Ok(entry) => (0, entry.capabilities.emulator()),
            Err(_) => (1, PathBuf::new()),
        });
        Ok(listed)
    }

    /// Drops the entry of an emulator; whether there was one. Handles on it stay readable. A failure
    /// that is remembered is forgotten too.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn invalidate(&self, emulator: impl AsRef<Path>) -> Result<bool, Error> {
        let emulator = absolute(emulator.as_ref())?;
        let removed = self.0.store.remove(&self.0.store.entry_path(&emulator))?;
        self.0.forget(&emulator);
        #[cfg(feature = "probe")]
        self.0.forget_failure(&emulator)?;
        Ok(removed)
    }

    /// Drops all entries of this release; how many there were. Failures that are remembered are
    /// forgotten too.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn invalidate_all(&self) -> Result<usize, Error> {
        let mut removed = 0;
        for file in self.0.store.entries()? {
            removed += usize::from(self.0.store.remove(&file)?);
        }
        for file in self.0.store.failures()? {
            self.0.store.remove(&file)?;
        }
        self.0.open.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.0.failures.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(removed)
    }

    /// Checks an entry as a whole: place, digest, records, every value. Returns whether there is one.
    ///
    /// # Errors
    /// As [`Cache::lookup`]; [`Error::Format`] says what is damaged.
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
        let untouched = |store: &Store| {
            let stored = store.read(&store.entry_path(emulator)).ok()??;
            let loaded = Loaded::new(stored, &self.host());
            (loaded.is_untouched() && self.has_environment_of(loaded.inputs())).then_some(loaded)
        };
        self.stores().find_map(untouched).map(|loaded| self.keep(emulator, loaded))
    }

    /// All entries under the root as they lie there, by file.
    pub(crate) fn read_all(
        &self,
    ) -> Result<impl Iterator<Item = (PathBuf, Result<Loaded, Error>)>, Error> {
        let read = |file: PathBuf| {
            // One that was removed meanwhile is none.
            let stored = self.store.read(&file).transpose()?;
            Some((file, stored.map(|stored| Loaded::new(stored, &self.host()))))
        };
        Ok(self.store.entries()?.into_iter().filter_map(read))
    }

    /// The environment of the emulators, as far as wrappers resolve through it.
    pub(crate) fn variables(&self) -> Vec<(OsString, OsString)> {
        wrapper::environment(&self.environment)
    }

    /// Whether emulators get from this cache the environment that was recorded. Under another `PATH` a
    /// wrapper may find the same files.
    pub(crate) fn has_environment_of(&self, inputs: &[Input]) -> bool {
        let is_path = |variable: &&[u8]| variable.starts_with(b"PATH=");
        let split = |value: &[u8]| -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
            let variables = value.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            variables.map(<[u8]>::to_vec).partition(|variable| is_path(&&variable[..]))
        };
        let recorded = inputs.iter().find(|input| input.kind == InputKind::Environment);
        let (path, others) = split(recorded.map_or(&[][..], |input| &input.value));
        let (_, own_others) = split(&environment_value(&self.environment));
        let (own_path, _) = split(&environment_value(&self.variables()));
        others == own_others && (path.is_empty() || path == own_path || self.resolves_alike(inputs))
    }

    /// Whether a wrapper resolves through the files that were recorded, in the environment of today.
    fn resolves_alike(&self, inputs: &[Input]) -> bool {
        let of_kind = |kind| inputs.iter().filter(move |input| input.kind == kind);
        let Some(emulator) = of_kind(InputKind::Emulator).next() else { return false };
        let routes = of_kind(InputKind::Route).filter(|input| input.value.is_empty());
        let recorded: Vec<PathBuf> =
            routes.chain(of_kind(InputKind::Executable)).map(path_of).collect();
        let found = wrapper::routes(&path_of(emulator), &self.variables());
        found.files.iter().all(|file| recorded.contains(file))
    }

    /// Where entries are looked for: under the root, then in the fallbacks.
    fn stores(&self) -> impl Iterator<Item = &Store> {
        std::iter::once(&self.store).chain(&self.fallbacks)
    }

    /// What hardly ever changes while a process runs: looked at once, and by thorough looks.
    pub(crate) fn host(&self) -> Arc<HostFacts> {
        if let Some(host) = &*self.host.read().unwrap_or_else(PoisonError::into_inner) {
            return Arc::clone(host);
        }
        let mut host = self.host.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(host.get_or_insert_with(|| Arc::new(HostFacts::of_this_host())))
    }

    /// KVM as the emulator will see it.
    #[cfg(feature = "probe")]
    pub(crate) fn kvm(&self) -> Kvm {
        Kvm::of(self.run_as.as_ref())
    }

    #[cfg(not(feature = "probe"))]
    fn kvm(&self) -> Kvm {
        Kvm::now()
    }

    /// Takes notice of what the host is now: microcode can be loaded late.
    fn host_is(&self, found: HostFacts) {
        let mut host = self.host.write().unwrap_or_else(PoisonError::into_inner);
        if host.as_deref() != Some(&found) {
            *host = Some(Arc::new(found));
            // What is open was compared with what was before.
            self.open.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// What a lookup says of what was found.
    pub(crate) fn told(&self, emulator: &Path, examined: Examined) -> Lookup {
        match examined {
            Examined::Valid(capabilities) => Lookup::Hit(capabilities),
            Examined::Stale(stale, _) => match self.failure(emulator) {
                Some(failure) => Lookup::Failed(failure),
                None => Lookup::Stale(stale),
            },
            Examined::Missing => self.failure(emulator).map_or(Lookup::Missing, Lookup::Failed),
        }
    }

    /// As [`Shared::examine`], looking also at what a hit does not pay for.
    pub(crate) fn examine_thoroughly(&self, emulator: &Path) -> Result<Examined, Error> {
        if !self.is_host_given {
            self.host_is(HostFacts::of_this_host());
        }
        self.examine(emulator, true)
    }

    /// The entry, valid, stale or missing; of several stale ones that of which most holds. It is
    /// looked for on disk, then among those that could not be written there.
    pub(crate) fn examine(&self, emulator: &Path, thorough: bool) -> Result<Examined, Error> {
        let mut found = Ok(Examined::Missing);
        let stored = self.stores().map(|store| self.examine_in(store, emulator, thorough));
        let kept = std::iter::once_with(|| Ok(self.examine_kept(emulator, thorough)));
        for examined in stored.chain(kept) {
            match (examined, &found) {
                (Ok(valid @ Examined::Valid(_)), _) => return Ok(valid),
                (Ok(Examined::Stale(stale, _)), Ok(Examined::Stale(first, _)))
                    if stale.scope == first.scope || first.scope == Scope::Host => {}
                (Ok(Examined::Missing), _) | (Err(_), Err(_) | Ok(Examined::Stale(..))) => {}
                (other, _) => found = other,
            }
        }
        found
    }

    /// The entry in one store.
    fn examine_in(
        &self,
        store: &Store,
        emulator: &Path,
        thorough: bool,
    ) -> Result<Examined, Error> {
        let Some(stored) = store.read(&store.entry_path(emulator))? else {
            return Ok(Examined::Missing);
        };
        let loaded = Arc::new(Loaded::new(stored, &self.host()));
        Ok(self.examine_loaded(emulator, loaded, thorough))
    }

    /// The entry that could not be written.
    fn examine_kept(&self, emulator: &Path, thorough: bool) -> Examined {
        let kept = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            open.get(emulator.as_os_str()).filter(|loaded| loaded.is_in_no_file()).cloned()
        };
        kept.map_or(Examined::Missing, |kept| self.examine_loaded(emulator, kept, thorough))
    }

    /// One whose signatures moved over equal values is written again with the new ones, unless
    /// somebody holds its lock.
    fn examine_loaded(&self, emulator: &Path, loaded: Arc<Loaded>, thorough: bool) -> Examined {
        let (inputs, stale) = match self.environment_differs(&loaded) {
            Some(stale) => (Vec::new(), Some(stale)),
            None if !thorough && loaded.is_untouched() => {
                return Examined::Valid(self.keep(emulator, loaded));
            }
            None => self.compare(&loaded, thorough),
        };
        if let Some(stale) = stale {
            return Examined::Stale(stale, Box::new(loaded.with_inputs(inputs, &self.host())));
        }
        if inputs == loaded.inputs() {
            return Examined::Valid(self.keep(emulator, loaded));
        }
        if let Some(refreshed) = self.refresh(emulator, &loaded, &inputs) {
            return Examined::Valid(self.keep(emulator, refreshed));
        }
        // Where it cannot be written, this process at least need not compare values again.
        Examined::Valid(self.keep(emulator, loaded.with_inputs(inputs, &self.host())))
    }

    /// Why an entry does not answer under the environment that emulators get from this cache.
    fn environment_differs(&self, loaded: &Loaded) -> Option<Stale> {
        if self.has_environment_of(loaded.inputs()) {
            return None;
        }
        let recorded = loaded.inputs().iter().find(|input| input.kind == InputKind::Environment);
        let words = |value: &[u8]| match String::from_utf8_lossy(value).replace('\n', " ") {
            nothing if nothing.is_empty() => "nothing set".to_owned(),
            words => words,
        };
        Some(Stale {
            input: InputKind::Environment,
            scope: Scope::Binary,
            path: PathBuf::new(),
            recorded: words(recorded.map_or(&[][..], |input| &input.value)),
            found: words(&environment_value(&self.variables())),
        })
    }

    /// The inputs of an entry that hold, as they are now, and the first that does not: what all
    /// answers depend on goes before what only those do that depend on the host.
    fn compare(&self, loaded: &Loaded, thorough: bool) -> (Vec<Input>, Option<Stale>) {
        let mut inputs = Vec::new();
        let mut host_differs = None;
        for input in loaded.inputs() {
            match look(input, &self.host(), || self.kvm(), thorough) {
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

    /// Writes an entry to the root with new signatures, and reads what is there then: another
    /// process may have been faster, or know more. `None` if that is not possible now.
    fn refresh(&self, emulator: &Path, loaded: &Loaded, inputs: &[Input]) -> Option<Loaded> {
        let recorded = loaded.inputs().iter();
        let told: Vec<Input> =
            recorded.zip(inputs).map(|(old, new)| self.told_of(old, new)).collect();
        if told == loaded.inputs() {
            return None;
        }
        let path = self.store.entry_path(emulator);
        let _lock = self.store.lock(&path, Duration::ZERO)?;
        if !loaded.is_in(&path) && path.try_exists().ok()? {
            // What came from elsewhere goes where the root has none.
            return None;
        }
        if loaded.is_current() {
            let mut model = loaded.entry().to_model().ok()?;
            model.inputs = told;
            self.store.write(&path, &model.encode().ok()?).ok()?;
        }
        let refreshed = Loaded::new(self.store.read(&path).ok()??, &self.host());
        refreshed.is_untouched().then_some(refreshed)
    }

    /// What to tell others of an input that holds under a new signature. Only who sees KVM with the
    /// rights of the prober knows whether it still opens for that one, who would not look again.
    fn told_of(&self, old: &Input, new: &Input) -> Input {
        let is_by_same_user = || {
            let recorded = kvm::State::from_value(&old.value);
            recorded.is_some_and(|recorded| self.kvm().state.is_by_same_user(&recorded))
        };
        let is_other_view = old.kind == InputKind::Kvm && old != new && !is_by_same_user();
        if is_other_view { old.clone() } else { new.clone() }
    }

    /// Remembers an entry as the open one of an emulator.
    pub(crate) fn keep(&self, emulator: &Path, loaded: impl Into<Arc<Loaded>>) -> Capabilities {
        let loaded = loaded.into();
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(emulator.as_os_str().to_owned(), Arc::clone(&loaded));
        Capabilities(loaded)
    }

    pub(crate) fn forget(&self, emulator: &Path) {
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

/// The path that names an entry: absolute, without `.` and repeated slashes, so that each spelling names the
/// same one. Links are not followed, and `..` stays: behind a link it leads elsewhere.
pub(crate) fn absolute(emulator: &Path) -> Result<Cow<'_, Path>, Error> {
    if !emulator.is_absolute() {
        let absolute = std::path::absolute(emulator).map_err(Error::emulator(emulator))?;
        return Ok(Cow::Owned(absolute.components().collect()));
    }
    if is_tidy(emulator.as_os_str().as_bytes()) {
        return Ok(Cow::Borrowed(emulator));
    }
    Ok(Cow::Owned(emulator.components().collect()))
}

/// Whether an absolute path has no part that is empty or `.`. Every hit comes here.
fn is_tidy(path: &[u8]) -> bool {
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
