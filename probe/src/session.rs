//! One running emulator and its monitor.

mod connection;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{SHOWN_CHARS, SessionError, StartError};
use crate::limits::{Budget, Exceeded};
use crate::process::Executable;
use crate::spawn::{Launch, MONITOR_OPTION, spawn};
use connection::Connection;

/// Bound on the text of a refusal that is kept, in characters. QEMU's longest have some hundreds.
const REFUSAL_CHARS: usize = 4000;

/// A QMP command.
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

/// An emulator's reply to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The command succeeded: the JSON text of the returned value.
    Return(String),
    /// The command was refused.
    Error {
        /// The class of the error: `GenericError`, `CommandNotFound`, …
        class: String,
        /// The description of the error, for people.
        desc: String,
    },
}

/// A running emulator that takes commands. Dropping it kills the emulator.
#[derive(Debug)]
pub(crate) struct Session<'t> {
    connection: Connection<'t>,
    budget: &'t Budget<'t>,
    greeting: String,
    executable: Option<Executable>,
    peer: Pid,
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
        budget: &'t Budget<'t>,
    ) -> Result<Self, StartError> {
        let path = launch.emulator;
        let started = Instant::now();
        let spawned = spawn(launch, budget.limits.start)?;
        let mut connection = Connection::new(spawned, budget, started).map_err(|source| {
            StartError::Spawn { path: path.to_owned(), step: "watch the monitor", source }
        })?;

        let (greeting, peer) = match connection.greeting().await {
            Ok(greeted) => greeted,
            Err(cause) => {
                let output = connection.end().await;
                let path = path.to_owned();
                // QEMU names the option that it cannot apply.
                return Err(if output.contains(MONITOR_OPTION) {
                    StartError::NoMonitor { path, cause, output }
                } else {
                    StartError::NoGreeting { path, cause, output }
                });
            }
        };
        if serde_json::from_str::<Greeting<'_>>(&greeting).is_err() {
            let output = connection.end().await;
            let line = beginning(&greeting);
            return Err(StartError::NotQmp { path: path.to_owned(), line, output });
        }
        let mut session = Self {
            connection,
            budget,
            greeting,
            executable: None,
            peer,
            pending: BTreeMap::new(),
            next_id: 0,
            last_reply: started,
        };
        session.send(&Request::new("qmp_capabilities"));
        let executable = Executable::of(peer);
        let ready = match session.reply().await {
            Ok((_, Reply::Return(_), _)) => Ok(()),
            Ok((_, Reply::Error { class, desc }, _)) => Err(SessionError::Malformed {
                what: "qmp_capabilities was refused".into(),
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
            pid: peer.as_raw_pid(),
            source,
        })?;
        if executable.has_own_mounts && launch.sandbox.denies_mounts() {
            session.quit().await;
            return Err(StartError::Mounts { path: path.to_owned() });
        }
        session.executable = Some(executable);
        Ok(session)
    }

    /// Returns the process at the other end of the monitor: not the one that was started if a wrapper forked.
    pub(crate) fn pid(&self) -> Pid {
        self.peer
    }

    /// Returns the text of the greeting, without its line end.
    pub(crate) fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Takes out the file that runs.
    pub(crate) fn take_executable(&mut self) -> Option<Executable> {
        self.executable.take()
    }

    /// Appends a command to the queue, which [`reply`](Self::reply) writes, and returns its id.
    pub(crate) fn send(&mut self, request: &Request) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut text = Vec::new();
        request.write(id, &mut text);
        self.connection.queue(&text);
        self.pending.insert(id, Instant::now());
        id
    }

    /// Writes what is queued and returns the next reply to any of the commands sent: the command's id, the reply,
    /// and how long the emulator took, counted from the reply before (commands wait for each other).
    ///
    /// Events, and replies to commands that were not sent, are skipped. Cancelling loses nothing.
    ///
    /// # Errors
    ///
    /// Any [`SessionError`]: there will be no further reply.
    pub(crate) async fn reply(&mut self) -> Result<(u64, Reply, Duration), SessionError> {
        loop {
            let text = self.connection.next().await?;
            let Some((id, sent, reply)) = parse_message(text, &mut self.pending)? else { continue };
            if let Reply::Return(answer) = &reply {
                self.budget.answered(answer.len()).map_err(|Exceeded(limit_bytes)| {
                    SessionError::AnsweredTooMuch { limit_bytes }
                })?;
            }
            let now = Instant::now();
            let took = now.saturating_duration_since(sent.max(self.last_reply));
            self.last_reply = now;
            return Ok((id, reply, took));
        }
    }

    /// Sends `quit` and gives the emulator a moment to end, and its wrapper to clean up; then does the same as
    /// [`end`](Self::end).
    pub(crate) async fn quit(mut self) -> String {
        self.send(&Request::new("quit"));
        self.connection.quit().await
    }

    /// Kills the emulator, reaps it, and returns the end of its stdout and stderr.
    pub(crate) async fn end(mut self) -> String {
        self.connection.end().await
    }
}

/// The form of a greeting; its content is read by the query plan.
#[derive(Deserialize)]
struct Greeting<'a> {
    #[serde(rename = "QMP", borrow)]
    _qmp: BTreeMap<String, &'a RawValue>,
}

/// The form of all other messages of a monitor.
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

/// Parses one line. `None` if it is not a reply to a pending command.
fn parse_message(
    line: &str,
    pending: &mut BTreeMap<u64, Instant>,
) -> Result<Option<(u64, Instant, Reply)>, SessionError> {
    // Serde's messages quote the input, however long.
    let malformed =
        |what: String| SessionError::Malformed { what: beginning(&what), line: beginning(line) };
    let message: Message<'_> =
        serde_json::from_str(line).map_err(|error| malformed(error.to_string()))?;
    // Ids are compared as text: 7.0 and "7" are not 7.
    let id = message.id.and_then(|id| id.get().parse().ok());
    let Some((id, sent)) = id.and_then(|id| pending.remove_entry(&id)) else { return Ok(None) };
    let reply = match (message.returned, message.error) {
        (Some(returned), None) => Reply::Return(returned.get().to_owned()),
        (None, Some(error)) => {
            let Refusal { class, desc } = serde_json::from_str(error.get())
                .map_err(|error| malformed(format!("a malformed error: {error}")))?;
            let kept = |text: String| text.chars().take(REFUSAL_CHARS).collect();
            Reply::Error { class: kept(class), desc: kept(desc) }
        }
        _ => return Err(malformed("neither an error nor a return, or both".into())),
    };
    Ok(Some((id, sent, reply)))
}

/// Splits and parses data from an emulator, in pieces of these sizes, like a session with three pending
/// commands.
pub(crate) fn parse_all(pieces: &[u8], sent: &[u8]) {
    const LINE_BYTES: usize = 4096;
    let mut pending: BTreeMap<u64, Instant> = (0..3).map(|id| (id, Instant::now())).collect();
    let mut settled = 0;
    connection::split_lines(pieces, sent, LINE_BYTES, |text| {
        let before = pending.len();
        let parsed = parse_message(text, &mut pending);
        settled += before - pending.len();
        let is_reply = matches!(parsed, Ok(Some(_)));
        assert!(!is_reply || before == pending.len() + 1, "it is a reply to a pending command");
        parsed.map(drop)
    });
    assert_eq!(settled + pending.len(), 3, "each command is settled at most once");
}

/// Returns the beginning of a line, for messages.
fn beginning(line: &str) -> String {
    line.chars().take(SHOWN_CHARS).collect()
}
