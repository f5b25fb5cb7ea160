//! Asking an emulator many questions, although some of them may kill it.
//!
//! All that is known is asked at once. An answer counts when the emulator was alive after it, that is, when another
//! answer followed; so the last one is held back, and followed by a question that harms nobody. When an emulator is
//! lost, two questions are suspects: the first that has no answer, and the one whose answer was held back (some
//! answer, and leave an emulator that is deaf). Each is put on trial: asked alone, as the first of a fresh emulator.
//! If the emulator is lost again, the question is quarantined; otherwise its answer counts. So every loss settles at
//! least one question, and an interview comes to an end.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::error::{InterviewError, Loss, StartError};
use crate::limits::Terms;
use crate::process::Executable;
use crate::session::{Reply, Request, Session};
use crate::spawn::Launch;

/// The question that harms nobody.
const HARMLESS: &str = "query-version";

/// Decides what is asked, from what was answered so far.
pub(crate) trait Interviewer {
    /// Why the interview makes no sense to it.
    type Error: Error + 'static;

    /// Is told once, after the first start, who answers: the text of the greeting, and the file that runs.
    fn greeted(&mut self, greeting: &str, executable: Executable) -> Result<(), Self::Error>;

    /// What is asked at once after the first greeting, in this order.
    fn opening(&mut self) -> Vec<Request>;

    /// Whether a request changes what an emulator answers to others. Those are asked again after each restart, before
    /// anything else; the answer is heard once. `qom-list-types` is one: it loads modules.
    fn primes(&self, _request: &Request) -> bool {
        false
    }

    /// Takes an answer, which comes once for each request and is final, and how long it took; returns what is to be
    /// asked because of it.
    fn heard(
        &mut self,
        request: &Request,
        reply: Reply,
        took: Duration,
    ) -> Result<Vec<Request>, Self::Error>;

    /// Is told once, when everything was answered and before the emulator quits, which process it is.
    fn finishing(&mut self, _pid: Pid) {}

    /// Is told of a request that has no answer, since asking it loses the emulator: it “was killed by signal 6
    /// (SIGABRT)”, it “answered, then went deaf”. The request is never heard.
    fn quarantined(&mut self, request: &Request, reason: String) -> Result<(), Self::Error>;
}

/// How an interview went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Interviewed {
    /// How many processes were started: one more than there were restarts.
    pub starts: u32,
    /// Every emulator that was lost on the way, in order.
    pub lost: Vec<LostEmulator>,
    /// The end of what the last emulator wrote to stdout and stderr.
    pub output: String,
}

/// An emulator that stopped answering during an interview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostEmulator {
    /// What it did: it “was killed by signal 6 (SIGABRT)”.
    pub reason: String,
    /// The end of what it wrote to stdout and stderr.
    pub output: String,
}

/// Asks an emulator all that `interviewer` wants to know, and has it quit or kills it.
///
/// See [`spawn`](crate::spawn::spawn) for the thread this must be called from. Cancelling kills the emulator.
///
/// # Errors
///
/// [`InterviewError`]. Queries that the emulator refuses, or that kill it, are none.
pub(crate) async fn interview<I: Interviewer>(
    launch: &Launch<'_>,
    terms: &Terms<'_>,
    interviewer: &mut I,
) -> Result<Interviewed, InterviewError<I::Error>> {
    let mut interview = Interview {
        launch,
        terms,
        began: Instant::now(),
        interviewer,
        greeting: None,
        identity: None,
        waiting: VecDeque::new(),
        suspects: VecDeque::new(),
        primers: Vec::new(),
        report: Interviewed::default(),
    };
    interview.run().await?;
    Ok(interview.report)
}

struct Interview<'a, I> {
    launch: &'a Launch<'a>,
    terms: &'a Terms<'a>,
    began: Instant,
    interviewer: &'a mut I,
    /// The first emulator's. None before the first start.
    greeting: Option<String>,
    /// Device and inode of what the first emulator ran.
    identity: Option<(u64, u64)>,
    /// What is to be asked.
    waiting: VecDeque<Request>,
    /// What is to be asked alone first.
    suspects: VecDeque<Request>,
    /// What is asked again after each restart.
    primers: Vec<Request>,
    report: Interviewed,
}

