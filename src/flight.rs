//! One probe per emulator at a time, whoever asks.
//!
//! A flight works on a thread of its own: a caller that gives up waiting, or whose thread ends,
//! does not stop it, and no caller needs a runtime. Between processes the entry's lock does the
//! same; whoever gets it second finds the entry that the first one wrote.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use capscache_format::{
    Accelerator, Entry, Escaped, Fact, FactKey, FactKind, Group, Groups, Input, InputKind,
    InputRef, Model, Scope, Signature,
};
use capscache_probe::{
    InterviewError, Options, ProbeError, Probed, RanExecutable, StartError, chain, locate,
    note_failure, probe,
};

use crate::cache::{Cache, Examined, Lookup, Shared, absolute};
use crate::capabilities::{Capabilities, Loaded, recorded};
use crate::error::Error;
use crate::input::{
    Stale, distrust, environment_value, is_doubtful, lines, path_of, record, record_fixed,
    record_kvm, record_libraries, record_modules, record_route, record_unreachable, record_wrapper,
    sha256_of, signature, stat, time_of_change,
};
use crate::kvm::Kvm;
use crate::map::Bytes;
use crate::{libraries, shortage, wrapper};

/// How often an emulator that is replaced while it is probed is probed again.
const TRIES: usize = 3;

/// How long another process' probe is waited for beyond the time that a probe may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The probes that are under way in this process.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<OsString, Arc<Flight>>>);

/// One probe, and those who wait for it.
struct Flight {
    /// What it brings beside the core group.
    groups: Groups,
    state: Mutex<State>,
    landed: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<Result<Capabilities, Error>>,
    wakers: Vec<Waker>,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flight")
    }
}

impl Flight {
    fn new(groups: Groups) -> Flight {
        Flight { groups, state: Mutex::default(), landed: Condvar::new() }
    }

