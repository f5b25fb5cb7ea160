//! What the answers depend on: recorded when they were given, looked at on every lookup.
//!
//! Each input has a *trigger*, what a hit pays for (a `stat` as a rule), and *values*, compared only
//! when the trigger moved (digests, lists, rights). Equal values behind a moved trigger give the
//! input a new signature and cost no probe; values that differ make the entry stale, as a whole or,
//! where only facts of the host depend on them, in that part.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capscache_format::{Escaped, Input, InputKind, Scope, Signature};
use rustix::fs::{Mode, OFlags, Stat};
use sha2::{Digest, Sha256};

use crate::host::HostFacts;
use crate::identity;
#[cfg(feature = "probe")]
use crate::kvm::KVM;
use crate::kvm::{self, Kvm, Right};
use crate::search::is_program;
use crate::shortage;
#[cfg(feature = "probe")]
use crate::wrapper::{self, Routes};

/// Within this time of a file's change another change may leave its time stamps as they are.
const RACY: Duration = Duration::from_secs(2);

/// A file on the way to the executable that is larger, in bytes, is known by its time stamps alone.
#[cfg(feature = "probe")]
const LARGEST_ROUTE_BYTES: u64 = 64 << 20;

/// Why an entry does not answer for its emulator any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Which input differs.
    pub input: InputKind,
    /// Which answers are stale: all, or those that depend on the host.
    pub scope: Scope,
    /// Its path; empty for what has none.
    pub path: PathBuf,
    /// What was recorded.
    pub recorded: String,
    /// What is there now.
    pub found: String,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stale { input, path, recorded, found, .. } = self;
        write!(f, "the {input}")?;
        if !path.as_os_str().is_empty() {
            write!(f, " {}", Escaped::new(path))?;
        }
        let (recorded, found) = (Escaped::new(recorded), Escaped::new(found));
        write!(f, " changed: recorded {recorded}, found {found}")
    }
}

/// What a look at an input showed.
#[derive(Debug)]
pub(crate) enum Look {
    /// The trigger did not move.
    Same,
    /// The trigger moved, the values did not: the input with its new signature.
    Moved(Input),
    /// The values differ.
    Differs(Stale),
}

/// What a hit compares.
#[derive(Clone, Debug)]
pub(crate) enum Trigger {
    /// One `stat`; `None`: nothing is there.
    Stat(CString, Option<Signature>),
    /// The clock, since a failure of KVM does not count for long, and the module behind a node that does
    /// not show it. Costs a system call for the module.
    Kvm(kvm::State),
    /// Whether this process may open a node; one system call.
    Right(Right),
    /// Whether incomplete answers serve this process still.
    Incomplete(Box<Input>),
}

impl Trigger {
    /// What moves when `path` does; `None` for a path that no file can have.
    pub(crate) fn stat(path: &Path, recorded: Option<Signature>) -> Option<Trigger> {
        // Made once: a hit has no time to copy paths.
        CString::new(path.as_os_str().as_bytes()).ok().map(|path| Trigger::Stat(path, recorded))
    }

    /// The triggers of an entry; `None` if one of its signatures is racy or what cannot change
    /// under a running process is not as recorded, so that values decide.
    pub(crate) fn of(inputs: &[Input], host: &HostFacts) -> Option<Vec<Trigger>> {
        let mut file = None;
        let mut triggers = Vec::new();
        for input in inputs {
            if input.racy {
                return None;
            }
            match input.kind {
                InputKind::Memfd | InputKind::Kernel | InputKind::Cpu => {
                    if fixed(input.kind, host) != input.value {
                        return None;
                    }
                    continue;
                }
                // Another mount namespace's file: there is nothing here to compare it with.
                InputKind::Emulator | InputKind::Executable if input.signature.is_none() => {
                    return None;
                }
                InputKind::Incomplete => {
                    triggers.push(Trigger::Incomplete(Box::new(input.clone())));
                    continue;
                }
                // The environment is compared when an entry is read.
                InputKind::Failure | InputKind::Environment => continue,
                InputKind::Kvm => {
                    let state = kvm::State::from_value(&input.value)?;
                    triggers.extend(state.rights(&host.cpu).into_iter().map(Trigger::Right));
                    if state.is_watched() {
                        triggers.push(Trigger::Kvm(state));
                    }
                }
                _ => {}
            }
            // The emulator that is no wrapper is its own executable: one look is enough.
            let is_file = matches!(input.kind, InputKind::Emulator | InputKind::Executable);
            if is_file && file.replace(input.signature) == Some(input.signature) {
                continue;
            }
            triggers.push(Trigger::stat(&path_of(input), input.signature)?);
        }
        Some(triggers)
    }

