//! One pass: an interview under one accelerator, its answers learnt and, if wanted, recorded.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use capscache_format::{Accelerator, Escaped, Group, Handle, Model, ModelError, PassReport};
use rustix::process::Pid;

use crate::cpuid::supported_cpuid;
use crate::executable::{Read, Reading};
use crate::files::module_directories;
use crate::interview::Interviewer;
use crate::learn::{LearnError, Learner, Outcome};
use crate::process::{Executable, Mapped};
use crate::questions::{Questions, TYPES, Wanted};
use crate::session::{Reply, Request};
use crate::transcript::Recorder;

/// Why answers that arrived make no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// One cannot be learnt.
    #[error("the answer to {} cannot be used", Escaped::new(command))]
    Unusable {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: LearnError,
    },
    /// The emulator runs under something else than what it was asked to.
    #[error("asked for {asked}, but query-kvm says that KVM is {}", if *.kvm { "in use" } else { "not in use" })]
    OtherAccelerator {
        /// What was asked for.
        asked: &'static str,
        /// Whether KVM is in use.
        kvm: bool,
    },
    /// They lead to more questions than any QEMU's answers.
    #[error("the answer to {} leads to more questions than any QEMU's does", Escaped::new(command))]
    TooManyQuestions {
        /// The command.
        command: String,
    },
    /// The thread that reads the executable could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// QEMU did not answer a command without which nothing else makes sense.
    #[error("the emulator does not answer {}: {}", Escaped::new(command), Escaped::new(desc))]
    Essential {
        /// The command.
        command: String,
        /// QMP's description of the error, or what the emulator did instead of answering.
        desc: String,
    },
}

/// Commands that every emulator answers; one that does not is none.
const ESSENTIAL: [&str; 4] = ["query-version", "query-target", "query-machines", TYPES];

/// The file that ran, read while it ran.
#[derive(Debug)]
pub struct RanExecutable {
    /// The file, still open, and how it was run.
    pub executable: Executable,
    /// The SHA-256 of its content.
    pub sha256: [u8; 32],
    /// Where it looks for modules, present or not.
    pub module_directories: Vec<PathBuf>,
    /// The shared objects and other files that it had mapped code from when it had answered everything,
    /// modules included, as far as they are to be found here under the same path.
    pub objects: Vec<PathBuf>,
    /// Those of its objects that were removed or replaced while it had them mapped.
    pub replaced: Vec<PathBuf>,
}

/// Follows one interview.
#[derive(Debug)]
pub(crate) struct Pass {
    /// Whether it asked for KVM.
    kvm: bool,
    questions: Questions,
    learner: Learner,
    recorder: Option<Recorder>,
    /// By when to read what runs, while it answers: one pass of a probe needs to.
    reads_until: Option<Instant>,
    reading: Option<Reading>,
    identity: Option<(u64, u64)>,
    /// Whether the emulator has another mount namespace than this process.
    has_own_mounts: bool,
    mapped: Mapped,
}

impl Pass {
    /// `reads_until`: if it is the one that reads what runs, by when.
    pub(crate) fn new(
        kvm: bool,
        wanted: Wanted,
        reads_until: Option<Instant>,
        record: bool,
    ) -> Pass {
        Pass {
            kvm,
            questions: Questions::new(wanted),
            learner: Learner::new(wanted),
            recorder: record.then(Recorder::default),
            reads_until,
            reading: None,
            identity: None,
            has_own_mounts: false,
            mapped: Mapped::default(),
        }
    }

    /// The accelerator that ran: known by its type, since without TCG QEMU falls back to qtest.
    fn accelerator(&self) -> Accelerator {
        if self.kvm {
            Accelerator::Kvm
        } else if self.questions.has_tcg() {
            Accelerator::Tcg
        } else {
            Accelerator::Qtest
        }
    }

    /// What the pass brought, once its interview is over.
    pub(crate) fn finish(self, report: PassReport) -> Result<Passed, ModelError> {
        let accelerator = self.accelerator();
        Ok(Passed {
            accelerator,
            has_tcg: self.questions.has_tcg(),
            has_kvm: self.questions.has_kvm(),
            arch: self.questions.arch().to_owned(),
            model: self.learner.finish(accelerator, report)?,
            identity: self.identity,
            reading: self.reading,
            mapped: self.mapped,
            package: self.questions.package().to_owned(),
            recorder: self.recorder,
        })
    }

    fn learn(
        &mut self,
        request: &Request,
        outcome: &Outcome,
    ) -> Result<Option<Group>, AnswerError> {
        let about_host = self.questions.is_about_host(request);
        self.learner
            .learn(request, outcome, about_host)
            .map_err(|source| AnswerError::Unusable { command: request.execute.clone(), source })
    }

