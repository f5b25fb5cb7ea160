//! The monitor of a recorded emulator: QMP with one client.

use std::fs::File;
use std::io::{self, Read, Write};

use capscache::probe::{Answers, Reply};
use capscache_process::Lines;
use serde_json::{Map, Value, json};

/// Bound on a command of a client. QEMU's own is 64 MiB; the longest that drivers send is an expansion of a CPU model with
/// all of its properties, some 20 KiB.
const MAX_COMMAND_BYTES: usize = 1 << 20;

/// The size of one read.
const READ_BYTES: usize = 16 << 10;

/// Reason for which the service of a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It closed the connection.
    Closed,
    /// It sent `quit`.
    Quit,
}

/// A monitor.
#[derive(Debug)]
pub(super) struct Monitor<'r> {
    pub(super) answers: Answers<'r>,
    /// Receives the requests to which the recording has no reply, a line each.
    pub(super) unanswered: Option<File>,
}

impl Monitor<'_> {
    /// Greets a client and answers its commands, one a line, until it leaves.
    ///
    /// # Errors
    /// An error of the connection; a line that is too long.
    pub(super) fn serve(&self, mut input: impl Read, mut output: impl Write) -> io::Result<End> {
        send(&mut output, &self.answers.greeting())?;
        let mut lines = Lines::new(MAX_COMMAND_BYTES);
        let mut chunk = [0; READ_BYTES];
        let mut is_negotiated = false;
        loop {
            while let Some(range) = lines.next_line().map_err(|_| too_long())? {
                let line = lines.bytes(range).trim_ascii();
                if line.is_empty() {
                    continue;
                }
                let (reply, is_quit) = self.reply(line, &mut is_negotiated)?;
                send(&mut output, &reply)?;
                if is_quit {
                    return Ok(End::Quit);
                }
            }
            let count = match input.read(&mut chunk) {
                Ok(0) => return Ok(End::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let read = chunk.get(..count).unwrap_or_default();
            lines.space(count).extend_from_slice(read);
        }
    }

    /// Returns the reply to a line, and whether the emulator quits after it.
    fn reply(&self, line: &[u8], is_negotiated: &mut bool) -> io::Result<(String, bool)> {
        let (command, arguments, id) = match parse(line) {
            Ok(request) => request,
            Err((desc, id)) => return Ok((refuse("GenericError", &desc, id.as_ref()), false)),
        };
        let id = id.as_ref();
        let not_found = |desc| (refuse("CommandNotFound", desc, id), false);
        Ok(match (command.as_str(), *is_negotiated) {
            ("qmp_capabilities", false) => {
                *is_negotiated = true;
                (succeed("{}", id), false)
            }
            ("qmp_capabilities", true) => {
                not_found("Capabilities negotiation is already complete, command ignored")
            }
            (_, false) => not_found("Expecting capabilities negotiation with 'qmp_capabilities'"),
            ("quit", true) => (succeed("{}", id), true),
            (_, true) => {
                let answer = self.answers.answer(&command, arguments.as_ref());
                if !answer.is_known {
                    self.note(&command, arguments.as_ref())?;
                }
                match answer.reply {
                    Reply::Return(json) => (succeed(&json, id), false),
                    Reply::Error { class, desc } => (refuse(&class, &desc, id), false),
                }
            }
        })
    }

    /// Adds a request to the list of those without a reply.
    fn note(&self, command: &str, arguments: Option<&Value>) -> io::Result<()> {
        let Some(mut file) = self.unanswered.as_ref() else { return Ok(()) };
        let accelerator = self.answers.accelerator().name();
        let mut request = json!({"accelerator": accelerator, "execute": command});
        if let Some(arguments) = arguments {
            request["arguments"] = arguments.clone();
        }
        // One write: several emulators may share the file.
        file.write_all(format!("{request}\n").as_bytes())
    }
}

fn too_long() -> io::Error {
    let limit = format!("a command is longer than the limit of {MAX_COMMAND_BYTES} bytes");
    io::Error::new(io::ErrorKind::InvalidData, limit)
}

fn send(output: &mut impl Write, line: &str) -> io::Result<()> {
    output.write_all(format!("{line}\r\n").as_bytes())?;
    output.flush()
}

/// A command, its arguments and its id.
type Request = (String, Option<Value>, Option<Value>);

/// Parses a line as QEMU 7.2 does; returns the description of its error, and the id if there is one.
fn parse(line: &[u8]) -> Result<Request, (String, Option<Value>)> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|error| (format!("JSON parse error, {error}"), None))?;
    let Value::Object(mut request) = value else {
        return Err(("QMP input must be a JSON object".into(), None));
    };
    let id = request.remove("id");
    match command(request) {
        Ok((command, arguments)) => Ok((command, arguments, id)),
        Err(desc) => Err((desc, id)),
    }
}

fn command(mut request: Map<String, Value>) -> Result<(String, Option<Value>), String> {
    let execute = request.remove("execute").or_else(|| request.remove("exec-oob"));
    let arguments = request.remove("arguments");
    if let Some(key) = request.keys().next() {
        return Err(format!("QMP input member '{key}' is unexpected"));
    }
    if arguments.as_ref().is_some_and(|arguments| !arguments.is_object()) {
        return Err("QMP input member 'arguments' must be an object".into());
    }
    match execute {
        Some(Value::String(command)) => Ok((command, arguments)),
        Some(_) => Err("QMP input member 'execute' must be a string".into()),
        None => Err("QMP input lacks member 'execute'".into()),
    }
}

fn succeed(json: &str, id: Option<&Value>) -> String {
    // Recordings may have replies over several lines; strings of JSON have no line ends.
    let json = json.replace(['\r', '\n'], " ");
    match id {
        Some(id) => format!("{{\"return\": {json}, \"id\": {id}}}"),
        None => format!("{{\"return\": {json}}}"),
    }
}

fn refuse(class: &str, desc: &str, id: Option<&Value>) -> String {
    let mut reply = json!({"error": {"class": class, "desc": desc}});
    if let Some(id) = id {
        reply["id"] = id.clone();
    }
    reply.to_string()
}