    /// The path that it is about.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Trigger::Stat(path, _) => Some(Path::new(OsStr::from_bytes(path.as_bytes()))),
            Trigger::Kvm(_) | Trigger::Right(_) | Trigger::Incomplete(_) => None,
        }
    }

    /// Whether it is what `stat` says of `path`.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        self.path().is_some_and(|own| own.as_os_str() == path.as_os_str())
    }

    /// Its file, opened; `None` if that is another one by now.
    pub(crate) fn open_unmoved(&self) -> Option<File> {
        let Trigger::Stat(path, recorded) = self else { return None };
        let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(&**path, flags, Mode::empty()).ok()?);
        let found = rustix::fs::fstat(&file).ok().map(|status| signature(&status));
        (found == *recorded).then_some(file)
    }

    /// Whether it moved.
    pub(crate) fn moved(&self) -> bool {
        match self {
            Trigger::Stat(path, recorded) => {
                rustix::fs::stat(&**path).ok().map(|status| signature(&status)) != *recorded
            }
            Trigger::Kvm(state) => state.is_expired() || state.driver_has_changed(),
            Trigger::Right(right) => right.has_changed(),
            Trigger::Incomplete(input) => shortage::expired(input).is_some(),
        }
    }
}

pub(crate) fn stat(path: &Path) -> io::Result<Signature> {
    Ok(signature(&rustix::fs::stat(path)?))
}

/// What `stat` says of a file, as far as it identifies the content.
pub(crate) fn signature(status: &Stat) -> Signature {
    let nanoseconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Signature {
        device: status.st_dev,
        inode: status.st_ino,
        size: u64::try_from(status.st_size).unwrap_or(0),
        mtime: (status.st_mtime, nanoseconds(status.st_mtime_nsec)),
        ctime: (status.st_ctime, nanoseconds(status.st_ctime_nsec)),
    }
}

/// Records a file: its signature, its digest, and whether the signature can be relied on. As with
/// all that is recorded, `since` is the time before its values were looked at, by
/// this process or by an emulator: how long that took makes no signature any older.
pub(crate) fn record(
    kind: InputKind,
    path: &Path,
    status: &Stat,
    sha256: [u8; 32],
    since: SystemTime,
) -> Input {
    input(kind, path, Some(signature(status)), Some(sha256), Vec::new(), since)
}

/// Records a file that has no path here, such as one inside another mount namespace.
#[cfg(feature = "probe")]
pub(crate) fn record_unreachable(kind: InputKind, path: &Path, sha256: [u8; 32]) -> Input {
    let name = name_of(path);
    Input { name, sha256: Some(sha256), ..record_value(kind, Scope::Binary, Vec::new()) }
}

/// Records a directory where the emulator looks for modules.
pub(crate) fn record_modules(directory: &Path, since: SystemTime) -> Input {
    // The signature first: a change after it shows.
    let signature = stat(directory).ok();
    let files = signature.and_then(|_| files_in(directory).ok());
    let digest = files.as_ref().map(|files| object_digest(&lines(files)));
    let contents = files.and_then(|files| identity::of_contents(&files)).unwrap_or_default();
    let value = contents.into_bytes();
    input(InputKind::Modules, directory, signature, digest, value, since)
}

/// Records shared objects by what shows that one of them was replaced, or another one came before it:
/// the loader's cache with the `objects` that the emulator had mapped, given one a line, the list of
/// preloaded objects, or a directory that was searched. The value has what identifies their builds
/// after them.
pub(crate) fn record_libraries(path: &Path, objects: &[u8], since: SystemTime) -> Input {
    // The signature first: a change after it shows.
    let signature = stat(path).ok();
    let mut value = objects_of(path, objects);
    let digest = Some(object_digest(&value));
    if let Some(builds) = identity::of_builds(paths_of(&value.clone())) {
        value.extend_from_slice(format!("\n{builds}").as_bytes());
    }
    input(InputKind::Libraries, path, signature, digest, value, since)
}

