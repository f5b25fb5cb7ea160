//! A client of QMP: lines, commands with ids, replies and events.

mod outgoing;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use capscache_process::{LineTooLong, Lines};
use rustix::net::SendFlags;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::Interest;
use tokio::net::UnixStream;
use zeroize::{Zeroize, Zeroizing};

use self::outgoing::text;
pub(crate) use self::outgoing::wipe;

/// Bound on a line. The longest replies to commands that are sent here have some ten kilobytes.
const MAX_LINE_BYTES: usize = 4 << 20;

/// Bound on a part of a line in an error.
const SHOWN_CHARS: usize = 200;

/// The number of events that are kept while a reply is awaited, or for a caller that does not take them.
pub(crate) const KEPT_EVENTS: usize = 1024;

/// The bytes that are read at a time.
const READ_BYTES: usize = 16 << 10;

/// An event of a guest or its emulator.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The name in QMP, such as `SHUTDOWN`.
    pub name: String,
    /// The data.
    pub data: Map<String, Value>,
    /// The time since 1970 by the clock of the host.
    pub time: Duration,
    /// The number of events before it that were dropped, since the caller did not take them.
    pub missed: u64,
}

/// Error of the connection to a monitor.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// The emulator closed the monitor.
    #[error("it closed its monitor")]
    Closed,
    /// The monitor cannot be read or written.
    #[error("its monitor cannot be used")]
    Io(#[source] Arc<io::Error>),
    /// A line is too long.
    #[error("it sent a line of more than {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    /// A line is not a message of QMP.
    #[error("it sent {0:?}, which is not a message of QMP")]
    Malformed(String),
    /// A command was refused.
    #[error("it refused the command {command}: {desc}")]
    Refused {
        /// The command.
        command: String,
        /// The class of the error, such as `GenericError`.
        class: String,
        /// The description of the error.
        desc: String,
    },
}

impl From<io::Error> for QmpError {
    fn from(error: io::Error) -> QmpError {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => QmpError::Closed,
            _ => QmpError::Io(Arc::new(error)),
        }
    }
}

impl From<LineTooLong> for QmpError {
    fn from(_: LineTooLong) -> QmpError {
        QmpError::LineTooLong
    }
}

/// The error of a command that was refused.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) class: String,
    pub(crate) desc: String,
}

impl Refusal {
    /// Returns the error of a command.
    pub(crate) fn error(self, command: &str) -> QmpError {
        let Refusal { class, desc } = self;
        QmpError::Refused { command: command.to_owned(), class, desc }
    }
}

/// A message of a monitor.
#[derive(Debug)]
pub(crate) enum Message {
    Greeting,
    Reply(u64, Result<Value, Refusal>),
    Event(Event),
}

/// A connection to a monitor.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: UnixStream,
    lines: Lines,
    /// Overwritten when it was sent: it may contain passwords.
    outgoing: Zeroizing<Vec<u8>>,
    next_id: u64,
    /// Events that came while a reply was awaited: the last [`KEPT_EVENTS`].
    events: VecDeque<Event>,
}

impl Qmp {
    /// Uses a connected socket. Must be called in a tokio runtime with I/O enabled.
    pub(crate) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Qmp> {
        stream.set_nonblocking(true)?;
        let (outgoing, events) = Default::default();
        let (stream, lines) = (UnixStream::from_std(stream)?, Lines::new(MAX_LINE_BYTES));
        Ok(Qmp { stream, lines, outgoing, next_id: 0, events })
    }

    /// Waits for the greeting.
    pub(crate) async fn greeting(&mut self) -> Result<(), QmpError> {
        let line = self.line().await?;
        match parse(&line)? {
            Some(Message::Greeting) => Ok(()),
            _ => Err(malformed(&line)),
        }
    }

    /// Queues a command, and returns its id.
    pub(crate) fn send(&mut self, command: &str, arguments: Option<Value>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({"execute": command, "id": id});
        if let (Some(arguments), Some(message)) = (arguments, message.as_object_mut()) {
            message.insert("arguments".to_owned(), arguments);
        }
        let text = text(&message, self.outgoing.len());
        let before = std::mem::replace(&mut self.outgoing, text);
        self.outgoing.splice(..0, before.iter().copied());
        wipe(&mut message);
        id
    }

    /// Sends a command and waits for its reply. Events meanwhile are kept for [`Qmp::next`].
    pub(crate) async fn execute(
        &mut self,
        command: &str,
        arguments: Option<Value>,
    ) -> Result<Value, QmpError> {
        let id = self.send(command, arguments);
        loop {
            match self.receive().await? {
                Message::Reply(found, reply) if found == id => {
                    return reply.map_err(|refusal| refusal.error(command));
                }
                Message::Event(event) => keep(&mut self.events, event),
                _ => {}
            }
        }
    }

