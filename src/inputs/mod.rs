//! The inputs of an entry: the state that its answers depend on, recorded with them and compared by every
//! lookup.
//!
//! Each kind of input has a file here, with functions that record it and an implementation of [`Compare`].
//! A lookup makes the *fast checks* of all inputs, a `stat` each as a rule. Only where one of them fails it
//! makes the *full check* of that input, which compares values: digests, lists, rights. Equal values give
//! the input a new signature and cost no probe; values that differ make the entry stale, as a whole or,
//! where only facts of the host depend on them, in that part.

pub(crate) mod environment;
pub(crate) mod executable;
pub(crate) mod host;
pub(crate) mod incomplete;
pub(crate) mod kvm;
pub(crate) mod libraries;
pub(crate) mod modules;
pub(crate) mod route;

mod build_id;
mod context;
mod file_list;
pub(crate) mod wrapper;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capscache_format::{Evidence, Incomplete, Input, InputKind, KvmState, Scope, Signature};

use crate::file::{self, FileStamp, stat};
use crate::status::{Dependency, Stale};

pub(crate) use self::context::digest as context_digest;
pub(crate) use self::context::shortage;
pub use self::host::HostFacts;
pub(crate) use self::kvm::Kvm;
pub(crate) use self::libraries::LOADER_CACHE;
pub use self::route::files_that_may_run;

/// Compares one kind of input.
trait Compare {
    /// The checks that a hit makes: none for an input that a hit does not check, `None` if only a full
    /// check decides. By default one `stat`.
    fn fast_checks(&self, input: &Input, _host: &HostFacts) -> Option<Vec<FastCheck>> {
        stat_check(input)
    }

    /// Compares the recorded state with the present one.
    fn full_check(&self, input: &Input, present: &Present<'_>) -> Check;

    /// Returns whether a remembered failure may depend on the input as it is: by default whether its
    /// signature is as recorded. Another probe costs less than a wrong refusal, so no values are compared.
    fn holds_for_failure(&self, input: &Input, _host: &HostFacts) -> bool {
        stat(input.path()).ok() == input.signature
    }

    /// Returns whether the input may have changed since a probe that began at the
    /// [`time_of_change`](file::time_of_change) `began`, and before it was recorded. By default not.
    fn has_changed_since(&self, _input: &Input, _began: SystemTime) -> bool {
        false
    }

    /// Returns whether the contents of all files of a list could be read. By default an input is not a list.
    fn has_contents(&self, _input: &Input) -> bool {
        false
    }

    /// Returns whether a process with the KVM that `kvm` returns may write the input with a new signature. By
    /// default any may.
    fn may_be_written(&self, _input: &Input, _kvm: &dyn Fn() -> Kvm) -> bool {
        true
    }

    /// Changes the input so that the next full check finds a difference.
    fn invalidate(&self, input: &mut Input) {
        input.signature = None;
        input.sha256 = None;
    }

    /// The paths whose change may change the input. By default none.
    fn watched_paths(&self, _input: &Input) -> Vec<Dependency> {
        Vec::new()
    }

    /// The recorded state in a few words.
    fn describe(&self, input: &Input) -> String;
}

fn kind(kind: InputKind) -> &'static dyn Compare {
    // The kind of a later version cannot be decoded, see `Evidence::Undecodable`.
    known(kind).unwrap_or(&incomplete::IncompleteAnswers)
}

/// The only place that distinguishes the kinds.
fn known(kind: InputKind) -> Option<&'static dyn Compare> {
    Some(match kind {
        InputKind::Emulator | InputKind::Executable => &executable::Executables,
        InputKind::Modules => &modules::Modules,
        InputKind::Libraries => &libraries::Libraries,
        InputKind::Memfd | InputKind::Kernel | InputKind::Cpu => &host::Host,
        InputKind::Kvm => &kvm::KvmNode,
        InputKind::Route => &route::Routes,
        InputKind::Environment => &environment::Environment,
        InputKind::Incomplete => &incomplete::IncompleteAnswers,
        _ => return None,
    })
}

/// The host as a full check compares with it.
pub(crate) struct Present<'a> {
    /// Kernel, CPU and memfd.
    pub(crate) host: &'a HostFacts,
    /// Examines KVM with the rights that the emulator will have.
    pub(crate) kvm: &'a dyn Fn() -> Kvm,
    /// Compare values also where the signature is as recorded.
    pub(crate) thorough: bool,
}

/// The result of a full check.
#[derive(Debug)]
pub(crate) enum Check {
    /// The input is as recorded.
    Same,
    /// The signature differs and the values do not: the input with its new signature.
    Moved(Input),
    /// The values differ.
    Differs(Stale),
}