/// The objects that an input of libraries is about, one a line: those that were recorded, the list itself
/// where they are preloaded, and of a directory all objects that are in it now.
fn objects_of(path: &Path, recorded: &[u8]) -> Vec<u8> {
    let mut objects: BTreeSet<PathBuf> = paths_of(recorded).map(Path::to_owned).collect();
    match fs::metadata(path) {
        Ok(status) if status.is_dir() => {
            objects.extend(files_in(path).unwrap_or_default().into_iter().filter(|file| {
                let name = file.file_name().unwrap_or_default().as_bytes();
                name.windows(3).any(|part| part == b".so") || name == b"glibc-hwcaps"
            }));
        }
        Ok(_) if path.ends_with("ld.so.preload") => drop(objects.insert(path.to_owned())),
        _ => {}
    }
    lines(&objects.into_iter().collect::<Vec<_>>())
}

/// Records a file that the executable was reached through, present or not.
#[cfg(feature = "probe")]
pub(crate) fn record_route(path: &Path, since: SystemTime) -> Input {
    let signature = stat(path).ok();
    let is_small = signature.is_some_and(|signature| signature.size <= LARGEST_ROUTE_BYTES);
    let sha256 = is_small.then(|| sha256_of(path).ok()).flatten();
    input(InputKind::Route, path, signature, sha256, Vec::new(), since)
}

/// Records a directory in which commands were searched for in vain, given one a line.
pub(crate) fn record_searched(directory: &Path, commands: Vec<u8>, since: SystemTime) -> Input {
    input(InputKind::Route, directory, stat(directory).ok(), None, commands, since)
}

/// Records the environment of an emulator and, if it is a wrapper, all that it resolves through, but for
/// what is recorded otherwise.
#[cfg(feature = "probe")]
pub(crate) fn record_wrapper(
    emulator: &Path,
    executable: &Path,
    variables: &[(OsString, OsString)],
    since: SystemTime,
) -> Vec<Input> {
    let mut routes = wrapper::routes(emulator, variables);
    routes.files.remove(executable);
    let environment = record_environment(&routes, variables);
    record_routes(routes, since).into_iter().chain(environment).collect()
}

#[cfg(feature = "probe")]
fn record_routes(routes: Routes, since: SystemTime) -> Vec<Input> {
    let files = routes.files.iter().map(|path| record_route(path, since));
    let searched = routes.searched.iter().map(|(directory, commands)| {
        let commands: Vec<&[u8]> = commands.iter().map(Vec::as_slice).collect();
        record_searched(directory, commands.join(&b'\n'), since)
    });
    files.chain(searched).collect()
}

/// The paths of a route: the file itself, or the commands that are not in the directory.
pub(crate) fn paths_of_route(input: &Input) -> Vec<PathBuf> {
    let path = path_of(input);
    if input.value.is_empty() {
        return vec![path];
    }
    let commands = input.value.split(|byte| *byte == b'\n');
    commands.map(|command| path.join(OsStr::from_bytes(command))).collect()
}

/// Records the environment of an emulator as far as its answers depend on it: what was given to it, and
/// `PATH` if a wrapper searches there. `None` if that is nothing.
#[cfg(feature = "probe")]
fn record_environment(routes: &Routes, variables: &[(OsString, OsString)]) -> Option<Input> {
    let mut deciding = variables.to_vec();
    deciding.retain(|(name, _)| name != "PATH" || routes.use_path);
    let value = environment_value(&deciding);
    let is_empty = value.is_empty();
    (!is_empty).then(|| record_value(InputKind::Environment, Scope::Binary, value))
}

/// Variables, `NAME=VALUE`, one a line, sorted.
pub(crate) fn environment_value(variables: &[(OsString, OsString)]) -> Vec<u8> {
    let variables =
        variables.iter().map(|(name, value)| [name.as_bytes(), value.as_bytes()].join(&b'='));
    let sorted: BTreeSet<Vec<u8>> = variables.collect();
    sorted.into_iter().collect::<Vec<_>>().join(&b'\n')
}

/// The time that a file would get that changed now: that of the kernel's last tick.
#[cfg(feature = "probe")]
pub(crate) fn time_of_change() -> SystemTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    UNIX_EPOCH + Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanoseconds)
}