    /// Returns the next message; writes what is queued while it waits. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Message, QmpError> {
        match self.events.pop_front() {
            Some(event) => Ok(Message::Event(event)),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Message, QmpError> {
        loop {
            let line = self.line().await?;
            if let Some(message) = parse(&line)? {
                return Ok(message);
            }
        }
    }

    /// Returns the next line that is not blank.
    async fn line(&mut self) -> Result<String, QmpError> {
        loop {
            if let Some(range) = self.lines.next_line()? {
                let line = self.lines.bytes(range).trim_ascii();
                if line.is_empty() {
                    continue;
                }
                let text = std::str::from_utf8(line);
                return text
                    .map(str::to_owned)
                    .map_err(|_| malformed(&String::from_utf8_lossy(line)));
            }
            self.write()?;
            match self.stream.try_read_buf(self.lines.space(READ_BYTES)) {
                Ok(0) => return Err(QmpError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let interest = match self.outgoing.is_empty() {
                        true => Interest::READABLE,
                        false => Interest::READABLE | Interest::WRITABLE,
                    };
                    self.stream.ready(interest).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes as much of the queue as the socket takes.
    fn write(&mut self) -> Result<(), QmpError> {
        while !self.outgoing.is_empty() {
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                // A plain write would raise SIGPIPE in programs that do not ignore it.
                Ok(rustix::net::send(&self.stream, &self.outgoing, SendFlags::NOSIGNAL)?)
            });
            match sent {
                Ok(count) if count == self.outgoing.len() => self.outgoing.zeroize(),
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    io::ErrorKind::Interrupted => {}
                    // There may be messages that it sent before it closed the monitor: the next read decides.
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        self.outgoing.zeroize();
                    }
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(())
    }
}

/// Appends an event; the oldest one is dropped if there are too many, which the one after it counts.
fn keep(events: &mut VecDeque<Event>, event: Event) {
    events.push_back(event);
    if events.len() > KEPT_EVENTS
        && let Some(dropped) = events.pop_front()
        && let Some(next) = events.front_mut()
    {
        next.missed += dropped.missed + 1;
    }
}

/// The form of all messages. Further keys are ignored.
#[derive(Deserialize)]
struct Form {
    #[serde(rename = "QMP")]
    qmp: Option<Value>,
    id: Option<Value>,
    #[serde(default, rename = "return", deserialize_with = "some")]
    returned: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Map<String, Value>,
    timestamp: Option<Timestamp>,
}

/// A time of QMP; −1 if the host cannot read its clock.
#[derive(Deserialize)]
struct Timestamp {
    seconds: i64,
    microseconds: i64,
}

/// Keeps a `null` apart from a key that is missing.
fn some<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

/// Parses a line; `None` for a message that is none of these, such as an error without an id.
fn parse(line: &str) -> Result<Option<Message>, QmpError> {
    let form: Form = serde_json::from_str(line).map_err(|_| malformed(line))?;
    if form.qmp.is_some() {
        return Ok(Some(Message::Greeting));
    }
    if let Some(name) = form.event {
        let time = form.timestamp.and_then(|Timestamp { seconds, microseconds }| {
            let seconds = Duration::from_secs(u64::try_from(seconds).ok()?);
            Some(seconds + Duration::from_micros(u64::try_from(microseconds).ok()?))
        });
        let time = time.unwrap_or_default();
        return Ok(Some(Message::Event(Event { name, data: form.data, time, missed: 0 })));
    }
    let Some(id) = form.id.as_ref().and_then(Value::as_u64) else { return Ok(None) };
    match (form.returned, form.error) {
        (Some(value), None) => Ok(Some(Message::Reply(id, Ok(value)))),
        (None, Some(refusal)) => Ok(Some(Message::Reply(id, Err(refusal)))),
        _ => Err(malformed(line)),
    }
}

fn malformed(line: &str) -> QmpError {
    QmpError::Malformed(line.chars().take(SHOWN_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(sent: &str) -> Vec<String> {
        let mut lines = Lines::new(MAX_LINE_BYTES);
        let mut received = Vec::new();
        for byte in sent.bytes() {
            lines.space(1).push(byte);
            while let Some(range) = lines.next_line().unwrap() {
                received.push(String::from_utf8(lines.bytes(range).to_vec()).unwrap());
            }
        }
        received
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        assert_eq!(received("{}\r\n\nab\nc"), ["{}\r", "", "ab"]);
    }

    #[test]
    fn the_last_events_are_kept_and_the_first_one_counts_those_that_were_dropped() {
        let mut events = VecDeque::new();
        for number in 0..KEPT_EVENTS + 3 {
            let event = Event {
                name: number.to_string(),
                data: Map::new(),
                time: Duration::ZERO,
                missed: 0,
            };
            keep(&mut events, event);
        }
        let found: Vec<_> =
            events.iter().map(|event| (event.name.as_str(), event.missed)).collect();
        assert_eq!(found.len(), KEPT_EVENTS);
        assert_eq!(found[..2], [("3", 3), ("4", 0)]);
        assert_eq!(found.last(), Some(&("1026", 0)));
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::new(MAX_LINE_BYTES);
        lines.space(1).resize(MAX_LINE_BYTES + 1, b'x');
        let refused = lines.next_line().map_err(QmpError::from);
        assert!(matches!(refused, Err(QmpError::LineTooLong)));
    }

    #[test]
    fn kinds_of_messages_are_distinguished_and_unknown_keys_ignored() {
        let event = r#"{"timestamp":{"seconds":3,"microseconds":5},"event":"STOP","new":1}"#;
        let Ok(Some(Message::Event(event))) = parse(event) else { panic!() };
        assert_eq!((event.name.as_str(), event.time), ("STOP", Duration::from_micros(3_000_005)));
        let reply = parse(r#"{"return":null,"id":7,"new":[]}"#);
        assert!(matches!(reply, Ok(Some(Message::Reply(7, Ok(Value::Null))))));
        let refusal = parse(r#"{"id":7,"error":{"class":"GenericError","desc":"no"}}"#);
        assert!(matches!(refusal, Ok(Some(Message::Reply(7, Err(found)))) if found.desc == "no"));
        assert!(matches!(parse(r#"{"return":{},"id":"7"}"#), Ok(None)), "an id that was not sent");
        assert!(matches!(parse(r#"{"id":7}"#), Err(QmpError::Malformed(_))));
    }
}
