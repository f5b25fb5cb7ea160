//! A whole probe: one emulator, every accelerator that it can run under here.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use capscache_format::{
    Accelerator, Fact, FactKey, FactKind, Group, Groups, Model, ModelError, PassReport, Source,
};

use rustix::fs::{Mode, OFlags};

use crate::error::{InterviewError, StartError};
use crate::host;
use crate::interview::{Interviewed, LostEmulator, interview};
use crate::limits::{Limits, Terms};
use crate::pass::{AnswerError, Pass, Passed, RanExecutable};
use crate::process::Executable;
use crate::questions::Wanted;
use crate::scratch::Scratch;
use crate::session::Session;
use crate::spawn::Launch;
use crate::spawn::sandbox::Sandbox;
use crate::transcript::{self, Subject};
use crate::user::User;

/// Without TCG QEMU falls back to qtest, under which the binary's facts are the same.
const BINARY_ACCELERATOR: &str = "tcg:qtest";

/// Whatever lets an emulator greet.
const ANY_ACCELERATOR: &str = "tcg:qtest:kvm";

/// What a probe is to bring, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether to ask what drivers ask at start-up. An entry that lacks a group has that already.
    pub core: bool,
    /// Which further groups to fill.
    pub groups: Groups,
    /// Whether to ask what depends on the binary alone. Without it only KVM is asked: of an entry
    /// whose host changed, nothing else is needed.
    pub binary: bool,
    /// Whether to use KVM, if it opens and the emulator's target is native.
    pub kvm: bool,
    /// Whether to write down a transcript.
    pub record: bool,
    /// What the emulator may cost.
    pub limits: Limits,
    /// Whom the emulator runs as, if not as the caller. KVM is used if it opens for that user.
    pub run_as: Option<User>,
    /// Where the probe makes its temporary directory, if not where the system has such: a directory
    /// on a local file system, which that user can reach. In a link there is none.
    pub temporary: Option<PathBuf>,
    /// Further variables of the emulator's environment, which replace those of the same name.
    pub environment: Vec<(OsString, OsString)>,
    /// Directories that the emulator may write to, besides its temporary directory, and files. What is
    /// not there when the probe begins is not writable.
    pub writable: Vec<PathBuf>,
}