/// The part of an interview that one emulator takes.
struct Sitting<'t> {
    session: Session<'t>,
    /// The first suspect is asked, and nothing else.
    trial: bool,
    /// What was asked and not answered, in the order in which it was asked.
    asked: VecDeque<Asked>,
    /// The last answer to a question, unless another answer followed.
    held: Option<Held>,
}

struct Asked {
    id: u64,
    purpose: Purpose,
    request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To bring a fresh emulator where the first one was.
    Prime,
    /// To know.
    Know,
    /// To see whether it lives.
    Live,
}

struct Held {
    request: Request,
    reply: Reply,
    took: Duration,
}

/// Why a sitting ended before everything was asked.
enum Stop<E> {
    Lost(Loss),
    Interviewer(E),
}

impl<E> From<Loss> for Stop<E> {
    fn from(loss: Loss) -> Self {
        Self::Lost(loss)
    }
}

impl Sitting<'_> {
    fn ask(&mut self, request: Request, purpose: Purpose) {
        let id = self.session.send(&request);
        self.asked.push_back(Asked { id, purpose, request });
    }
}

impl<'a, I: Interviewer> Interview<'a, I> {
    async fn run(&mut self) -> Result<(), InterviewError<I::Error>> {
        while self.greeting.is_none() || !self.waiting.is_empty() || !self.suspects.is_empty() {
            self.may_start()?;
            let Some(session) = self.start().await? else { continue };
            let trial = !self.suspects.is_empty();
            let mut sitting = Sitting { session, trial, asked: VecDeque::new(), held: None };
            let stop = self.sit(&mut sitting).await.err();
            if stop.is_none() && self.waiting.is_empty() && self.suspects.is_empty() {
                self.interviewer.finishing(sitting.session.pid());
            }
            let Sitting { session, trial, asked, held } = sitting;
            let output = if stop.is_none() { session.quit().await } else { session.end().await };
            match stop {
                None => self.report.output = output,
                Some(Stop::Interviewer(error)) => return Err(InterviewError::Interviewer(error)),
                Some(Stop::Lost(loss)) => {
                    let blamed = self.blame(trial, asked, held, &loss);
                    blamed.map_err(InterviewError::Interviewer)?;
                    self.lost(&loss, output)?;
                }
            }
        }
        Ok(())
    }

