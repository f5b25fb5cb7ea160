//! Sends many queries to an emulator, although some of them may kill it.
//!
//! An *exchange* is the sequence of queries and replies of one pass, over as many processes of the emulator as it
//! takes. All queries that are known are sent at once. A reply counts when the emulator was alive after it, that is, when
//! another reply followed; so the last one is held back, and followed by a harmless query. When an emulator is lost, two
//! queries are suspects: the first without a reply, and the one whose reply was held back (some are answered, and leave
//! an emulator that does not respond). Each is isolated: sent alone, as the first query of a fresh emulator. If the
//! emulator is lost again, the query is *quarantined*; otherwise its reply counts. So every loss settles at least one
//! query, and an exchange comes to an end.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::error::{ExchangeError, SessionError, StartError};
use crate::limits::Budget;
use crate::process::Executable;
use crate::session::{Reply, Request, Session};
use crate::spawn::Launch;

/// A query that no emulator is lost by.
const HARMLESS: &str = "query-version";

/// Decides the queries of an exchange, and receives the replies.
pub(crate) trait Handler {
    /// The error with which it ends the exchange.
    type Error: Error + 'static;

    /// Called once, after the first start, with the text of the greeting and the file that runs.
    fn on_greeting(&mut self, greeting: &str, executable: Executable) -> Result<(), Self::Error>;

    /// Returns the queries to send at once after the first greeting, in this order.
    fn initial_queries(&mut self) -> Vec<Request>;

    /// Returns whether a query changes the replies to others. Such queries are repeated after each restart, before
    /// anything else; only the first reply is passed on. `qom-list-types` is one: it loads modules.
    fn must_be_repeated(&self, _request: &Request) -> bool {
        false
    }

    /// Called once for each query with its final reply, and the time it took; returns the queries that it leads to.
    fn on_reply(
        &mut self,
        request: &Request,
        reply: Reply,
        took: Duration,
    ) -> Result<Vec<Request>, Self::Error>;

    /// Called once with the emulator's process, after the last reply and before the emulator quits.
    fn on_finish(&mut self, _pid: Pid) {}

    /// Called instead of [`on_reply`](Self::on_reply) for a query by which the emulator is lost: it “was killed by
    /// signal 6 (SIGABRT)”, it “answered, then stopped responding”.
    fn on_quarantine(&mut self, request: &Request, reason: String) -> Result<(), Self::Error>;
}

/// The report of an exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExchangeReport {
    /// The number of processes that were started: one more than there were restarts.
    pub starts: u32,
    /// The emulators that were lost, in order.
    pub lost: Vec<LostEmulator>,
    /// The end of the last emulator's stdout and stderr.
    pub output: String,
}

/// An emulator that was lost during an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostEmulator {
    /// The reason, without a subject: “was killed by signal 6 (SIGABRT)”.
    pub reason: String,
    /// The end of its stdout and stderr.
    pub output: String,
}

/// Sends all queries of `handler` to an emulator, and makes it quit or kills it.
///
/// See [`spawn`](crate::spawn::spawn) for the thread this must be called from. Cancelling kills the emulator.
///
/// # Errors
///
/// [`ExchangeError`]. A query that the emulator refuses, or that kills it, is not an error.
pub(crate) async fn exchange<H: Handler>(
    launch: &Launch<'_>,
    budget: &Budget<'_>,
    handler: &mut H,
) -> Result<ExchangeReport, ExchangeError<H::Error>> {
    let mut exchange = Exchange {
        launch,
        budget,
        began: Instant::now(),
        handler,
        greeting: None,
        identity: None,
        waiting: VecDeque::new(),
        suspects: VecDeque::new(),
        repeated: Vec::new(),
        report: ExchangeReport::default(),
    };
    exchange.run().await?;
    Ok(exchange.report)
}

struct Exchange<'a, H> {
    launch: &'a Launch<'a>,
    budget: &'a Budget<'a>,
    began: Instant,
    handler: &'a mut H,
    /// The first emulator's. None before the first start.
    greeting: Option<String>,
    /// Device and inode of the first emulator's executable.
    identity: Option<(u64, u64)>,
    /// Queries to send.
    waiting: VecDeque<Request>,
    /// Queries to isolate before.
    suspects: VecDeque<Request>,
    /// Queries to repeat after each restart.
    repeated: Vec<Request>,
    report: ExchangeReport,
}

