//! One running emulator and its monitor.

#[cfg(test)]
pub(crate) mod fake;
mod line;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Loss, SHOWN_CHARS, StartError};
use crate::limits::{Exceeded, Terms};
use crate::process::Executable;
use crate::spawn::{Launch, MONITOR_OPTION, spawn};
use line::Line;

/// How much of a refusal is kept, in characters. QEMU's longest have some hundreds.
const REFUSAL_CHARS: usize = 4000;

/// One QMP command to be asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    /// The name of the command.
    pub execute: String,
    /// Its arguments: the text of one JSON object.
    pub arguments: Option<String>,
}

impl Request {
    /// Returns a command without arguments.
    #[must_use]
    pub(crate) fn new(execute: impl Into<String>) -> Self {
        Self { execute: execute.into(), arguments: None }
    }

    /// Returns a command with arguments, which must be an object.
    #[must_use]
    pub(crate) fn with(execute: impl Into<String>, arguments: &serde_json::Value) -> Self {
        Self { execute: execute.into(), arguments: Some(arguments.to_string()) }
    }

    fn write(&self, id: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"execute\":");
        out.extend_from_slice(
            serde_json::Value::from(self.execute.as_str()).to_string().as_bytes(),
        );
        if let Some(arguments) = &self.arguments {
            out.extend_from_slice(b",\"arguments\":");
            out.extend_from_slice(arguments.as_bytes());
        }
        out.extend_from_slice(format!(",\"id\":{id}}}\n").as_bytes());
    }
}

/// What an emulator said to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It did it: the JSON text of what it returned.
    Return(String),
    /// It refused.
    Error {
        /// The class of the error: `GenericError`, `CommandNotFound`, …
        class: String,
        /// What is wrong, for people.
        desc: String,
    },
}

/// A running emulator that takes commands. Dropping it kills the emulator.
#[derive(Debug)]
pub(crate) struct Session<'t> {
    line: Line<'t>,
    terms: &'t Terms<'t>,
    greeting: String,
    executable: Option<Executable>,
    speaker: Pid,
    pending: BTreeMap<u64, Instant>,
    next_id: u64,
    last_reply: Instant,
}

impl<'t> Session<'t> {
    /// Starts an emulator and waits until it takes commands: it greeted, and accepted `qmp_capabilities`.
    ///
    /// See [`spawn`] for the thread this must be called from. Cancelling kills the emulator.
    ///
    /// # Errors
    ///
    /// All variants of [`StartError`].
    pub(crate) async fn start(
        launch: &Launch<'_>,
        terms: &'t Terms<'t>,
    ) -> Result<Self, StartError> {
        let path = launch.emulator;
        let started = Instant::now();
        let spawned = spawn(launch, terms.limits.start)?;
        let mut line = Line::new(spawned, terms, started).map_err(|source| StartError::Spawn {
            path: path.to_owned(),
            step: "watch the monitor",
            source,
        })?;

        let (greeting, speaker) = match line.greeting().await {
            Ok(greeted) => greeted,
            Err(source) => {
                let output = line.end().await;
                let path = path.to_owned();
                // QEMU names the option that it cannot follow.
                return Err(if output.contains(MONITOR_OPTION) {
                    StartError::NoMonitor { path, source, output }
                } else {
                    StartError::NoGreeting { path, source, output }
                });
            }
        };
        if serde_json::from_str::<Greeting<'_>>(&greeting).is_err() {
            let output = line.end().await;
            let line = beginning(&greeting);
            return Err(StartError::NotQmp { path: path.to_owned(), line, output });
        }
        let mut session = Self {
            line,
            terms,
            greeting,
            executable: None,
            speaker,
            pending: BTreeMap::new(),
            next_id: 0,
            last_reply: started,
        };
        session.send(&Request::new("qmp_capabilities"));
        let executable = Executable::of(speaker);
        let ready = match session.reply().await {
            Ok((_, Reply::Return(_), _)) => Ok(()),
            Ok((_, Reply::Error { class, desc }, _)) => Err(Loss::Malformed {
                what: "it refused qmp_capabilities".into(),
                line: format!("{class}: {desc}"),
            }),
            Err(loss) => Err(loss),
        };
        if let Err(source) = ready {
            let output = session.end().await;
            return Err(StartError::NotReady { path: path.to_owned(), source, output });
        }
        let executable = executable.map_err(|source| StartError::Executable {
            path: path.to_owned(),
            pid: speaker.as_raw_pid(),
            source,
        })?;
        if executable.has_own_mounts && launch.sandbox.denies_mounts() {
            session.quit().await;
            return Err(StartError::Mounts { path: path.to_owned() });
        }
        session.executable = Some(executable);
        Ok(session)
    }

    /// The process that speaks on the monitor: not the one that was started if a wrapper forked.
    pub(crate) fn pid(&self) -> Pid {
        self.speaker
    }

    /// The greeting as it came, without its line end.
    pub(crate) fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Hands out the file that runs: once.
    pub(crate) fn take_executable(&mut self) -> Option<Executable> {
        self.executable.take()
    }

    /// Puts a command into the queue, which [`reply`](Self::reply) writes, and returns its id.
    pub(crate) fn send(&mut self, request: &Request) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut text = Vec::new();
        request.write(id, &mut text);
        self.line.queue(&text);
        self.pending.insert(id, Instant::now());
        id
    }

    /// Writes what is queued and returns the next reply to any of the commands sent: the command's id, the reply,
    /// and how long the emulator took, counted from the reply before (commands wait for each other).
    ///
    /// Events and replies to nothing that was asked are skipped. Cancelling loses nothing.
    ///
    /// # Errors
    ///
    /// Any [`Loss`]: there will be no further reply.
    pub(crate) async fn reply(&mut self) -> Result<(u64, Reply, Duration), Loss> {
        loop {
            let text = self.line.next().await?;
            let Some((id, sent, reply)) = understand(text, &mut self.pending)? else { continue };
            if let Reply::Return(answer) = &reply {
                self.terms
                    .answered(answer.len())
                    .map_err(|Exceeded(limit_bytes)| Loss::AnsweredTooMuch { limit_bytes })?;
            }
            let now = Instant::now();
            let took = now.saturating_duration_since(sent.max(self.last_reply));
            self.last_reply = now;
            return Ok((id, reply, took));
        }
    }

    /// Asks the emulator to quit and gives it a moment to end, and its wrapper to clean up; then as
    /// [`end`](Self::end).
    pub(crate) async fn quit(mut self) -> String {
        self.send(&Request::new("quit"));
        self.line.quit().await
    }

    /// Kills the emulator, reaps it, and returns the end of what it wrote to stdout and stderr.
    pub(crate) async fn end(mut self) -> String {
        self.line.end().await
    }
}

