//! One pass: the exchange under one accelerator, from which a model and, if requested, a recording is made.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use capscache_format::{Accelerator, Escaped, Group, Handle, Model, ModelError, PassReport};
use rustix::process::Pid;

use crate::cpuid::supported_cpuid;
use crate::exchange::Handler;
use crate::executable::{Read, Reading};
use crate::model_builder::{BuildError, ModelBuilder, Outcome};
use crate::modules::module_directories;
use crate::process::{Executable, Mapped};
use crate::queries::{QueryPlan, Selection, TYPES};
use crate::session::{Reply, Request};
use crate::transcript::Recorder;

/// The error of answers from which no model can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// An answer cannot be added to the model.
    #[error("cannot use the reply to {}", Escaped::new(command))]
    Unusable {
        /// The command.
        command: String,
        /// The cause.
        #[source]
        source: BuildError,
    },
    /// The emulator runs under another accelerator than the requested one.
    #[error(
        "cannot probe under {requested}: query-kvm reports that KVM is {}",
        if *.kvm { "in use" } else { "not in use" }
    )]
    OtherAccelerator {
        /// The accelerator on the command line.
        requested: &'static str,
        /// True if KVM is in use.
        kvm: bool,
    },
    /// An answer leads to more queries than any QEMU's answers.
    #[error("cannot use the reply to {}: it leads to too many queries", Escaped::new(command))]
    TooManyQueries {
        /// The command.
        command: String,
    },
    /// The thread that reads the executable could not be started.
    #[error("cannot start a thread to read the executable")]
    Thread(#[source] io::Error),
    /// The emulator did not answer a command without which no model can be made.
    #[error("cannot continue without a reply to {}: {}", Escaped::new(command), Escaped::new(desc))]
    Essential {
        /// The command.
        command: String,
        /// QMP's description of the error, or how the emulator was lost.
        desc: String,
    },
}

/// Commands that every QEMU system emulator answers.
const ESSENTIAL: [&str; 4] = ["query-version", "query-target", "query-machines", TYPES];

/// The file that ran, read while it ran.
#[derive(Debug)]
pub struct RanExecutable {
    /// The file, still open, and the circumstances in which it ran.
    pub executable: Executable,
    /// The SHA-256 of its content.
    pub sha256: [u8; 32],
    /// The directories in which it searches for modules, present or not.
    pub module_directories: Vec<PathBuf>,
    /// The shared objects and other files from which it had mapped code after its last answer, modules
    /// included, as far as they exist under the same path in this mount namespace.
    pub objects: Vec<PathBuf>,
    /// Those of its objects that were removed or replaced while it had them mapped.
    pub replaced: Vec<PathBuf>,
}

/// Handles the replies of one exchange.
#[derive(Debug)]
pub(crate) struct Pass {
    /// True if it runs under KVM, false if under TCG or qtest.
    kvm: bool,
    plan: QueryPlan,
    builder: ModelBuilder,
    recorder: Option<Recorder>,
    /// The deadline for reading the executable; only one pass of a probe reads it.
    reads_until: Option<Instant>,
    reading: Option<Reading>,
    identity: Option<(u64, u64)>,
    /// True if the emulator has another mount namespace than this process.
    has_own_mounts: bool,
    mapped: Mapped,
}

impl Pass {
    /// Returns a pass without answers. `reads_until`: the deadline for reading the executable, if this pass
    /// reads it.
    pub(crate) fn new(
        kvm: bool,
        selection: Selection,
        reads_until: Option<Instant>,
        record: bool,
    ) -> Pass {
        Pass {
            kvm,
            plan: QueryPlan::new(selection),
            builder: ModelBuilder::new(selection),
            recorder: record.then(Recorder::default),
            reads_until,
            reading: None,
            identity: None,
            has_own_mounts: false,
            mapped: Mapped::default(),
        }
    }

    /// Returns the accelerator that ran: TCG if its type is built in, since without it QEMU falls back to
    /// qtest.
    fn accelerator(&self) -> Accelerator {
        if self.kvm {
            Accelerator::Kvm
        } else if self.plan.has_tcg() {
            Accelerator::Tcg
        } else {
            Accelerator::Qtest
        }
    }

    /// Returns the result of the pass, once its exchange is over.
    pub(crate) fn finish(self, report: PassReport) -> Result<PassResult, ModelError> {
        let accelerator = self.accelerator();
        Ok(PassResult {
            accelerator,
            has_tcg: self.plan.has_tcg(),
            has_kvm: self.plan.has_kvm(),
            arch: self.plan.arch().to_owned(),
            model: self.builder.finish(accelerator, report)?,
            identity: self.identity,
            reading: self.reading,
            mapped: self.mapped,
            package: self.plan.package().to_owned(),
            recorder: self.recorder,
        })
    }

    fn add(&mut self, request: &Request, outcome: &Outcome) -> Result<Option<Group>, AnswerError> {
        let about_host = self.plan.is_about_host(request);
        self.builder
            .add(request, outcome, about_host)
            .map_err(|source| AnswerError::Unusable { command: request.execute.clone(), source })
    }