/// The part of an exchange that one process of the emulator takes.
struct Run<'t> {
    session: Session<'t>,
    /// Only the first suspect is sent.
    is_isolated: bool,
    /// Queries that were sent and not answered, in this order.
    sent: VecDeque<Sent>,
    /// The last reply to a query, unless another reply followed.
    held: Option<Held>,
}

struct Sent {
    id: u64,
    purpose: Purpose,
    request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Brings a fresh emulator to the state of the first one.
    Repeat,
    /// Its reply is passed on.
    Query,
    /// Checks that the emulator is alive.
    Check,
}

struct Held {
    request: Request,
    reply: Reply,
    took: Duration,
}

/// The reason why a run ended before all queries were sent.
enum Stop<E> {
    Lost(SessionError),
    Handler(E),
}

impl<E> From<SessionError> for Stop<E> {
    fn from(loss: SessionError) -> Self {
        Self::Lost(loss)
    }
}

impl Run<'_> {
    fn send(&mut self, request: Request, purpose: Purpose) {
        let id = self.session.send(&request);
        self.sent.push_back(Sent { id, purpose, request });
    }
}

impl<'a, H: Handler> Exchange<'a, H> {
    async fn run(&mut self) -> Result<(), ExchangeError<H::Error>> {
        while self.greeting.is_none() || !self.waiting.is_empty() || !self.suspects.is_empty() {
            self.check_limits()?;
            let Some(session) = self.start().await? else { continue };
            let is_isolated = !self.suspects.is_empty();
            let mut run = Run { session, is_isolated, sent: VecDeque::new(), held: None };
            let stop = self.query(&mut run).await.err();
            if stop.is_none() && self.waiting.is_empty() && self.suspects.is_empty() {
                self.handler.on_finish(run.session.pid());
            }
            let Run { session, is_isolated, sent, held } = run;
            let output = if stop.is_none() { session.quit().await } else { session.end().await };
            match stop {
                None => self.report.output = output,
                Some(Stop::Handler(error)) => return Err(ExchangeError::Answer(error)),
                Some(Stop::Lost(loss)) => {
                    let found = self.find_suspects(is_isolated, sent, held, &loss);
                    found.map_err(ExchangeError::Answer)?;
                    self.report_loss(&loss, output)?;
                }
            }
        }
        Ok(())
    }