/// The form of a greeting; what it says is for others to read.
#[derive(Deserialize)]
struct Greeting<'a> {
    #[serde(rename = "QMP", borrow)]
    _qmp: BTreeMap<String, &'a RawValue>,
}

/// The form of everything else a monitor sends.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "return")]
    returned: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

/// Reads one line. `None` if it answers nothing that is pending.
fn understand(
    line: &str,
    pending: &mut BTreeMap<u64, Instant>,
) -> Result<Option<(u64, Instant, Reply)>, Loss> {
    // Serde's messages quote what they complain of, however long.
    let malformed =
        |what: String| Loss::Malformed { what: beginning(&what), line: beginning(line) };
    let message: Message<'_> =
        serde_json::from_str(line).map_err(|error| malformed(error.to_string()))?;
    // Ids are compared as text: 7.0 and "7" are not 7.
    let id = message.id.and_then(|id| id.get().parse().ok());
    let Some((id, sent)) = id.and_then(|id| pending.remove_entry(&id)) else { return Ok(None) };
    let reply = match (message.returned, message.error) {
        (Some(returned), None) => Reply::Return(returned.get().to_owned()),
        (None, Some(error)) => {
            let Refusal { class, desc } = serde_json::from_str(error.get())
                .map_err(|error| malformed(format!("a wrong error: {error}")))?;
            let kept = |text: String| text.chars().take(REFUSAL_CHARS).collect();
            Reply::Error { class: kept(class), desc: kept(desc) }
        }
        _ => return Err(malformed("neither an error nor a return, or both".into())),
    };
    Ok(Some((id, sent, reply)))
}

/// Cuts and understands what an emulator sent, in pieces of these sizes, as a session with three
/// commands under way would.
pub(crate) fn understand_all(pieces: &[u8], sent: &[u8]) {
    const LINE_BYTES: usize = 4096;
    let mut pending: BTreeMap<u64, Instant> = (0..3).map(|id| (id, Instant::now())).collect();
    let mut settled = 0;
    line::cut(pieces, sent, LINE_BYTES, |text| {
        let before = pending.len();
        let understood = understand(text, &mut pending);
        settled += before - pending.len();
        let is_answer = matches!(understood, Ok(Some(_)));
        assert!(!is_answer || before == pending.len() + 1, "it answers what was under way");
        understood.map(drop)
    });
    assert_eq!(settled + pending.len(), 3, "each command is settled at most once");
}

/// The beginning of a line, for messages.
fn beginning(line: &str) -> String {
    line.chars().take(SHOWN_CHARS).collect()
}
