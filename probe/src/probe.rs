//! A whole probe: one emulator, under every accelerator that is usable here.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use capscache_format::{Accelerator, Group, Groups, Model, ModelError, PassReport};

use rustix::fs::{Mode, OFlags};

use crate::error::{ExchangeError, StartError};
use crate::exchange::{ExchangeReport, LostEmulator, exchange};
use crate::host;
use crate::limits::{Budget, Limits};
use crate::model_builder::note_failure;
use crate::pass::{AnswerError, Pass, PassResult, RanExecutable};
use crate::process::Executable;
use crate::queries::Selection;
use crate::scratch::Scratch;
use crate::session::Session;
use crate::spawn::Launch;
use crate::spawn::sandbox::Sandbox;
use crate::transcript::{self, Subject};
use crate::user::User;

/// The accelerators of the pass for the facts of the binary. Without TCG QEMU falls back to qtest, under which they are
/// the same.
const BINARY_ACCELERATOR: &str = "tcg:qtest";

/// Accelerators of which any is enough to start an emulator.
const ANY_ACCELERATOR: &str = "tcg:qtest:kvm";

/// Options of a probe: by default the core group, with KVM, without a transcript, as the caller.
///
/// ```
/// use capscache_format::Groups;
/// let options = capscache_probe::Options::new().groups(Groups::DEVICES).record(true);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) core: bool,
    pub(crate) groups: Groups,
    pub(crate) binary: bool,
    pub(crate) kvm: bool,
    pub(crate) record: bool,
    pub(crate) limits: Limits,
    pub(crate) run_as: Option<User>,
    pub(crate) temporary: Option<PathBuf>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) writable: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            core: true,
            groups: Groups::CORE,
            binary: true,
            kvm: true,
            record: false,
            limits: Limits::default(),
            run_as: None,
            temporary: None,
            environment: Vec::new(),
            writable: Vec::new(),
        }
    }
}

impl Options {
    /// The default options.
    pub fn new() -> Options {
        Options::default()
    }

    /// Sets whether the queries of drivers at start-up are sent: an entry that lacks a group has their
    /// answers already.
    #[must_use]
    pub fn core(mut self, core: bool) -> Options {
        self.core = core;
        self
    }

    /// Fills further groups.
    #[must_use]
    pub fn groups(mut self, groups: Groups) -> Options {
        self.groups = groups;
        self
    }

    /// Sets whether facts of the binary are queried, or only the pass under KVM is made: for an entry whose
    /// host changed, nothing else is needed.
    #[must_use]
    pub fn binary(mut self, binary: bool) -> Options {
        self.binary = binary;
        self
    }

    /// Sets whether KVM is used where it opens and the emulator's target is native.
    #[must_use]
    pub fn kvm(mut self, kvm: bool) -> Options {
        self.kvm = kvm;
        self
    }

    /// Sets whether a transcript is recorded.
    #[must_use]
    pub fn record(mut self, record: bool) -> Options {
        self.record = record;
        self
    }