/// Whether the emulator may have seen other modules or libraries than those that were recorded after
/// its probe, which began at the [`time_of_change`] `began`. The probe before it may have recorded the
/// same: then nothing changed in between, whatever the clock says.
#[cfg(feature = "probe")]
pub(crate) fn is_doubtful(input: &Input, began: SystemTime, recorded_before: &[Input]) -> bool {
    let changed = |path: &Path| {
        let status = rustix::fs::stat(path).ok().map(|status| changed_at(signature(&status)));
        status.is_some_and(|at| at.is_some_and(|at| at >= began))
    };
    let path = path_of(input);
    let has_changed = match input.kind {
        InputKind::Modules => {
            changed(&path)
                || files_in(&path).unwrap_or_default().iter().any(|module| changed(module))
        }
        InputKind::Libraries => paths_of(&input.value).any(changed),
        _ => false,
    };
    has_changed
        && !recorded_before
            .iter()
            .any(|before| Input { racy: input.racy, ..before.clone() } == *input)
}

/// Leaves no trust in an input: whatever the next look finds differs.
#[cfg(feature = "probe")]
pub(crate) fn distrust(input: &mut Input) {
    input.signature = None;
    input.sha256 = None;
    if input.kind == InputKind::Route {
        return;
    }
    input.value.extend_from_slice(b"\nchanged during the probe");
}

/// Records KVM as an emulator saw it; `has_failed`: it opens, and the emulator failed under it.
#[cfg(feature = "probe")]
pub(crate) fn record_kvm(kvm: &Kvm, has_failed: bool) -> Input {
    let Kvm { signature, state } = kvm.clone();
    let state = if has_failed { state.failed_now() } else { state };
    // Rights and parameters are compared whenever the trigger moves; its age says nothing of them.
    Input {
        name: name_of(Path::new(KVM)),
        signature,
        ..record_value(InputKind::Kvm, Scope::Host, state.to_value())
    }
}

/// Records, before a probe, what decides whether it is worth another try should it fail: the emulator,
/// the files that it names if it is a script, KVM and the kernel, what it is loaded with and, if an
/// `older` entry tells, its modules and shared objects. `None` if nothing is there.
#[cfg(feature = "probe")]
pub(crate) fn record_for_failure(
    emulator: &Path,
    older: &[Input],
    variables: &[(OsString, OsString)],
    host: &HostFacts,
) -> Option<Vec<Input>> {
    let since = SystemTime::now();
    let here = |kind, path: &Path| input(kind, path, stat(path).ok(), None, Vec::new(), since);
    let mut program = here(InputKind::Emulator, emulator);
    program.signature?;
    if program.racy {
        program.sha256 = sha256_of(emulator).ok();
    }
    let mut inputs = vec![program];
    let routes = wrapper::routes(emulator, variables);
    inputs.extend(routes.files.iter().map(|path| here(InputKind::Route, path)));
    inputs.extend(record_environment(&routes, variables));
    inputs.extend(record_routes(Routes { files: BTreeSet::new(), ..routes }, since));
    let of_kind = |kind| older.iter().filter(move |input| input.kind == kind);
    let objects = of_kind(InputKind::Libraries).flat_map(|input| paths_of(&input.value));
    let value = lines(&objects.map(Path::to_owned).collect::<Vec<_>>());
    let libraries = Input { value, ..here(InputKind::Libraries, Path::new("/etc/ld.so.cache")) };
    inputs.push(Input { sha256: stamps(&libraries), ..libraries });
    let modules = of_kind(InputKind::Modules);
    inputs.extend(modules.map(|input| record_modules_for_failure(&path_of(input))));
    inputs.push(shortage::record_for_failure());
    inputs.push(here(InputKind::Kvm, Path::new(KVM)));
    inputs.push(record_fixed(InputKind::Kernel, Scope::Binary, host));
    Some(inputs)
}

/// Records a directory of modules as far as failures depend on it.
#[cfg(feature = "probe")]
pub(crate) fn record_modules_for_failure(directory: &Path) -> Input {
    let at = stat(directory).ok();
    let input = input(InputKind::Modules, directory, at, None, Vec::new(), SystemTime::now());
    Input { sha256: stamps(&input), ..input }
}