impl Default for Options {
    /// The core group, with KVM, no transcript, as the caller.
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

/// What a probe brought.
#[derive(Debug)]
pub struct Probed {
    /// What the emulator answered; without inputs.
    pub model: Model,
    /// The file that ran.
    pub ran: RanExecutable,
    /// Whether KVM is built in, for a target that is this host's: then answers depend on the host
    /// too, whether KVM could be used this time or not.
    pub native_kvm: bool,
    /// What was said, if it was to be written down; see [`replay`](crate::replay).
    pub transcript: Option<String>,
}

/// Why a probe brought nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The emulator could not be asked.
    #[error(transparent)]
    Interview(#[from] InterviewError<AnswerError>),
    /// The file that ran could not be read.
    #[error("cannot read the executable that runs as the emulator")]
    Hash(#[source] std::io::Error),
    /// There are more answers than a model can hold.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The passes ran different files: the emulator was replaced meanwhile.
    #[error("the emulator was replaced while it was probed: try again")]
    Replaced,
    /// The thread or the runtime of the probe could not be made.
    #[error("cannot start the probe")]
    Start(#[source] std::io::Error),
}

/// Which time of [`Limits`] was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimedOut {
    /// That of one process: [`Limits::start`].
    Start,
    /// That of the whole probe: [`Limits::probe`].
    Probe,
}

impl ProbeError {
    /// Which time was over, if the probe failed for that: on a slow host a longer one helps.
    pub fn timed_out(&self) -> Option<TimedOut> {
        use crate::error::Loss;
        let ProbeError::Interview(error) = self else { return None };
        match error {
            InterviewError::Deadline { .. } => Some(TimedOut::Probe),
            InterviewError::Start(
                StartError::NoGreeting { source, .. } | StartError::NotReady { source, .. },
            ) => match source {
                Loss::Silent { .. } => Some(TimedOut::Start),
                Loss::OutOfTime { .. } => Some(TimedOut::Probe),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Asks an emulator, under every accelerator that it can run under here.
///
/// The emulator can write to its temporary directory and [`Options::writable`] alone, where the kernel
/// has Landlock; elsewhere, wherever its user can.
///
/// Works on a thread of its own, so it may be called from anywhere, an async runtime included;
/// blocks until the probe is over, [`Limits::probe`] at most. No process of it is left afterwards,
/// and no file.
///
/// # Errors
/// [`ProbeError`]. Commands that the emulator refuses, or that kill it, are none: they stand in
/// the model's report.
pub fn probe(emulator: &Path, options: &Options) -> Result<Probed, ProbeError> {
    on_own_thread(emulator, options, async |probe| probe.run().await)
}

/// Starts an emulator until it greets, and returns which file runs then: for a wrapper the one that it
/// executes or starts last. Asks nothing; otherwise as [`probe`].
///
/// # Errors
/// [`ProbeError::Interview`] for an emulator that cannot be started, [`ProbeError::Start`].
pub fn locate(emulator: &Path, options: &Options) -> Result<Executable, ProbeError> {
    on_own_thread(emulator, options, async |probe| probe.locate().await)
}

/// Fails where there are fewer descriptors left than a probe under two accelerators needs: tokio panics
/// where it has none for its own pipes.
fn reserve_descriptors() -> std::io::Result<()> {
    const NEEDED: usize = 18;
    let first = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let others: Result<Vec<_>, _> =
        (1..NEEDED).map(|_| rustix::io::fcntl_dupfd_cloexec(&first, 0)).collect();
    others?;
    Ok(())
}

/// Works on a thread that lives as long as the emulators that it starts: they ask to be killed when the
/// thread that started them ends.
fn on_own_thread<T: Send>(
    emulator: &Path,
    options: &Options,
    work: impl AsyncFn(&Probe<'_>) -> Result<T, ProbeError> + Send,
) -> Result<T, ProbeError> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("capscache-probe".to_owned())
            .spawn_scoped(scope, || {
                reserve_descriptors().map_err(ProbeError::Start)?;
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(ProbeError::Start)?;
                let usual = || std::env::temp_dir().canonicalize().unwrap_or_default();
                let within = options.temporary.clone().unwrap_or_else(usual);
                let scratch = Scratch::new(&within, options.run_as.as_ref());
                let sandbox = Sandbox::landlock(scratch.directory(), &options.writable);
                let writable = [&[scratch.path().to_owned()], &*options.writable].concat();
                let terms = Terms::new(&options.limits);
                let probe = Probe { emulator, options, scratch, sandbox, terms };
                runtime.block_on(probe.with_mounts_if_it_mounts(&writable, work))
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
    terms: Terms<'a>,
}

impl Probe<'_> {
    /// Works in a mount namespace where that fails since nothing can be mounted without.
    async fn with_mounts_if_it_mounts<T>(
        mut self,
        writable: &[PathBuf],
        work: impl AsyncFn(&Probe<'_>) -> Result<T, ProbeError>,
    ) -> Result<T, ProbeError> {
        let first = work(&self).await;
        let is_denied = match &first {
            // Another user's would take rights that the child has given up by then.
            Err(ProbeError::Interview(InterviewError::Start(error))) => {
                error.may_come_of_denied_mounts()
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
            Err(ProbeError::Interview(InterviewError::Start(StartError::Sandbox { .. }))) => first,
            again => again,
        }
    }

    async fn run(&self) -> Result<Probed, ProbeError> {
        if !self.options.binary {
            return self.probed(self.pass(Role::Host).await?, Second::None);
        }
        let promised = host::promised_arch(self.emulator);
        // Whoever cannot become the user whom to ask for cannot start the emulator as that user, and hears of it then.
        let kvm_opens =
            self.wants_host() && host::kvm_opens(self.options.run_as.as_ref()).unwrap_or(false);
        let (binary, kvm) = if kvm_opens && promised.is_some_and(host::is_native) {
            let (binary, kvm) = tokio::join!(self.pass(Role::Binary), self.pass(Role::Host));
            (binary, Some(kvm))
        } else {
            // A name that promises nothing, or another target: the emulator itself tells.
            let binary = self.pass(Role::Binary).await;
            let native = |passed: &Passed| passed.has_kvm && host::is_native(&passed.arch);
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
                self.probed(binary, Second::Passed(Box::new(kvm)))
            }
            (Ok(_), Some(Ok(_))) => Err(ProbeError::Replaced),
            (Ok(binary), Some(Err(error))) if binary.has_kvm => {
                self.probed(binary, Second::Failed(Accelerator::Kvm, &error))
            }
            (Ok(binary), _) => self.probed(binary, Second::None),
            // Neither TCG nor qtest: KVM tells everything.
            (Err(error), Some(Ok(_))) => {
                let kvm = self.pass(Role::Everything).await?;
                let failed = Second::Failed(Accelerator::Tcg, &error);
                let second = if kvm.has_tcg { failed } else { Second::None };
                self.probed(kvm, second)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Whether anything is wanted that depends on the accelerator.
    fn wants_host(&self) -> bool {
        let further = self.options.groups.contains(Group::CpuModels);
        self.options.kvm && (self.options.core || further)
    }

    async fn locate(&self) -> Result<Executable, ProbeError> {
        let failed = |error| ProbeError::Interview(InterviewError::Start(error));
        let launch = self.launch(ANY_ACCELERATOR);
        let mut session = Session::start(&launch, &self.terms).await.map_err(failed)?;
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

    async fn pass(&self, role: Role) -> Result<Passed, ProbeError> {
        let Options { core, groups, record, .. } = self.options;
        let wanted = Wanted {
            core: *core,
            groups: *groups,
            binary: role != Role::Host,
            host_models: if role == Role::Binary { &["host", "max"] } else { &["host"] },
        };
        let kvm = role != Role::Binary;
        // One of the passes reads the executable.
        let reads = role != Role::Host || !self.options.binary;
        let mut pass = Pass::new(kvm, wanted, reads.then_some(self.terms.deadline), *record);
        let launch = self.launch(if kvm { "kvm" } else { BINARY_ACCELERATOR });
        let began = Instant::now();
        let interviewed = interview(&launch, &self.terms, &mut pass).await?;
        Ok(pass.finish(report(interviewed, began))?)
    }

    fn probed(&self, mut first: Passed, second: Second<'_>) -> Result<Probed, ProbeError> {
        let native_kvm = first.has_kvm && host::is_native(&first.arch);
        let ran = first.ran().map_err(ProbeError::Hash)?;
        let mut model = first.model;
        let mut recorded = vec![(first.accelerator, first.recorder.ok_or_else(String::new))];
        match second {
            Second::None => {}
            Second::Passed(second) => {
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

/// What became of the second accelerator.
enum Second<'e> {
    /// There is none, or it was not to be asked.
    None,
    /// It answered.
    Passed(Box<Passed>),
    /// It is built in, and failed.
    Failed(Accelerator, &'e ProbeError),
}

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// What depends on the binary, and what TCG or qtest says to the rest.
    Binary,
    /// What KVM says.
    Host,
    /// Both, where there is only KVM.
    Everything,
}

/// Notes that an accelerator is there, but the emulator did not run under it: what was to be asked,
/// the core group if `core` and the CPU models if they are among `groups`, is unknown and not *no*.
/// Of several reasons the last one counts.
pub fn note_failure(
    model: &mut Model,
    core: bool,
    groups: Groups,
    accelerator: Accelerator,
    reason: &str,
) {
    let wanted = [
        (Group::Core, FactKind::Ran, core),
        (Group::CpuModels, FactKind::CpuModels, groups.contains(Group::CpuModels)),
    ];
    for (group, kind, _) in wanted.into_iter().filter(|(.., is_wanted)| *is_wanted) {
        model.set(FactKey { group, accelerator, kind }, Fact::Refused);
        let source = Source::new(group, accelerator);
        model.report.passes.retain(|pass| pass.source != source || pass.failure.is_none());
        model.report.passes.push(PassReport {
            source,
            failure: Some(reason.to_owned()),
            ..PassReport::default()
        });
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn report(interviewed: Interviewed, began: Instant) -> PassReport {
    let Interviewed { starts, lost, output } = interviewed;
    // What an emulator wrote before it was lost tells why it was.
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