/// One check that a hit makes.
#[derive(Clone, Debug)]
pub(crate) enum FastCheck {
    /// One `stat`.
    Stat(FileStamp),
    /// The clock, since a failure of KVM holds for a short time only, and the module behind a node that does
    /// not show a change of it. One system call for the module.
    Kvm(Box<KvmState>),
    /// The right of this process to open a node: one system call.
    Right(kvm::Right),
    /// The conditions under which incomplete answers serve this process.
    Incomplete(Box<Incomplete>),
}

impl FastCheck {
    /// Returns whether the input may no longer be as recorded.
    pub(crate) fn fails(&self) -> bool {
        match self {
            FastCheck::Stat(stamp) => stamp.has_changed(),
            FastCheck::Kvm(state) => kvm::is_expired(state) || kvm::driver_has_changed(state),
            FastCheck::Right(right) => right.has_changed(),
            FastCheck::Incomplete(incomplete) => incomplete::expired(incomplete).is_some(),
        }
    }
}

/// The fast checks of an entry; `None` if one of its signatures is racy or only a full check decides.
pub(crate) fn fast_checks(inputs: &[Input], host: &HostFacts) -> Option<Vec<FastCheck>> {
    let mut file = None;
    let mut checks = Vec::new();
    for input in inputs {
        if input.racy || matches!(input.evidence, Evidence::Undecodable { .. }) {
            return None;
        }
        let of_input = kind(input.kind()).fast_checks(input, host)?;
        // An emulator that is not a wrapper is its own executable: one `stat` is enough.
        let is_file = matches!(input.kind(), InputKind::Emulator | InputKind::Executable);
        if !(is_file && file.replace(input.signature) == Some(input.signature)) {
            checks.extend(of_input);
        }
    }
    Some(checks)
}

/// Compares an input with the present.
pub(crate) fn full_check(input: &Input, present: &Present<'_>) -> Check {
    if let Evidence::Undecodable { .. } = input.evidence {
        return differs(input, describe(input), "evidence of another release".to_owned());
    }
    kind(input.kind()).full_check(input, present)
}

/// Returns whether a remembered failure still depends on an input as it is.
pub(crate) fn holds_for_failure(input: &Input, host: &HostFacts) -> bool {
    let is_decodable = !matches!(input.evidence, Evidence::Undecodable { .. });
    is_decodable && kind(input.kind()).holds_for_failure(input, host)
}

/// The paths whose change may change the inputs, in their order.
pub(crate) fn watched_paths(inputs: &[Input]) -> Vec<Dependency> {
    inputs.iter().flat_map(|input| kind(input.kind()).watched_paths(input)).collect()
}

fn describe(input: &Input) -> String {
    kind(input.kind()).describe(input)
}

/// An input that facts of the binary depend on. `since` is, for every recorded input, a time before the
/// values were read, by this process or by an emulator: the time that reading takes does not make a
/// signature older.
fn record(
    path: &Path,
    signature: Option<Signature>,
    sha256: Option<[u8; 32]>,
    evidence: Evidence,
    since: SystemTime,
) -> Input {
    let racy = signature.is_some_and(|signature| file::is_racy(signature, since));
    let name = path.as_os_str().as_bytes().to_vec();
    Input { scope: Scope::Binary, name, signature, sha256, racy, evidence }
}

/// An input without a path.
pub(crate) fn record_state(scope: Scope, evidence: Evidence) -> Input {
    Input { scope, name: Vec::new(), signature: None, sha256: None, racy: false, evidence }
}

/// An input with a new signature, taken at `since`.
fn with_signature(input: &Input, signature: Option<Signature>, since: SystemTime) -> Input {
    let racy = signature.is_some_and(|signature| file::is_racy(signature, since));
    Input { signature, racy, ..input.clone() }
}

fn stat_check(input: &Input) -> Option<Vec<FastCheck>> {
    Some(vec![FastCheck::Stat(FileStamp::new(input.path(), input.signature)?)])
}

/// The signature that a full check finds.
struct Found {
    signature: io::Result<Signature>,
    /// A time before it was taken.
    since: SystemTime,
    /// It is the recorded one and can be relied on.
    is_unchanged: bool,
}

/// Takes the signature of the file at the path of an input; `None` if it is enough to know that the input is
/// as recorded.
fn find(input: &Input, present: &Present<'_>) -> Option<Found> {
    let since = SystemTime::now();
    let signature = stat(input.path());
    let is_unchanged = signature.as_ref().ok() == input.signature.as_ref() && !input.racy;
    (!is_unchanged || present.thorough).then_some(Found { signature, since, is_unchanged })
}