/// Whether what a failure depends on is as it was. No values are compared but the content of an
/// emulator that had changed just before: another try costs less than a wrong refusal.
pub(crate) fn is_as_recorded(input: &Input, host: &HostFacts) -> bool {
    let is_unmoved = || stat(&path_of(input)).ok() == input.signature;
    match input.kind {
        // The caller knows what environment it gives.
        InputKind::Failure | InputKind::Environment => true,
        // Who has other rights or limits may have more luck.
        InputKind::Incomplete => shortage::is_same_context(input),
        InputKind::Memfd | InputKind::Kernel | InputKind::Cpu => {
            fixed(input.kind, host) == input.value
        }
        InputKind::Emulator => !matches!(look(input, host, Kvm::now, false), Look::Differs(_)),
        InputKind::Route if !input.value.is_empty() => {
            !matches!(look(input, host, Kvm::now, false), Look::Differs(_))
        }
        InputKind::Modules | InputKind::Libraries => is_unmoved() && stamps(input) == input.sha256,
        _ => is_unmoved(),
    }
}

/// Records what cannot change under a running process.
#[cfg(feature = "probe")]
pub(crate) fn record_fixed(kind: InputKind, scope: Scope, host: &HostFacts) -> Input {
    record_value(kind, scope, fixed(kind, host))
}

/// Records what has no path, and nothing but a value.
#[cfg(feature = "probe")]
pub(crate) fn record_value(kind: InputKind, scope: Scope, value: Vec<u8>) -> Input {
    Input { kind, scope, name: Vec::new(), signature: None, sha256: None, value, racy: false }
}

fn fixed(kind: InputKind, host: &HostFacts) -> Vec<u8> {
    let value = match kind {
        InputKind::Memfd => &host.memfd,
        InputKind::Kernel => &host.kernel,
        InputKind::Cpu => &host.cpu,
        _ => return Vec::new(),
    };
    value.clone().into_bytes()
}

/// An input that all answers depend on.
fn input(
    kind: InputKind,
    path: &Path,
    signature: Option<Signature>,
    sha256: Option<[u8; 32]>,
    value: Vec<u8>,
    since: SystemTime,
) -> Input {
    let racy = signature.is_some_and(|signature| is_racy(signature, since));
    Input { kind, scope: Scope::Binary, name: name_of(path), signature, sha256, value, racy }
}

/// Paths, one a line.
pub(crate) fn lines(paths: &[PathBuf]) -> Vec<u8> {
    paths.iter().map(|path| path.as_os_str().as_bytes()).collect::<Vec<_>>().join(&b'\n')
}

/// The paths of a value that has one a line, which may have other lines too.
pub(crate) fn paths_of(value: &[u8]) -> impl Iterator<Item = &Path> {
    let named = value.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"/"));
    named.map(|line| Path::new(OsStr::from_bytes(line)))
}

