//! One pass: an interview under one accelerator, its answers learnt and, if wanted, recorded.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use capscache_format::{Accelerator, Group, Handle, Model, ModelError, PassReport};
use rustix::process::Pid;
use sha2::{Digest, Sha256};

use crate::files::{OVERLAP_BYTES, mapped_objects, module_directories, named_module_directories};
use crate::interview::Interviewer;
use crate::learn::{LearnError, Learner, Outcome};
use crate::questions::{Questions, TYPES, Wanted};
use crate::session::{Executable, Reply, Request};
use crate::transcript::Recorder;

/// Why answers that arrived make no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// One cannot be learnt.
    #[error("the answer to {command} cannot be used")]
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
    /// The thread that reads the executable could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// QEMU did not answer a command without which nothing else makes sense.
    #[error("the emulator does not answer {command}: {desc}")]
    Essential {
        /// The command.
        command: String,
        /// QMP's description of the error, or what the emulator did instead of answering.
        desc: String,
    },
}

/// Commands that every emulator answers; one that does not is none.
const ESSENTIAL: [&str; 3] = ["query-version", "query-target", TYPES];

/// The file that ran, read while it ran.
#[derive(Debug)]
pub struct RanExecutable {
    /// Its path as `/proc/PID/exe` told it, which may be a path in another mount namespace.
    pub path: PathBuf,
    /// The very file, still open.
    pub file: File,
    /// The SHA-256 of its content.
    pub sha256: [u8; 32],
    /// Where it looks for modules, present or not.
    pub module_directories: Vec<PathBuf>,
    /// The shared objects that it had mapped when it had answered everything, modules included, as
    /// far as they are to be found here under the same path.
    pub objects: Vec<PathBuf>,
}

/// Follows one interview.
#[derive(Debug)]
pub(crate) struct Pass {
    /// Whether it asked for KVM.
    kvm: bool,
    questions: Questions,
    learner: Learner,
    recorder: Option<Recorder>,
    /// Whether to read what runs, while it answers: one pass of a probe needs to.
    reads: bool,
    reading: Option<JoinHandle<io::Result<Read>>>,
    identity: Option<(u64, u64)>,
    objects: Vec<PathBuf>,
}

impl Pass {
    /// `reads`: whether it is the one that reads what runs.
    pub(crate) fn new(kvm: bool, wanted: Wanted, reads: bool, record: bool) -> Pass {
        Pass {
            kvm,
            questions: Questions::new(wanted),
            learner: Learner::new(wanted),
            recorder: record.then(Recorder::default),
            reads,
            reading: None,
            identity: None,
            objects: Vec::new(),
        }
    }

    /// The accelerator that ran: known by its type, since without TCG QEMU falls back to qtest.
    fn accelerator(&self) -> Accelerator {
        if self.kvm {
            Accelerator::Kvm
        } else if self.questions.knows_type("tcg-accel") {
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
            has_tcg: self.questions.knows_type("tcg-accel"),
            has_kvm: self.questions.knows_type("kvm-accel"),
            arch: self.questions.arch().to_owned(),
            model: self.learner.finish(accelerator, report)?,
            identity: self.identity,
            reading: self.reading,
            objects: self.objects,
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
    reading: Option<JoinHandle<io::Result<Read>>>,
    objects: Vec<PathBuf>,
    package: String,
    pub(crate) recorder: Option<Recorder>,
}

impl Passed {
    /// Waits until the file that ran is read. Only a pass that was to tell about the binary has it.
    pub(crate) fn ran(&mut self) -> io::Result<RanExecutable> {
        let reading = self.reading.take().ok_or_else(|| io::Error::other("nothing was read"))?;
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let Read { path, file, sha256, named } = read;
        let objects = std::mem::take(&mut self.objects);
        let module_directories = module_directories(&path, &self.package, &named, &objects);
        Ok(RanExecutable { path, file, sha256, module_directories, objects })
    }
}

impl Interviewer for Pass {
    type Error = AnswerError;

    fn greeted(&mut self, greeting: &str, executable: Executable) -> Result<(), AnswerError> {
        self.questions.greeted(greeting);
        if let Some(recorder) = &mut self.recorder {
            recorder.greeting(greeting);
        }
        self.identity = executable.file.metadata().ok().map(|status| (status.dev(), status.ino()));
        if self.reads {
            let name = "capscache-hash".to_owned();
            let reading = std::thread::Builder::new().name(name).spawn(move || read(executable));
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
        let mut questions = Vec::new();
        let group = match reply {
            Reply::Return(json) => {
                let answer =
                    self.learner.take_in(&json).map_err(|source| AnswerError::Unusable {
                        command: request.execute.clone(),
                        source: source.into(),
                    })?;
                if request.execute == "query-kvm" {
                    self.check_accelerator(answer)?;
                }
                let group = self.learn(request, &Outcome::Answered(answer))?;
                questions = self.questions.heard(request, &self.learner.model().pool, answer);
                group
            }
            Reply::Error { desc, .. } if is_essential(request) => {
                return Err(AnswerError::Essential { command: request.execute.clone(), desc });
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
        self.objects =
            if self.reads { mapped_objects(pid).unwrap_or_default() } else { Vec::new() };
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

/// An executable that was read from end to end.
#[derive(Debug)]
struct Read {
    path: PathBuf,
    file: File,
    sha256: [u8; 32],
    /// The module directories that it names.
    named: BTreeSet<PathBuf>,
}

fn read(Executable { path, file, .. }: Executable) -> io::Result<Read> {
    let mut hasher = Sha256::new();
    let mut named = BTreeSet::new();
    let mut buffer = vec![0; 64 * 1024];
    // The end of one block stands before the next, so that no name is cut in two.
    let mut kept = 0;
    loop {
        let read = (&file).read(&mut buffer[kept..])?;
        if read == 0 {
            break;
        }
        let end = kept + read;
        hasher.update(&buffer[kept..end]);
        named_module_directories(&buffer[..end], &mut named);
        let keep_from = end.saturating_sub(OVERLAP_BYTES);
        buffer.copy_within(keep_from..end, 0);
        kept = end - keep_from;
    }
    Ok(Read { path, file, sha256: hasher.finalize().into(), named })
}