fn differs(input: &Input, recorded: String, found: String) -> Check {
    let (kind, scope, path) = (input.kind(), input.scope, PathBuf::from(input.path()));
    Check::Differs(Stale { input: kind, scope, path, recorded, found })
}

/// The result for evidence that is not of the compared kind: it never holds.
fn differs_in_kind(input: &Input) -> Check {
    differs(input, describe(input), "no way to compare it".to_owned())
}

/// The beginning of a digest, for messages.
fn short_hex(sha256: &[u8; 32]) -> String {
    capscache_format::hex(&sha256[..6])
}

/// Returns whether the emulator may have loaded other modules or libraries than those recorded after its
/// probe, which began at the [`file::time_of_change`] `began`. The probe before it may have recorded the
/// same: then nothing changed in between, whatever the clock shows.
pub(crate) fn may_differ_from_probe(
    input: &Input,
    began: SystemTime,
    recorded_before: &[Input],
) -> bool {
    let is_same = |before: &Input| Input { racy: input.racy, ..before.clone() } == *input;
    kind(input.kind()).has_changed_since(input, began) && !recorded_before.iter().any(is_same)
}

/// Returns whether a process with the KVM that `kvm` returns may write an input with a new signature.
pub(crate) fn may_be_written(input: &Input, kvm: &dyn Fn() -> Kvm) -> bool {
    kind(input.kind()).may_be_written(input, kvm)
}

/// Changes an input so that the next full check finds a difference.
pub(crate) fn invalidate(input: &mut Input) {
    kind(input.kind()).invalidate(input);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn every_kind_has_a_file_that_compares_it() {
        for kind in InputKind::ALL {
            assert!(known(*kind).is_some(), "{kind}");
        }
    }

    #[test]
    fn modules_that_changed_since_a_probe_began_are_doubtful_until_a_probe_finds_them_unchanged() {
        use std::time::Duration;
        let modules = tempfile::tempdir().unwrap();
        let directory = modules.path();
        let long_ago = UNIX_EPOCH + Duration::from_secs(100);
        let later = SystemTime::now() + Duration::from_secs(100);
        let first = [modules::record(directory, later)];
        assert!(may_differ_from_probe(&first[0], long_ago, &[]));
        assert!(!may_differ_from_probe(&first[0], later, &[]));
        // Such as with a clock that was set back.
        let again = || modules::record(directory, later);
        assert!(!may_differ_from_probe(&again(), long_ago, &first));
        fs::write(directory.join("hw-nothing.so"), "").unwrap();
        assert!(may_differ_from_probe(&again(), long_ago, &first));
        fs::File::open(directory).unwrap().set_modified(long_ago).unwrap();
        assert!(may_differ_from_probe(&again(), long_ago, &first), "of a file in it");
    }

    #[test]
    fn two_paths_to_one_directory_are_both_checked_and_two_to_one_emulator_are_not() {
        let root = tempfile::tempdir().unwrap();
        let (directory, link) = (root.path().join("directory"), root.path().join("link"));
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        let checked = |evidence: Evidence| {
            let here = |path: &Path| {
                let at = Some(stat(path).unwrap());
                Input { racy: false, ..record(path, at, None, evidence.clone(), UNIX_EPOCH) }
            };
            let inputs = [here(&directory), here(&link)];
            let checks = fast_checks(&inputs, &HostFacts::of_this_host()).unwrap();
            let path = |check: &FastCheck| match check {
                FastCheck::Stat(stamp) => stamp.path().to_owned(),
                other => panic!("{other:?}"),
            };
            checks.iter().map(path).collect::<Vec<_>>()
        };
        let modules = Evidence::Modules { contents: None };
        assert_eq!(checked(modules), [directory.clone(), link.clone()]);
        let executable = Evidence::Executable { environment: Vec::new() };
        assert_eq!(checked(executable), std::slice::from_ref(&directory));
    }

    #[test]
    fn evidence_of_another_release_never_holds() {
        let host = HostFacts::of_this_host();
        for &kind in InputKind::ALL {
            let evidence = Evidence::Undecodable { kind, bytes: vec![0xff; 3] };
            let input = record(Path::new("/nothing"), None, None, evidence, UNIX_EPOCH);
            let present = Present { host: &host, kvm: &Kvm::now, thorough: false };
            match full_check(&input, &present) {
                Check::Differs(stale) => assert_eq!(stale.input, kind),
                other => panic!("{kind}: {other:?}"),
            }
            let checks = fast_checks(std::slice::from_ref(&input), &host);
            assert!(checks.is_none(), "{kind}: a hit would not compare it");
            assert!(!holds_for_failure(&input, &host), "{kind}: a failure would be used");
        }
    }
}