    /// Starts an emulator. `None` if this one was lost before it took commands, but an earlier one was not.
    async fn start(&mut self) -> Result<Option<Session<'a>>, InterviewError<I::Error>> {
        self.report.starts += 1;
        let mut session = match Session::start(self.launch, self.terms).await {
            Ok(session) => session,
            Err(
                StartError::NoGreeting { source, output, .. }
                | StartError::NotReady { source, output, .. },
            ) if self.greeting.is_some() => {
                self.lost(&source, output)?;
                return Ok(None);
            }
            Err(error) => return Err(InterviewError::Start(error)),
        };
        let executable = session.take_executable();
        let identity = executable.as_ref().and_then(Executable::identity);
        match &self.greeting {
            Some(greeting) if greeting != session.greeting() || self.identity != identity => {
                return Err(InterviewError::Replaced);
            }
            Some(_) => {}
            None => {
                self.greeting = Some(session.greeting().to_owned());
                self.identity = identity;
                if let Some(executable) = executable {
                    self.interviewer
                        .greeted(session.greeting(), executable)
                        .map_err(InterviewError::Interviewer)?;
                }
                self.waiting.extend(self.interviewer.opening());
            }
        }
        Ok(Some(session))
    }

    /// Asks one emulator: everything, or the first suspect and then everything unless there is another suspect.
    async fn sit(&mut self, sitting: &mut Sitting<'_>) -> Result<(), Stop<I::Error>> {
        for primer in &self.primers {
            sitting.ask(primer.clone(), Purpose::Prime);
        }
        if let Some(suspect) = self.suspects.front() {
            sitting.ask(suspect.clone(), Purpose::Know);
        }
        loop {
            if !sitting.trial {
                for request in self.waiting.drain(..) {
                    sitting.ask(request, Purpose::Know);
                }
            }
            if sitting.asked.is_empty() {
                if sitting.held.is_some() {
                    sitting.ask(Request::new(HARMLESS), Purpose::Live);
                } else if sitting.trial {
                    self.suspects.pop_front();
                    if !self.suspects.is_empty() {
                        return Ok(());
                    }
                    sitting.trial = false;
                    continue;
                } else {
                    return Ok(());
                }
            }
            let (id, reply, took) = sitting.session.reply().await?;
            if let Some(held) = sitting.held.take() {
                self.hear(held).map_err(Stop::Interviewer)?;
            }
            let position = sitting.asked.iter().position(|asked| asked.id == id);
            let answered = position.and_then(|position| sitting.asked.remove(position));
            if let Some(Asked { purpose: Purpose::Know, request, .. }) = answered {
                sitting.held = Some(Held { request, reply, took });
            }
        }
    }

    fn hear(&mut self, Held { request, reply, took }: Held) -> Result<(), I::Error> {
        self.waiting.extend(self.interviewer.heard(&request, reply, took)?);
        if self.interviewer.primes(&request) {
            self.primers.push(request);
        }
        Ok(())
    }

    /// Finds out which questions may have lost an emulator, and saves the others.
    fn blame(
        &mut self,
        trial: bool,
        mut asked: VecDeque<Asked>,
        held: Option<Held>,
        loss: &Loss,
    ) -> Result<(), I::Error> {
        let unanswered = asked.pop_front();
        let questions = asked.into_iter().filter(|asked| asked.purpose == Purpose::Know);
        if let Some(Asked { purpose: Purpose::Prime, request, .. }) = unanswered {
            // Its answer was heard, and counts; but it is not worth losing another emulator.
            self.primers.retain(|primer| *primer != request);
            if !trial {
                let held = held.map(|held| held.request);
                self.postpone(held.into_iter().chain(questions.map(|asked| asked.request)));
            }
        } else if trial {
            let Some(guilty) = self.suspects.pop_front() else { return Ok(()) };
            let reason = match loss {
                _ if held.is_none() => loss.to_string(),
                Loss::Silent { .. } | Loss::OutOfTime { .. } => "answered, then went deaf".into(),
                _ => format!("answered, then {loss}"),
            };
            self.interviewer.quarantined(&guilty, reason)?;
            // This explains the loss that they were suspected of.
            let others = std::mem::take(&mut self.suspects);
            self.postpone(others.into_iter());
        } else {
            self.postpone(questions.map(|asked| asked.request));
            let unanswered = unanswered.filter(|asked| asked.purpose == Purpose::Know);
            self.suspects.extend(unanswered.map(|asked| asked.request));
            self.suspects.extend(held.map(|held| held.request));
        }
        Ok(())
    }

    /// Has questions asked before all others that wait.
    fn postpone(&mut self, questions: impl Iterator<Item = Request>) {
        let later = std::mem::take(&mut self.waiting);
        self.waiting.extend(questions);
        self.waiting.extend(later);
    }

    /// Notes that an emulator was lost, unless that ends the interview.
    fn lost(&mut self, loss: &Loss, output: String) -> Result<(), InterviewError<I::Error>> {
        match *loss {
            Loss::TooMuch { limit_bytes } => {
                return Err(InterviewError::TooMuchOutput { limit_bytes });
            }
            Loss::AnsweredTooMuch { limit_bytes } => {
                return Err(InterviewError::AnsweredTooMuch { limit_bytes });
            }
            _ => {}
        }
        self.report.lost.push(LostEmulator { reason: loss.to_string(), output });
        Ok(())
    }

    /// Whether there is time for another start, and whether not too many were needed.
    fn may_start(&self) -> Result<(), InterviewError<I::Error>> {
        let restarts = self.report.starts.saturating_sub(1);
        if Instant::now() >= self.terms.deadline {
            return Err(InterviewError::Deadline {
                limit: self.terms.limits.probe,
                waited: self.began.elapsed(),
                unanswered: self.waiting.len() + self.suspects.len(),
                restarts,
            });
        }
        match self.report.lost.last() {
            Some(last) if restarts >= self.terms.limits.restarts => {
                Err(InterviewError::TooManyRestarts { restarts, last: last.reason.clone() })
            }
            _ => Ok(()),
        }
    }
}