    /// Queries the kernel's KVM while the emulator runs, so that both describe the same host.
    fn query_kernel(&mut self) -> Result<(), AnswerError> {
        let Some(json) = self.kvm.then(supported_cpuid).flatten() else { return Ok(()) };
        if let Some(recorder) = &mut self.recorder {
            recorder.supported_cpuid(&json);
        }
        let command = || "KVM_GET_SUPPORTED_CPUID".to_owned();
        let added = self.builder.add_cpuid(&json);
        added.map_err(|source| AnswerError::Unusable { command: command(), source })
    }

    /// Checks that `query-kvm` agrees with the requested accelerator.
    fn check_accelerator(&self, answer: Handle) -> Result<(), AnswerError> {
        let enabled = self.builder.model().pool.get(answer, "enabled");
        match enabled {
            Some(enabled) if enabled != Handle::bool(self.kvm) => {
                let requested = if self.kvm { "KVM" } else { "TCG" };
                Err(AnswerError::OtherAccelerator { requested, kvm: !self.kvm })
            }
            _ => Ok(()),
        }
    }
}

/// The result of one pass.
#[derive(Debug)]
pub(crate) struct PassResult {
    pub(crate) accelerator: Accelerator,
    /// True if TCG is built into the emulator; false if the pass did not query types.
    pub(crate) has_tcg: bool,
    /// True if KVM is built in; false if the pass did not query types.
    pub(crate) has_kvm: bool,
    /// QEMU's name of the guest's architecture.
    pub(crate) arch: String,
    pub(crate) model: Model,
    /// Device and inode of the file that ran.
    pub(crate) identity: Option<(u64, u64)>,
    reading: Option<Reading>,
    mapped: Mapped,
    package: String,
    pub(crate) recorder: Option<Recorder>,
}

impl PassResult {
    /// Waits until the executable is read. Only the pass that reads it has it.
    pub(crate) fn ran(&mut self) -> io::Result<RanExecutable> {
        let reading =
            self.reading.take().ok_or_else(|| io::Error::other("this pass did not read it"))?;
        let Read { executable, sha256, named } = reading.finish()?;
        let Mapped { objects, replaced } = std::mem::take(&mut self.mapped);
        let module_directories = module_directories(&executable, &self.package, &named, &objects);
        let replaced = replaced.into_iter().collect();
        Ok(RanExecutable { executable, sha256, module_directories, objects, replaced })
    }
}

impl Handler for Pass {
    type Error = AnswerError;

    fn on_greeting(&mut self, greeting: &str, executable: Executable) -> Result<(), AnswerError> {
        self.plan.set_greeting(greeting);
        if let Some(recorder) = &mut self.recorder {
            recorder.greeting(greeting);
        }
        self.identity = executable.identity();
        self.has_own_mounts = executable.has_own_mounts;
        if let Some(deadline) = self.reads_until {
            let reading = Reading::start(executable, deadline);
            self.reading = Some(reading.map_err(AnswerError::Thread)?);
        }
        Ok(())
    }

    fn initial_queries(&mut self) -> Vec<Request> {
        self.plan.initial_queries()
    }

    fn must_be_repeated(&self, request: &Request) -> bool {
        request.execute == TYPES && request.arguments.is_none()
    }

    fn on_reply(
        &mut self,
        request: &Request,
        reply: Reply,
        took: Duration,
    ) -> Result<Vec<Request>, AnswerError> {
        if let Some(recorder) = &mut self.recorder {
            recorder.reply(request, &reply);
        }
        let command = || request.execute.clone();
        let mut queries = Vec::new();
        let group = match reply {
            Reply::Return(json) => {
                let answer = self
                    .builder
                    .parse(&json)
                    .map_err(|source| AnswerError::Unusable { command: command(), source })?;
                if request.execute == "query-kvm" {
                    self.check_accelerator(answer)?;
                    self.query_kernel()?;
                }
                let group = self.add(request, &Outcome::Answered(answer))?;
                queries = self.plan.on_answer(request, &self.builder.model().pool, answer);
                if self.plan.exceeds_limit() {
                    return Err(AnswerError::TooManyQueries { command: command() });
                }
                group
            }
            Reply::Error { desc, .. } if is_essential(request) => {
                return Err(AnswerError::Essential { command: command(), desc });
            }
            Reply::Error { class, desc } => self.add(request, &Outcome::Refused { class, desc })?,
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.builder.add_time(group, request, micros);
        Ok(queries)
    }

    fn on_finish(&mut self, pid: Pid) {
        // If the mappings cannot be read, since the emulator runs as another user, they are not tracked.
        if self.reads_until.is_some() {
            let own = self.identity.unwrap_or_default();
            self.mapped = Mapped::of(pid, own, self.has_own_mounts).unwrap_or_default();
        }
    }

    fn on_quarantine(&mut self, request: &Request, reason: String) -> Result<(), AnswerError> {
        if is_essential(request) {
            let command = request.execute.clone();
            return Err(AnswerError::Essential { command, desc: format!("it {reason}") });
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.quarantined(request, &reason);
        }
        self.add(request, &Outcome::Quarantined { reason }).map(drop)
    }
}

pub(crate) fn is_essential(request: &Request) -> bool {
    request.arguments.is_none() && ESSENTIAL.contains(&request.execute.as_str())
}