    /// Starts an emulator. `None` if this one was lost before it took commands, but an earlier one was not.
    async fn start(&mut self) -> Result<Option<Session<'a>>, ExchangeError<H::Error>> {
        self.report.starts += 1;
        let mut session = match Session::start(self.launch, self.budget).await {
            Ok(session) => session,
            Err(
                StartError::NoGreeting { cause: source, output, .. }
                | StartError::NotReady { source, output, .. },
            ) if self.greeting.is_some() => {
                self.report_loss(&source, output)?;
                return Ok(None);
            }
            Err(error) => return Err(ExchangeError::Start(error)),
        };
        let executable = session.take_executable();
        let identity = executable.as_ref().and_then(Executable::identity);
        match &self.greeting {
            Some(greeting) if greeting != session.greeting() || self.identity != identity => {
                return Err(ExchangeError::Replaced);
            }
            Some(_) => {}
            None => {
                self.greeting = Some(session.greeting().to_owned());
                self.identity = identity;
                if let Some(executable) = executable {
                    self.handler
                        .on_greeting(session.greeting(), executable)
                        .map_err(ExchangeError::Answer)?;
                }
                self.waiting.extend(self.handler.initial_queries());
            }
        }
        Ok(Some(session))
    }

    /// Sends queries to one emulator: all, or the first suspect and then all others unless there is another suspect.
    async fn query(&mut self, run: &mut Run<'_>) -> Result<(), Stop<H::Error>> {
        for request in &self.repeated {
            run.send(request.clone(), Purpose::Repeat);
        }
        if let Some(suspect) = self.suspects.front() {
            run.send(suspect.clone(), Purpose::Query);
        }
        loop {
            if !run.is_isolated {
                for request in self.waiting.drain(..) {
                    run.send(request, Purpose::Query);
                }
            }
            if run.sent.is_empty() {
                if run.held.is_some() {
                    run.send(Request::new(HARMLESS), Purpose::Check);
                } else if run.is_isolated {
                    self.suspects.pop_front();
                    if !self.suspects.is_empty() {
                        return Ok(());
                    }
                    run.is_isolated = false;
                    continue;
                } else {
                    return Ok(());
                }
            }
            let (id, reply, took) = run.session.reply().await?;
            if let Some(held) = run.held.take() {
                self.pass_on(held).map_err(Stop::Handler)?;
            }
            let position = run.sent.iter().position(|sent| sent.id == id);
            let answered = position.and_then(|position| run.sent.remove(position));
            if let Some(Sent { purpose: Purpose::Query, request, .. }) = answered {
                run.held = Some(Held { request, reply, took });
            }
        }
    }

    fn pass_on(&mut self, Held { request, reply, took }: Held) -> Result<(), H::Error> {
        self.waiting.extend(self.handler.on_reply(&request, reply, took)?);
        if self.handler.must_be_repeated(&request) {
            self.repeated.push(request);
        }
        Ok(())
    }

    /// Makes the queries by which the emulator may have been lost suspects, and puts the others back.
    fn find_suspects(
        &mut self,
        is_isolated: bool,
        mut sent: VecDeque<Sent>,
        held: Option<Held>,
        loss: &SessionError,
    ) -> Result<(), H::Error> {
        let unanswered = sent.pop_front();
        let queries = sent.into_iter().filter(|sent| sent.purpose == Purpose::Query);
        if let Some(Sent { purpose: Purpose::Repeat, request, .. }) = unanswered {
            // Its first reply was passed on, and counts; but it is not repeated any more, so that it is not the cause of
            // another loss.
            self.repeated.retain(|repeated| *repeated != request);
            if !is_isolated {
                let held = held.map(|held| held.request);
                self.put_back(held.into_iter().chain(queries.map(|sent| sent.request)));
            }
        } else if is_isolated {
            let Some(suspect) = self.suspects.pop_front() else { return Ok(()) };
            let reason = match loss {
                _ if held.is_none() => loss.to_string(),
                SessionError::Silent { .. } | SessionError::OutOfTime { .. } => {
                    "answered, then stopped responding".into()
                }
                _ => format!("answered, then {loss}"),
            };
            self.handler.on_quarantine(&suspect, reason)?;
            // This explains the loss for which the others are suspects.
            let others = std::mem::take(&mut self.suspects);
            self.put_back(others.into_iter());
        } else {
            self.put_back(queries.map(|sent| sent.request));
            let unanswered = unanswered.filter(|sent| sent.purpose == Purpose::Query);
            self.suspects.extend(unanswered.map(|sent| sent.request));
            self.suspects.extend(held.map(|held| held.request));
        }
        Ok(())
    }

    /// Puts queries before all others that wait.
    fn put_back(&mut self, queries: impl Iterator<Item = Request>) {
        let later = std::mem::take(&mut self.waiting);
        self.waiting.extend(queries);
        self.waiting.extend(later);
    }

    /// Adds a lost emulator to the report, unless the loss ends the exchange.
    fn report_loss(
        &mut self,
        loss: &SessionError,
        output: String,
    ) -> Result<(), ExchangeError<H::Error>> {
        match *loss {
            SessionError::TooMuch { limit_bytes } => {
                return Err(ExchangeError::TooMuchOutput { limit_bytes });
            }
            SessionError::AnsweredTooMuch { limit_bytes } => {
                return Err(ExchangeError::AnsweredTooMuch { limit_bytes });
            }
            _ => {}
        }
        self.report.lost.push(LostEmulator { reason: loss.to_string(), output });
        Ok(())
    }

    /// Checks that there is time for another start, and that there were not too many.
    fn check_limits(&self) -> Result<(), ExchangeError<H::Error>> {
        let restarts = self.report.starts.saturating_sub(1);
        if Instant::now() >= self.budget.deadline {
            return Err(ExchangeError::Deadline {
                limit: self.budget.limits.probe,
                waited: self.began.elapsed(),
                unanswered: self.waiting.len() + self.suspects.len(),
                restarts,
            });
        }
        match self.report.lost.last() {
            Some(last) if restarts >= self.budget.limits.restarts => {
                Err(ExchangeError::TooManyRestarts { restarts, last: last.reason.clone() })
            }
            _ => Ok(()),
        }
    }
}