/// Looks at an input: at its trigger, and at its values if that moved, or if the look is to be
/// thorough. `kvm` looks at KVM as the emulator will see it.
pub(crate) fn look(
    input: &Input,
    host: &HostFacts,
    kvm: impl FnOnce() -> Kvm,
    thorough: bool,
) -> Look {
    let path = path_of(input);
    let differs = |recorded: String, found: String| {
        let (path, scope) = (path.clone(), input.scope);
        Look::Differs(Stale { input: input.kind, scope, path, recorded, found })
    };
    let words = |value: &[u8]| String::from_utf8_lossy(value).trim_end().replace('\n', " ");
    match input.kind {
        InputKind::Memfd | InputKind::Kernel | InputKind::Cpu => {
            let found = fixed(input.kind, host);
            if found == input.value {
                return Look::Same;
            }
            return differs(words(&input.value), words(&found));
        }
        InputKind::Emulator | InputKind::Executable if input.signature.is_none() => {
            let recorded = "a file that is gone, or in another mount namespace";
            return differs(recorded.to_owned(), "no way to compare it".to_owned());
        }
        // Compared when the entry was read.
        InputKind::Environment => return Look::Same,
        InputKind::Incomplete => {
            return shortage::expired(input).map_or(Look::Same, Look::Differs);
        }
        _ => {}
    }
    let since = SystemTime::now();
    let found = stat(&path);
    let kvm_state =
        || kvm::State::from_value(&input.value).filter(|_| input.kind == InputKind::Kvm);
    let is_expired = kvm_state().is_some_and(|state| state.is_expired());
    let unmoved = found.as_ref().ok() == input.signature.as_ref() && !input.racy && !is_expired;
    // Who may open a node is no matter of its time stamps.
    let unmoved = unmoved && input.kind != InputKind::Kvm;
    let is_file = matches!(input.kind, InputKind::Emulator | InputKind::Executable);
    if unmoved && !thorough {
        return Look::Same;
    }
    // A file of another size has another content, and need not be read.
    if is_file
        && let (Ok(found), Some(recorded)) = (&found, &input.signature)
        && found.size != recorded.size
        && path.is_file()
    {
        return differs(content(input), format!("{} bytes", found.size));
    }
    // As long as the time stamps of files say the same, no content needs to be read.
    let stamps = stamps(input);
    if stamps.is_some() && stamps == input.sha256 {
        if unmoved {
            return Look::Same;
        }
        let signature = found.ok();
        let racy = signature.is_some_and(|signature| is_racy(signature, since));
        return Look::Moved(Input { signature, racy, ..input.clone() });
    }
    let again = match input.kind {
        InputKind::Modules => record_modules(&path, since),
        InputKind::Libraries => record_libraries(&path, &input.value, since),
        InputKind::Route if !input.value.is_empty() => {
            if let Some(found) = paths_of_route(input).iter().find(|command| is_program(command)) {
                return differs("nothing of that name".to_owned(), Escaped::new(found).to_string());
            }
            return Look::Moved(record_searched(&path, input.value.clone(), since));
        }
        InputKind::Route if input.signature.is_none() => {
            let Ok(found) = found else { return Look::Same };
            return differs("nothing".to_owned(), format!("{} bytes", found.size));
        }
        InputKind::Route if input.sha256.is_none() => {
            if unmoved {
                return Look::Same;
            }
            return differs("a file with other time stamps".to_owned(), words(b"one that changed"));
        }
        InputKind::Kvm => {
            let found = kvm();
            let recorded = kvm_state().filter(|recorded| found.state.agrees_with(recorded));
            let Some(recorded) = recorded.filter(|_| !is_expired) else {
                let failure = if is_expired { " (and the emulator failed under it)" } else { "" };
                let recorded = words(&input.value) + failure;
                return differs(recorded, words(&found.state.to_value()));
            };
            // The view stays the prober's.
            let value = recorded.driven_as(&found.state).to_value();
            return Look::Moved(Input { signature: found.signature, value, ..input.clone() });
        }
        _ => match look_at_file(&path, found) {
            Ok((status, sha256)) => {
                let value = input.value.clone();
                Input { value, ..record(input.kind, &path, &status, sha256, since) }
            }
            Err(error) => return differs("a file".to_owned(), error.to_string()),
        },
    };
    // Of modules and objects the digest is one of time stamps: behind others may lie what was there.
    let is_same = match input.kind {
        InputKind::Modules | InputKind::Libraries if again.sha256 != input.sha256 => {
            !again.value.is_empty() && again.value == input.value
        }
        _ => again.sha256 == input.sha256,
    };
    if is_same { Look::Moved(again) } else { differs(content(input), content(&again)) }
}

fn look_at_file(path: &Path, found: io::Result<Signature>) -> io::Result<(Stat, [u8; 32])> {
    found?;
    // Of the two, the older one is recorded: a change between them shows at the next look.
    let status = rustix::fs::stat(path)?;
    Ok((status, sha256_of(path)?))
}

fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// A digest of what `stat` says of each of the modules in a directory, or of shared objects.
fn stamps(input: &Input) -> Option<[u8; 32]> {
    match input.kind {
        InputKind::Modules => {
            files_in(&path_of(input)).ok().map(|files| object_digest(&lines(&files)))
        }
        InputKind::Libraries => Some(object_digest(&objects_of(&path_of(input), &input.value))),
        _ => None,
    }
}

/// A digest of what `stat` says of each of these files.
fn object_digest(paths: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for path in paths_of(paths) {
        hasher.update(path.as_os_str().as_bytes());
        hasher.update(format!("\n{:?}\n", stat(path).ok()));
    }
    hasher.finalize().into()
}

/// More than any program has. A file may be as large as somebody likes without taking any room, and
/// nobody is to read that for hours.
const LARGEST_PROGRAM_BYTES: u64 = 1 << 30;

/// Opens a regular file for reading. A pipe, a terminal or a device could wait for ever, also if it came
/// to the path just now, and opening some devices does something.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let refused = || Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    if !fs::metadata(path)?.is_file() {
        return refused();
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { refused() }
}