    /// Whether its result, good or bad, is the answer to somebody who wants `groups`. One that was
    /// under way for less says nothing of what is asked here; and one that was under way before
    /// somebody asked may tell what was true before: then its answers have to hold still.
    fn answers(
        &self,
        groups: Groups,
        is_later: bool,
        result: &Result<Capabilities, Error>,
    ) -> bool {
        let holds = || result.as_ref().map_or(true, |answers| answers.0.is_untouched());
        groups.without(self.groups).is_core() && (is_later || holds())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn land(&self, result: Result<Capabilities, Error>) {
        let wakers = {
            let mut state = self.state();
            state.result = Some(result);
            std::mem::take(&mut state.wakers)
        };
        self.landed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn wait(&self) -> Result<Capabilities, Error> {
        let mut state = self.state();
        loop {
            if let Some(result) = &state.result {
                return result.clone();
            }
            state = self.landed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Waiting for a flight without blocking a thread.
struct Landing(Arc<Flight>);

impl Future for Landing {
    type Output = Result<Capabilities, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state();
        match &state.result {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl Cache {
    /// What an emulator can do: from the cache if that is valid, else by one probe.
    ///
    /// A hit is a few `stat`s, see [`Cache::lookup`]. Otherwise blocks until the probe is over,
    /// which others may have started; works inside an async runtime too, but blocks its thread.
    ///
    /// # Errors
    /// [`Error`]; not for an entry that cannot be written: see [`Capabilities::not_kept`].
    pub fn get(&self, emulator: impl AsRef<Path>) -> Result<Capabilities, Error> {
        self.get_with(emulator, Groups::CORE)
    }

    /// As [`Cache::get`], with further groups, which are filled if the entry lacks them.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn get_with(
        &self,
        emulator: impl AsRef<Path>,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        let emulator = &*absolute(emulator.as_ref())?;
        let mut waited = false;
        loop {
            if let Some(hit) = self.ready(emulator, groups) {
                return Ok(hit);
            }
            let (flight, is_own) = self.flight(emulator, groups)?;
            let result = flight.wait();
            if flight.answers(groups, is_own || waited, &result) {
                return result;
            }
            waited = true;
        }
    }

    /// As [`Cache::get`], without blocking the thread; any executor will do.
    ///
    /// Dropping the future gives up waiting and leaves the probe to finish for others.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn get_async(&self, emulator: impl AsRef<Path>) -> Result<Capabilities, Error> {
        self.get_with_async(emulator, Groups::CORE).await
    }

    /// As [`Cache::get_with`], without blocking the thread; see [`Cache::get_async`].
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn get_with_async(
        &self,
        emulator: impl AsRef<Path>,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        let emulator = &*absolute(emulator.as_ref())?;
        let mut waited = false;
        loop {
            if let Some(hit) = self.ready(emulator, groups) {
                return Ok(hit);
            }
            let (flight, is_own) = self.flight(emulator, groups)?;
            let result = Landing(Arc::clone(&flight)).await;
            if flight.answers(groups, is_own || waited, &result) {
                return result;
            }
            waited = true;
        }
    }

    /// The entry with all `groups`, if nothing has to be run or compared for it: a few `stat`s and
    /// no more, so that it may be called where nothing may block. `None` says only that it takes
    /// more to know.
    pub fn ready(&self, emulator: impl AsRef<Path>, groups: Groups) -> Option<Capabilities> {
        let emulator = &*absolute(emulator.as_ref()).ok()?;
        let hit = self.0.hit(emulator).or_else(|| self.0.open_untouched(emulator));
        hit.filter(|hit| hit.has(groups))
    }

    /// As [`Cache::lookup_thoroughly`]; besides, starts a wrapper until its emulator greets, and compares
    /// which file runs then: what a wrapper decides when it runs shows in no file.
    ///
    /// # Errors
    /// As [`Cache::lookup`].
    pub fn lookup_starting(&self, emulator: impl AsRef<Path>) -> Result<Lookup, Error> {
        let emulator = absolute(emulator.as_ref())?;
        let examined = self.0.examine_starting(&emulator)?;
        Ok(self.0.told(&emulator, examined))
    }

    /// Forgets that the last probe of an emulator failed, so that the next `get` tries again; whether
    /// that was remembered.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn forget_failure(&self, emulator: impl AsRef<Path>) -> Result<bool, Error> {
        self.0.forget_failure(&absolute(emulator.as_ref())?)
    }

    /// The flight for an emulator, started if there is none, and whether it was.
    fn flight(&self, emulator: &Path, groups: Groups) -> Result<(Arc<Flight>, bool), Error> {
        let emulator = emulator.to_owned();
        let mut flights = self.0.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(emulator.as_os_str()) {
            return Ok((Arc::clone(flight), false));
        }
        let flight = Arc::new(Flight::new(groups));
        flights.insert(emulator.as_os_str().to_owned(), Arc::clone(&flight));
        drop(flights);
        let (shared, landing) = (Arc::clone(&self.0), Arc::clone(&flight));
        let name = emulator.clone();
        let started = std::thread::Builder::new().name("capscache".to_owned()).spawn(move || {
            let fly = || shared.obtain(&emulator, groups);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fly));
            let result =
                result.unwrap_or_else(|_| Err(Error::Abandoned { path: emulator.clone() }));
            shared.end_flight(&emulator);
            landing.land(result);
        });
        if let Err(source) = started {
            // Somebody may have joined already.
            self.0.end_flight(&name);
            flight.land(Err(Error::Thread { source: Arc::new(source) }));
        }
        Ok((flight, true))
    }
}

impl Shared {
    /// As [`Shared::examine_thoroughly`], with a look at what a wrapper starts.
    pub(crate) fn examine_starting(&self, emulator: &Path) -> Result<Examined, Error> {
        let examined = self.examine_thoroughly(emulator)?;
        let Examined::Valid(valid) = &examined else { return Ok(examined) };
        let Some(stale) = self.starts_otherwise(emulator, valid) else { return Ok(examined) };
        self.forget(emulator);
        Ok(Examined::Stale(stale, Box::new(valid.0.with_inputs(Vec::new(), &self.host()))))
    }

    /// Whether a wrapper starts another file than the one that was recorded, or with other libraries.
    fn starts_otherwise(&self, emulator: &Path, valid: &Capabilities) -> Option<Stale> {
        let of_kind = |kind| valid.0.inputs().iter().find(|input| input.kind == kind);
        let recorded = of_kind(InputKind::Executable)?;
        if of_kind(InputKind::Emulator)?.sha256 == recorded.sha256 {
            return None;
        }
        let path = path_of(recorded);
        let found = match locate(emulator, &self.probe_options()) {
            Ok(found) => {
                let status = rustix::fs::fstat(&found.file).ok()?;
                let at = |signature: &Signature| (signature.device, signature.inode);
                let is_same = recorded
                    .signature
                    .is_some_and(|recorded| at(&recorded) == at(&signature(&status)));
                if is_same && environment_value(&found.environment) == recorded.value {
                    return None;
                }
                let variables = environment_value(&found.environment);
                let variables = String::from_utf8_lossy(&variables).replace('\n', " ");
                format!("{} {variables}", Escaped::new(&found.path)).trim_end().to_owned()
            }
            // The prober's own trouble tells nothing about the wrapper.
            Err(ProbeError::Start(_)) => return None,
            Err(ProbeError::Interview(InterviewError::Start(StartError::Spawn { .. }))) => {
                return None;
            }
            Err(error) => chain(&error),
        };
        let variables = String::from_utf8_lossy(&recorded.value).replace('\n', " ");
        Some(Stale {
            input: InputKind::Executable,
            scope: Scope::Binary,
            recorded: format!("{} {variables}", Escaped::new(&path)).trim_end().to_owned(),
            path,
            found,
        })
    }

    fn end_flight(&self, emulator: &Path) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(emulator.as_os_str());
    }

    /// The entry with all `groups`: from disk, or from a probe of what is missing.
    fn obtain(self: &Arc<Self>, emulator: &Path, groups: Groups) -> Result<Capabilities, Error> {
        if let Ok(Examined::Valid(hit)) = self.examine(emulator, false)
            && hit.has(groups)
        {
            return Ok(hit);
        }
        std::fs::metadata(emulator).map_err(Error::emulator(emulator))?;
        self.refuse_what_failed(emulator, groups)?;
        if let Some(target) = plain_link(emulator)
            && target.file_name() == emulator.file_name()
            && let Some(shared) = self.share(emulator, &target, groups)?
        {
            return Ok(shared);
        }
        let path = self.store.entry_path(emulator);
        let _lock = self.store.lock(&path, self.limits.probe + PATIENCE);
        let known = self.examine(emulator, false);
        if let Ok(Examined::Valid(hit)) = &known
            && hit.has(groups)
        {
            return Ok(hit.clone());
        }
        self.refuse_what_failed(emulator, groups)?;
        let older = match &known {
            Ok(Examined::Valid(hit)) => recorded(hit),
            Ok(Examined::Stale(_, old)) => recorded(old.entry()),
            Ok(Examined::Missing) | Err(_) => Vec::new(),
        };
        let attempt = self.attempt(emulator, &older);
        let result = self.update(emulator, known, groups);
        match (&result, attempt) {
            (Ok(_), _) => drop(self.forget_failure(emulator)),
            (Err(error), Some(attempt)) => self.remember(emulator, attempt, groups, error),
            (Err(_), None) => {}
        }
        result
    }

    /// Nobody waits for a failure that somebody else waited for just now.
    fn refuse_what_failed(&self, emulator: &Path, groups: Groups) -> Result<(), Error> {
        match self.failure(emulator) {
            Some(failure) if failure.groups.without(groups).is_core() => {
                Err(Error::Failed { path: emulator.to_owned(), failure })
            }
            _ => Ok(()),
        }
    }

    /// Asks the emulator what is missing from what is `known`.
    fn update(
        &self,
        emulator: &Path,
        known: Result<Examined, Error>,
        groups: Groups,
    ) -> Result<Capabilities, Error> {
        let updated = match known {
            Ok(Examined::Valid(hit)) => self.fill(emulator, &hit, groups)?,
            Ok(Examined::Stale(stale, old)) if stale.scope == Scope::Host => {
                self.ask_host(emulator, &old)?.filter(|updated| updated.has(groups))
            }
            // Stale, missing, damaged: all of it anew.
            _ => None,
        };
        updated.map_or_else(|| self.probe(emulator, groups), Ok)
    }

    /// What holds for every probe of this cache. Nothing is written outside of the root.
    fn probe_options(&self) -> Options {
        Options {
            limits: self.limits.clone(),
            run_as: self.run_as.clone(),
            temporary: Some(self.store.directory().to_owned()),
            environment: self.environment.clone(),
            writable: self.writable.clone(),
            ..Options::default()
        }
    }

    /// Everything from a fresh probe.
    fn probe(&self, emulator: &Path, groups: Groups) -> Result<Capabilities, Error> {
        let mut recorded = Vec::new();
        for tries_left in (0..TRIES).rev() {
            let (began, before) = (time_of_change(), status(emulator)?);
            let routes = wrapper::routes(emulator, &self.variables());
            let routes: Vec<_> =
                routes.files.iter().map(|path| (path.clone(), stat(path).ok())).collect();
            let options = Options { groups, ..self.probe_options() };
            // What is true before and after the probe is true of it; KVM may change meanwhile.
            let kvm = self.kvm();
            let Probed { mut model, ran, native_kvm, .. } = run(emulator, &options)?;
            let after = status(emulator)?;
            let unmoved = signature(&before) == signature(&after) && kvm == self.kvm();
            // What a wrapper unpacks and removes again is not there for anybody to replace.
            let is_replaced = was_removed(&ran) && ran.executable.path.exists();
            if unmoved && !is_replaced {
                let files = self.files(emulator, &after, &ran, began)?;
                let before = std::mem::replace(&mut recorded, files);
                let is_doubtful = |input: &Input| match input.kind {
                    InputKind::Route => {
                        input.value.is_empty()
                            && !routes.contains(&(path_of(input), input.signature))
                    }
                    InputKind::Libraries if !ran.replaced.is_empty() => true,
                    _ => is_doubtful(input, began, &before),
                };
                if tries_left > 0 && recorded.iter().any(is_doubtful) {
                    continue;
                }
                model.inputs.clone_from(&recorded);
                model.inputs.iter_mut().filter(|input| is_doubtful(input)).for_each(distrust);
                model.inputs.push(record_fixed(InputKind::Memfd, Scope::Binary, &self.host()));
                if native_kvm {
                    note_closed(&kvm, &mut model, groups);
                    let inputs = self.host_inputs(&kvm, &model);
                    model.inputs.extend(inputs);
                }
                shortage::note(&mut model, !kvm.opens());
                return self.save(emulator, &model);
            }
        }
        Err(Error::Changing { path: emulator.to_owned() })
    }

    /// The files that the answers of a probe depend on, which began at the [`time_of_change`] `began`.
    fn files(
        &self,
        emulator: &Path,
        status: &rustix::fs::Stat,
        ran: &RanExecutable,
        began: SystemTime,
    ) -> Result<Vec<Input>, Error> {
        let path = &ran.executable.path;
        let executable = rustix::fs::fstat(&ran.executable.file).map_err(std::io::Error::from);
        let executable = executable.map_err(Error::emulator(emulator))?;
        let is_same = |status: &rustix::fs::Stat| {
            (status.st_dev, status.st_ino) == (executable.st_dev, executable.st_ino)
        };
        let emulator_sha256 = if is_same(status) {
            ran.sha256
        } else {
            sha256_of(emulator).map_err(Error::emulator(emulator))?
        };
        // In another mount namespace any other file, a module say, may be another one too.
        let is_reachable = !ran.executable.has_own_mounts
            && rustix::fs::stat(path).is_ok_and(|status| is_same(&status));
        let runs = if is_reachable {
            record(InputKind::Executable, path, &executable, ran.sha256, began)
        } else {
            record_unreachable(InputKind::Executable, path, ran.sha256)
        };
        let mut inputs = vec![
            record(InputKind::Emulator, emulator, status, emulator_sha256, began),
            Input { value: environment_value(&ran.executable.environment), ..runs },
        ];
        inputs.extend(ran.executable.interpreter.iter().map(|path| record_route(path, began)));
        inputs.extend(record_wrapper(emulator, path, &self.variables(), began));
        inputs.extend(ran.module_directories.iter().map(|path| record_modules(path, began)));
        for list in [libraries::LOADER_CACHE, libraries::PRELOAD] {
            let is_cache = list == libraries::LOADER_CACHE;
            let objects = if is_cache { lines(&ran.objects) } else { Vec::new() };
            inputs.push(record_libraries(&ran.executable.root.join(list), &objects, began));
        }
        for directory in libraries::searched_directories(ran) {
            let inside = ran.objects.iter().filter(|object| object.parent() == Some(&directory));
            let objects = lines(&inside.cloned().collect::<Vec<_>>());
            inputs.push(record_libraries(&directory, &objects, began));
        }
        Ok(inputs)
    }

    /// What depends on the host, asked anew, beside what an entry says of the binary; `None` if the
    /// entry has nothing else, or if another file ran than the one that it is about.
    fn ask_host(&self, emulator: &Path, old: &Loaded) -> Result<Option<Capabilities>, Error> {
        let entry = old.entry();
        if entry.accelerators().all(Accelerator::needs_host) {
            return Ok(None);
        }
        let path = self.store.entry_path(emulator);
        for _ in 0..TRIES {
            let damaged = |source| Error::Format { path: path.clone(), source };
            let mut whole = entry.to_model().map_err(damaged)?;
            whole.drop_host_facts();
            // What is true before and after the probe is true of it.
            let kvm = self.kvm();
            if kvm.opens() {
                let groups = if entry.groups().contains(Group::CpuModels) {
                    Groups::CPU_MODELS
                } else {
                    Groups::CORE
                };
                let options = Options { binary: false, groups, ..self.probe_options() };
                match probe(emulator, &options) {
                    Ok(probed) if recorded_sha256(entry) != Some(&probed.ran.sha256) => {
                        return Ok(None);
                    }
                    Ok(probed) => {
                        whole
                            .replace(&probed.model)
                            .map_err(|source| too_much(emulator, source))?;
                    }
                    Err(error) => {
                        note_failure(&mut whole, true, groups, Accelerator::Kvm, &chain(&error));
                    }
                }
            }
            if kvm != self.kvm() {
                continue;
            }
            note_closed(&kvm, &mut whole, entry.groups());
            let of_host = self.host_inputs(&kvm, &whole);
            let of_binary = old.inputs().iter().filter(|input| {
                input.scope == Scope::Binary && input.kind != InputKind::Incomplete
            });
            whole.inputs = of_binary.cloned().chain(of_host).collect();
            shortage::note(&mut whole, !kvm.opens());
            return self.save(emulator, &whole).map(Some);
        }
        Err(Error::Changing { path: emulator.to_owned() })
    }

    /// What the answers about the host depend on.
    fn host_inputs(&self, kvm: &Kvm, model: &Model) -> [Input; 3] {
        let (group, accelerator, kind) = (Group::Core, Accelerator::Kvm, FactKind::Ran);
        let failed = model.get(FactKey { group, accelerator, kind }) == Some(Fact::Refused);
        [
            record_kvm(kvm, failed && kvm.opens()),
            record_fixed(InputKind::Kernel, Scope::Host, &self.host()),
            record_fixed(InputKind::Cpu, Scope::Host, &self.host()),
        ]
    }

    /// The groups that an entry lacks, probed and put beside what it has; `None` if another file
    /// ran than the one that the entry is about.
    fn fill(
        &self,
        emulator: &Path,
        hit: &Capabilities,
        groups: Groups,
    ) -> Result<Option<Capabilities>, Error> {
        let options = Options {
            core: false,
            groups: groups.without(hit.groups()),
            kvm: hit.accelerators().any(|accelerator| accelerator == Accelerator::Kvm),
            ..self.probe_options()
        };
        let Probed { mut model, ran, .. } = run(emulator, &options)?;
        if recorded_sha256(hit) != Some(&ran.sha256) {
            return Ok(None);
        }
        model.inputs = hit.0.inputs().to_vec();
        model.inputs.retain(|input| input.kind != InputKind::Incomplete);
        let path = self.store.entry_path(emulator);
        let mut whole =
            hit.to_model().map_err(|source| Error::Format { path: path.clone(), source })?;
        whole.replace(&model).map_err(|source| too_much(emulator, source))?;
        if options.groups.contains(Group::CpuModels) {
            for accelerator in hit.accelerators() {
                let (group, kind) = (Group::CpuModels, FactKind::CpuModels);
                if whole.get(FactKey { group, accelerator, kind }).is_none() {
                    let reason = "the emulator did not run under it when its models were asked for";
                    note_failure(&mut whole, false, Groups::CPU_MODELS, accelerator, reason);
                }
            }
        }
        shortage::note(&mut whole, !self.kvm().opens());
        let is_incomplete = whole.inputs.iter().any(|input| input.kind == InputKind::Incomplete);
        if is_incomplete && hit.incomplete().is_none() {
            // What was complete stays for everybody else.
            return self.keep_incomplete(emulator, &whole).map(Some);
        }
        self.save(emulator, &whole).map(Some)
    }

    /// The entry of a link to a QEMU of the same name is a copy of the entry of what it links to: one
    /// file, one probe. Under another name a program may be another one (`argv[0]`). `None` if what it
    /// links to runs something else.
    fn share(
        self: &Arc<Self>,
        emulator: &Path,
        target: &Path,
        groups: Groups,
    ) -> Result<Option<Capabilities>, Error> {
        // What does not run by its own name may run by the link's.
        let capabilities = match Cache(Arc::clone(self)).get_with(target, groups) {
            Ok(capabilities) if capabilities.executable() == target => capabilities,
            Ok(_) | Err(Error::Probe { .. } | Error::Failed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let format = |source| Error::Format { path: target.to_owned(), source };
        let mut model = capabilities.to_model().map_err(format)?;
        for input in &mut model.inputs {
            if input.kind == InputKind::Emulator {
                input.name = crate::input::name_of(emulator);
            }
        }
        self.save(emulator, &model).map(Some)
    }

    /// Writes an entry and opens it; where it cannot be written, keeps it in this process.
    fn save(&self, emulator: &Path, model: &Model) -> Result<Capabilities, Error> {
        let bytes = model.encode().map_err(|source| too_much(emulator, source))?;
        let path = self.store.entry_path(emulator);
        let written = self.fits(&path, &bytes).and_then(|()| self.store.write(&path, &bytes));
        let written = written.and_then(|()| self.store.read(&path));
        let loaded = match written {
            Ok(Some(stored)) => Loaded::new(stored, &self.host()),
            Ok(None) => {
                let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
                self.unwritten(bytes, &path, Error::entry("read", &path)(gone))?
            }
            Err(error) => self.unwritten(bytes, &path, error)?,
        };
        Ok(self.keep(emulator, loaded))
    }

    /// Refuses to write what is beyond the limit of this process for files: SIGXFSZ would end it.
    pub(crate) fn fits(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        if limit.is_some_and(|limit| u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit) {
            let too_large = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
            return Err(Error::entry("write", path)(too_large));
        }
        Ok(())
    }

    /// Keeps incomplete answers in this process only.
    fn keep_incomplete(&self, emulator: &Path, model: &Model) -> Result<Capabilities, Error> {
        let bytes = model.encode().map_err(|source| too_much(emulator, source))?;
        let why = Error::Incomplete { path: emulator.to_owned() };
        let loaded = self.unwritten(bytes, &self.store.entry_path(emulator), why)?;
        Ok(self.keep(emulator, loaded))
    }

    fn unwritten(&self, bytes: Vec<u8>, path: &Path, why: Error) -> Result<Loaded, Error> {
        let entry = Entry::open(Bytes::in_memory(bytes))
            .map_err(|source| Error::Format { path: path.to_owned(), source })?;
        Ok(Loaded::not_kept(entry, why, &self.host()))
    }
}

fn run(emulator: &Path, options: &Options) -> Result<Probed, Error> {
    probe(emulator, options)
        .map_err(|source| Error::Probe { path: emulator.to_owned(), source: Arc::new(source) })
}

fn too_much(emulator: &Path, source: capscache_format::ModelError) -> Error {
    Error::Model { path: emulator.to_owned(), source: Arc::new(source) }
}

fn status(emulator: &Path) -> Result<rustix::fs::Stat, Error> {
    rustix::fs::stat(emulator).map_err(std::io::Error::from).map_err(Error::emulator(emulator))
}

/// What the link `emulator` leads to, if that is a program and no script.
fn plain_link(emulator: &Path) -> Option<PathBuf> {
    let target = std::fs::canonicalize(emulator).ok()?;
    let mut magic = [0; 4];
    let mut file = crate::input::open_regular(&target).ok()?;
    std::io::Read::read_exact(&mut file, &mut magic).ok()?;
    (target != emulator && magic == *b"\x7fELF").then_some(target)
}

/// KVM is there, but this process may not open it: what the emulator can do under it is unknown.
fn note_closed(kvm: &Kvm, model: &mut Model, groups: Groups) {
    if kvm.is_there() && !kvm.opens() {
        let reason = "/dev/kvm cannot be opened by the user who probed";
        note_failure(model, true, groups, Accelerator::Kvm, reason);
    }
}

/// The digest of the executable that an entry is about.
fn recorded_sha256(entry: &Entry<Bytes>) -> Option<&[u8; 32]> {
    entry.input(InputKind::Executable).and_then(InputRef::sha256)
}

/// Whether what ran has no name any more: it was replaced or removed meanwhile.
fn was_removed(ran: &RanExecutable) -> bool {
    rustix::fs::fstat(&ran.executable.file).is_ok_and(|status| status.st_nlink == 0)
}