    /// What KVM tells beside what the emulator tells of it, taken while that runs: the two belong
    /// together.
    fn ask_kernel(&mut self) -> Result<(), AnswerError> {
        let Some(json) = self.kvm.then(supported_cpuid).flatten() else { return Ok(()) };
        if let Some(recorder) = &mut self.recorder {
            recorder.supported_cpuid(&json);
        }
        let command = || "KVM_GET_SUPPORTED_CPUID".to_owned();
        let learnt = self.learner.learn_cpuid(&json);
        learnt.map_err(|source| AnswerError::Unusable { command: command(), source })
    }

    /// `query-kvm` must agree with what was asked for.
    fn check_accelerator(&self, answer: Handle) -> Result<(), AnswerError> {
        let enabled = self.learner.model().pool.get(answer, "enabled");
        match enabled {
            Some(enabled) if enabled != Handle::bool(self.kvm) => {
                let asked = if self.kvm { "KVM" } else { "TCG" };
                Err(AnswerError::OtherAccelerator { asked, kvm: !self.kvm })
            }
            _ => Ok(()),
        }
    }
}

/// What one pass brought.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) accelerator: Accelerator,
    /// Whether TCG was built into the emulator; a pass under KVM knows only if it asked for types.
    pub(crate) has_tcg: bool,
    /// Whether KVM was.
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

impl Passed {
    /// Waits until the file that ran is read. Only a pass that was to tell about the binary has it.
    pub(crate) fn ran(&mut self) -> io::Result<RanExecutable> {
        let reading = self.reading.take().ok_or_else(|| io::Error::other("nothing was read"))?;
        let Read { executable, sha256, named } = reading.finish()?;
        let Mapped { objects, replaced } = std::mem::take(&mut self.mapped);
        let module_directories = module_directories(&executable, &self.package, &named, &objects);
        let replaced = replaced.into_iter().collect();
        Ok(RanExecutable { executable, sha256, module_directories, objects, replaced })
    }
}

impl Interviewer for Pass {
    type Error = AnswerError;

    fn greeted(&mut self, greeting: &str, executable: Executable) -> Result<(), AnswerError> {
        self.questions.greeted(greeting);
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

    fn opening(&mut self) -> Vec<Request> {
        self.questions.opening()
    }

    fn primes(&self, request: &Request) -> bool {
        request.execute == TYPES && request.arguments.is_none()
    }

    fn heard(
        &mut self,
        request: &Request,
        reply: Reply,
        took: Duration,
    ) -> Result<Vec<Request>, AnswerError> {
        if let Some(recorder) = &mut self.recorder {
            recorder.exchange(request, &reply);
        }
        let command = || request.execute.clone();
        let mut questions = Vec::new();
        let group = match reply {
            Reply::Return(json) => {
                let answer = self
                    .learner
                    .take_in(&json)
                    .map_err(|source| AnswerError::Unusable { command: command(), source })?;
                if request.execute == "query-kvm" {
                    self.check_accelerator(answer)?;
                    self.ask_kernel()?;
                }
                let group = self.learn(request, &Outcome::Answered(answer))?;
                questions = self.questions.heard(request, &self.learner.model().pool, answer);
                if self.questions.are_too_many() {
                    return Err(AnswerError::TooManyQuestions { command: command() });
                }
                group
            }
            Reply::Error { desc, .. } if is_essential(request) => {
                return Err(AnswerError::Essential { command: command(), desc });
            }
            Reply::Error { class, desc } => {
                self.learn(request, &Outcome::Refused { class, desc })?
            }
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.learner.took(group, request, micros);
        Ok(questions)
    }

    fn finishing(&mut self, pid: Pid) {
        // What cannot be read, since the emulator runs as somebody else, is not tracked.
        if self.reads_until.is_some() {
            let own = self.identity.unwrap_or_default();
            self.mapped = Mapped::of(pid, own, self.has_own_mounts).unwrap_or_default();
        }
    }

    fn quarantined(&mut self, request: &Request, reason: String) -> Result<(), AnswerError> {
        if is_essential(request) {
            let command = request.execute.clone();
            return Err(AnswerError::Essential { command, desc: format!("it {reason}") });
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.quarantined(request, &reason);
        }
        self.learn(request, &Outcome::Quarantined { reason }).map(drop)
    }
}

pub(crate) fn is_essential(request: &Request) -> bool {
    request.arguments.is_none() && ESSENTIAL.contains(&request.execute.as_str())
}