    /// Limits the time and the data of the probe.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Options {
        self.limits = limits.bounded();
        self
    }

    /// Runs the emulator as another user; `None`: as the caller. KVM is used if it opens for that user.
    #[must_use]
    pub fn run_as(mut self, user: Option<User>) -> Options {
        self.run_as = user;
        self
    }

    /// Makes the temporary directory of the probe in this directory, not in that of the system: one on a
    /// local file system, which that user can reach. With a symbolic link there is none.
    #[must_use]
    pub fn temporary(mut self, directory: impl Into<PathBuf>) -> Options {
        self.temporary = Some(directory.into());
        self
    }

    /// Adds variables to the emulator's environment, which replace those of the same name.
    #[must_use]
    pub fn environment(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Options {
        self.environment.extend(variables);
        self
    }

    /// Adds directories and files that the emulator may write to, besides its temporary directory. Paths that
    /// do not exist when the probe begins are not writable.
    #[must_use]
    pub fn writable(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Options {
        self.writable.extend(paths);
        self
    }
}

/// The result of a probe.
#[derive(Debug)]
pub struct Probed {
    /// The emulator's answers; without inputs.
    pub model: Model,
    /// The file that ran.
    pub ran: RanExecutable,
    /// True if KVM is built in, and the target is that of this host: then answers depend on the host
    /// too, whether KVM could be used this time or not.
    pub native_kvm: bool,
    /// The transcript, if it was to be recorded; see [`replay`](crate::replay).
    pub transcript: Option<String>,
}

/// The error of a probe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The emulator could not be started or queried.
    #[error(transparent)]
    Exchange(#[from] ExchangeError<AnswerError>),
    /// The file that ran could not be read.
    #[error("cannot read the executable that runs as the emulator")]
    Hash(#[source] std::io::Error),
    /// There are more answers than a model can hold.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The passes ran different files: the emulator was replaced meanwhile.
    #[error("cannot complete the probe: the emulator was replaced; retry")]
    Replaced,
    /// The thread or the runtime of the probe could not be made.
    #[error("cannot start the probe")]
    Start(#[source] std::io::Error),
}

/// The time limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimedOut {
    /// The one of one process: [`Limits::start`].
    Start,
    /// The one of the whole probe: [`Limits::probe`].
    Probe,
}

impl ProbeError {
    /// Returns the time limit that was exceeded, if that is the error: on a slow host a longer one helps.
    pub fn timed_out(&self) -> Option<TimedOut> {
        use crate::error::SessionError;
        let ProbeError::Exchange(error) = self else { return None };
        match error {
            ExchangeError::Deadline { .. } => Some(TimedOut::Probe),
            ExchangeError::Start(
                StartError::NoGreeting { cause: source, .. } | StartError::NotReady { source, .. },
            ) => match source {
                SessionError::Silent { .. } => Some(TimedOut::Start),
                SessionError::OutOfTime { .. } => Some(TimedOut::Probe),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Probes an emulator, under every accelerator that is usable here.
///
/// The emulator can write to its temporary directory and [`Options::writable`] alone, where the kernel
/// has Landlock; elsewhere, wherever its user can.
///
/// Works on a thread of its own, so it may be called from any thread, those of an async runtime included;
/// blocks until the probe is over: [`Limits::probe`] at most, and up to five seconds in which the last emulator quits or is
/// killed. No process of it is left afterwards,
/// and no file.
///
/// # Errors
/// [`ProbeError`]. A command that the emulator refuses, or that kills it, is not an error: it is listed in
/// the model's report.
pub fn probe(emulator: &Path, options: &Options) -> Result<Probed, ProbeError> {
    on_own_thread(emulator, options, async |probe| probe.run().await)
}

/// Starts an emulator until it greets, and returns the file that runs then: for a wrapper the one that it
/// executes or starts last. Sends no queries; otherwise the same as [`probe`].
///
/// # Errors
/// [`ProbeError::Exchange`] for an emulator that cannot be started, [`ProbeError::Start`].
pub fn locate(emulator: &Path, options: &Options) -> Result<Executable, ProbeError> {
    on_own_thread(emulator, options, async |probe| probe.locate().await)
}

/// Fails if fewer descriptors are left than a probe under two accelerators needs: tokio panics if it has
/// none for its own pipes.
fn check_descriptors() -> std::io::Result<()> {
    const NEEDED: usize = 18;
    let first = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let others: Result<Vec<_>, _> =
        (1..NEEDED).map(|_| rustix::io::fcntl_dupfd_cloexec(&first, 0)).collect();
    others?;
    Ok(())
}

/// Runs `work` on a thread that lives as long as the emulators that it starts: the kernel kills them when
/// that thread ends.
fn on_own_thread<T: Send>(
    emulator: &Path,
    options: &Options,
    work: impl AsyncFn(&Probe<'_>) -> Result<T, ProbeError> + Send,
) -> Result<T, ProbeError> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("capscache-probe".to_owned())
            .spawn_scoped(scope, || {
                check_descriptors().map_err(ProbeError::Start)?;
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(ProbeError::Start)?;
                let default = || std::env::temp_dir().canonicalize().unwrap_or_default();
                let within = options.temporary.clone().unwrap_or_else(default);
                let scratch = Scratch::new(&within, options.run_as.as_ref());
                let sandbox = Sandbox::landlock(scratch.directory(), &options.writable);
                let writable = [&[scratch.path().to_owned()], &*options.writable].concat();
                let budget = Budget::new(&options.limits);
                let probe = Probe { emulator, options, scratch, sandbox, budget };
                runtime.block_on(probe.run_in_sandbox(&writable, work))
            })
            .map_err(ProbeError::Start)?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

struct Probe<'a> {
    emulator: &'a Path,
    options: &'a Options,
    scratch: Scratch,
    sandbox: Sandbox,
    budget: Budget<'a>,
}

impl Probe<'_> {
    /// Runs `work` under Landlock; if that fails for a denied mount, runs it again in a mount namespace.
    async fn run_in_sandbox<T>(
        mut self,
        writable: &[PathBuf],
        work: impl AsyncFn(&Probe<'_>) -> Result<T, ProbeError>,
    ) -> Result<T, ProbeError> {
        let first = work(&self).await;
        let is_denied = match &first {
            // A mount namespace of another user would take capabilities that the child has given up by then.
            Err(ProbeError::Exchange(ExchangeError::Start(error))) => {
                error.suggests_denied_mount()
                    && self.sandbox.denies_mounts()
                    && self.options.run_as.is_none()
            }
            _ => false,
        };
        if !is_denied {
            return first;
        }
        self.sandbox = Sandbox::mounts(writable);
        match work(&self).await {
            Err(ProbeError::Exchange(ExchangeError::Start(StartError::Sandbox { .. }))) => first,
            again => again,
        }
    }

    async fn run(&self) -> Result<Probed, ProbeError> {
        if !self.options.binary {
            return self.probed(self.pass(Role::Host).await?, Second::None);
        }
        let named = host::arch_from_name(self.emulator);
        // If this process may not become that user, starting the emulator as that user fails, with an error.
        let kvm_opens =
            self.needs_host() && host::kvm_opens(self.options.run_as.as_ref()).unwrap_or(false);
        let (binary, kvm) = if kvm_opens && named.is_some_and(host::is_native) {
            let (binary, kvm) = tokio::join!(self.pass(Role::Binary), self.pass(Role::Host));
            (binary, Some(kvm))
        } else {
            // A name without a target, or with another one: the emulator itself reports its target.
            let binary = self.pass(Role::Binary).await;
            let native = |passed: &PassResult| passed.has_kvm && host::is_native(&passed.arch);
            match &binary {
                Ok(passed) if kvm_opens && native(passed) => {
                    let kvm = self.pass(Role::Host).await;
                    (binary, Some(kvm))
                }
                _ => (binary, None),
            }
        };
        match (binary, kvm) {
            (Ok(binary), Some(Ok(kvm))) if binary.identity == kvm.identity => {
                self.probed(binary, Second::Succeeded(Box::new(kvm)))
            }
            (Ok(_), Some(Ok(_))) => Err(ProbeError::Replaced),
            (Ok(binary), Some(Err(error))) if binary.has_kvm => {
                self.probed(binary, Second::Failed(Accelerator::Kvm, &error))
            }
            (Ok(binary), _) => self.probed(binary, Second::None),
            // Neither TCG nor qtest: the pass under KVM queries everything.
            (Err(error), Some(Ok(_))) => {
                let kvm = self.pass(Role::Everything).await?;
                let failed = Second::Failed(Accelerator::Tcg, &error);
                let second = if kvm.has_tcg { failed } else { Second::None };
                self.probed(kvm, second)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Returns whether any requested answer depends on the accelerator.
    fn needs_host(&self) -> bool {
        let further = self.options.groups.contains(Group::CpuModels);
        self.options.kvm && (self.options.core || further)
    }

    async fn locate(&self) -> Result<Executable, ProbeError> {
        let failed = |error| ProbeError::Exchange(ExchangeError::Start(error));
        let launch = self.launch(ANY_ACCELERATOR);
        let mut session = Session::start(&launch, &self.budget).await.map_err(failed)?;
        let executable = session.take_executable();
        session.quit().await;
        Ok(executable.expect("a session that has just started has its executable"))
    }

    fn launch<'a>(&'a self, accelerator: &'a str) -> Launch<'a> {
        Launch {
            emulator: self.emulator,
            accelerator,
            user: self.options.run_as.as_ref(),
            scratch: self.scratch.path(),
            environment: &self.options.environment,
            sandbox: &self.sandbox,
        }
    }

    async fn pass(&self, role: Role) -> Result<PassResult, ProbeError> {
        let Options { core, groups, record, .. } = self.options;
        let selection = Selection {
            core: *core,
            groups: *groups,
            binary: role != Role::Host,
            host_models: if role == Role::Binary { &["host", "max"] } else { &["host"] },
        };
        let kvm = role != Role::Binary;
        // One of the passes reads the executable.
        let reads = role != Role::Host || !self.options.binary;
        let mut pass = Pass::new(kvm, selection, reads.then_some(self.budget.deadline), *record);
        let launch = self.launch(if kvm { "kvm" } else { BINARY_ACCELERATOR });
        let began = Instant::now();
        let exchanged = exchange(&launch, &self.budget, &mut pass).await?;
        Ok(pass.finish(report(exchanged, began))?)
    }

    fn probed(&self, mut first: PassResult, second: Second<'_>) -> Result<Probed, ProbeError> {
        let native_kvm = first.has_kvm && host::is_native(&first.arch);
        let ran = first.ran().map_err(ProbeError::Hash)?;
        let mut model = first.model;
        let mut recorded = vec![(first.accelerator, first.recorder.ok_or_else(String::new))];
        match second {
            Second::None => {}
            Second::Succeeded(second) => {
                model.replace(&second.model)?;
                recorded.push((second.accelerator, second.recorder.ok_or_else(String::new)));
            }
            Second::Failed(accelerator, error) => {
                let reason = chain(error);
                let Options { core, groups, .. } = *self.options;
                note_failure(&mut model, core, groups, accelerator, &reason);
                recorded.push((accelerator, Err(reason)));
            }
        }
        let transcript = self.options.record.then(|| {
            let emulator = self.emulator.to_string_lossy().into_owned();
            let executable = ran.executable.path.to_string_lossy().into_owned();
            let subject = Subject::new(emulator, executable, &ran.sha256, self.options.groups);
            transcript::write(&subject, &recorded)
        });
        Ok(Probed { model, ran, native_kvm, transcript })
    }
}

/// The result of the pass under the second accelerator.
enum Second<'e> {
    /// There is no second accelerator, or it was not requested.
    None,
    /// The pass succeeded.
    Succeeded(Box<PassResult>),
    /// The accelerator is built in, and its pass failed.
    Failed(Accelerator, &'e ProbeError),
}

/// The purpose of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Facts of the binary, and those of the accelerator under TCG or qtest.
    Binary,
    /// Facts of the accelerator under KVM.
    Host,
    /// Both, where there is only KVM.
    Everything,
}

/// Formats an error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn report(exchanged: ExchangeReport, began: Instant) -> PassReport {
    let ExchangeReport { starts, lost, output } = exchanged;
    // The output of a lost emulator may have the cause.
    let mut output_tail = String::new();
    for LostEmulator { reason, output } in lost {
        output_tail.push_str(&output);
        if !output.is_empty() && !output.ends_with('\n') {
            output_tail.push('\n');
        }
        output_tail.push_str(&format!("[it {reason}]\n"));
    }
    output_tail.push_str(&output);
    PassReport {
        micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        restarts: starts.saturating_sub(1),
        output_tail,
        ..PassReport::default()
    }
}