/// The SHA-256 of a file's content, which is a program or one of its libraries.
pub(crate) fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    let file = open_regular(path)?;
    if file.metadata()?.len() > LARGEST_PROGRAM_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "larger than any program"));
    }
    let mut file = file.take(LARGEST_PROGRAM_BYTES);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&buffer[..read]);
    }
}

pub(crate) fn name_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

pub(crate) fn path_of(input: &Input) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&input.name))
}

/// As in git's index: a file that changed just now may change again within one tick of its file
/// system's clock. A time stamp in the future is no reason to trust it either.
fn is_racy(signature: Signature, since: SystemTime) -> bool {
    let Some(changed) = changed_at(signature) else { return false };
    since.duration_since(changed).map_or(true, |age| age < RACY)
}

/// When a file changed; `None` for one before 1970.
fn changed_at(signature: Signature) -> Option<SystemTime> {
    let (seconds, nanoseconds) = signature.ctime;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanoseconds))
}

/// An input's content in a few words.
fn content(input: &Input) -> String {
    let Some(sha256) = input.sha256 else { return "nothing".to_owned() };
    let hex = capscache_format::hex(&sha256[..6]);
    match (input.kind, input.signature) {
        (InputKind::Emulator | InputKind::Executable | InputKind::Route, Some(signature)) => {
            format!("SHA-256 {hex}… of {} bytes", signature.size)
        }
        (InputKind::Libraries, _) => {
            format!("{} objects, digest {hex}…", paths_of(&input.value).count())
        }
        _ => format!("files with digest {hex}…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Signature {
        Signature { device: 1, inode: 2, size: 3, mtime: (0, 0), ctime: (seconds, 500_000_000) }
    }

    #[cfg(feature = "probe")]
    #[test]
    fn modules_that_changed_since_a_probe_began_are_doubtful_until_they_hold_still_for_one() {
        let modules = tempfile::tempdir().unwrap();
        let directory = modules.path();
        let long_ago = UNIX_EPOCH + Duration::from_secs(100);
        let later = SystemTime::now() + Duration::from_secs(100);
        let first = [record_modules(directory, later)];
        assert!(is_doubtful(&first[0], long_ago, &[]));
        assert!(!is_doubtful(&first[0], later, &[]));
        // As with a clock that was set back.
        assert!(!is_doubtful(&record_modules(directory, later), long_ago, &first));
        fs::write(directory.join("hw-nothing.so"), "").unwrap();
        assert!(is_doubtful(&record_modules(directory, later), long_ago, &first));
        fs::File::open(directory).unwrap().set_modified(long_ago).unwrap();
        assert!(
            is_doubtful(&record_modules(directory, later), long_ago, &first),
            "of a file in it"
        );
    }

    #[test]
    fn two_paths_to_one_directory_are_both_looked_at_and_two_to_one_emulator_are_not() {
        let root = tempfile::tempdir().unwrap();
        let (directory, link) = (root.path().join("directory"), root.path().join("link"));
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        let looked_at = |kind| {
            let here = |path: &Path| {
                let at = Some(stat(path).unwrap());
                Input { racy: false, ..input(kind, path, at, None, Vec::new(), UNIX_EPOCH) }
            };
            let host = HostFacts::of_this_host();
            let triggers = Trigger::of(&[here(&directory), here(&link)], &host).unwrap();
            triggers.iter().map(|t| t.path().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(looked_at(InputKind::Modules), [directory.clone(), link.clone()]);
        assert_eq!(looked_at(InputKind::Executable), std::slice::from_ref(&directory));
    }

    #[test]
    fn a_file_larger_than_any_program_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LARGEST_PROGRAM_BYTES + 1).unwrap();
        let error = sha256_of(file.path()).unwrap_err();
        assert_eq!(error.to_string(), "larger than any program");
    }

    #[test]
    fn a_signature_is_racy_until_the_file_is_two_seconds_old() {
        let now = UNIX_EPOCH + Duration::new(100, 0);
        assert!(is_racy(at(99), now));
        assert!(is_racy(at(98), now));
        assert!(!is_racy(at(97), now));
    }

    #[test]
    fn a_file_from_the_future_is_racy() {
        assert!(is_racy(at(101), UNIX_EPOCH + Duration::new(100, 0)));
    }
}
