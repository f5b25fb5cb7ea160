//! Writes transcripts.

use std::fmt;

use capscache_format::{Accelerator, Groups};
use serde::{Deserialize, Serialize};

use crate::session::{Reply, Request};

/// The version of this project's transcripts.
pub(super) const VERSION: u32 = 1;

/// The recorded emulator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(super) transcript: u32,
    pub(super) emulator: String,
    pub(super) executable: String,
    pub(super) sha256: String,
    pub(super) groups: Vec<String>,
}

impl Subject {
    pub(crate) fn new(
        emulator: String,
        executable: String,
        sha256: &[u8; 32],
        groups: Groups,
    ) -> Subject {
        Subject {
            transcript: VERSION,
            emulator,
            executable,
            sha256: capscache_format::hex(sha256),
            groups: groups.iter().map(|group| group.name().to_owned()).collect(),
        }
    }
}

/// Records the messages of one pass.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    lines: String,
    next_id: u64,
}

impl Recorder {
    pub(crate) fn greeting(&mut self, greeting: &str) {
        self.lines.push_str(greeting.trim());
        self.lines.push('\n');
    }

    pub(crate) fn reply(&mut self, request: &Request, reply: &Reply) {
        let id = self.command(request);
        match reply {
            Reply::Return(json) => {
                self.line(format_args!("{{\"return\": {}, \"id\": {id}}}", json.trim()));
            }
            Reply::Error { class, desc } => {
                let error = serde_json::json!({"class": class, "desc": desc});
                self.line(format_args!("{{\"error\": {error}, \"id\": {id}}}"));
            }
        }
    }

    pub(crate) fn quarantined(&mut self, request: &Request, reason: &str) {
        let id = self.command(request);
        let reason = serde_json::json!({"reason": reason});
        self.line(format_args!("{{\"quarantined\": {reason}, \"id\": {id}}}"));
    }

    pub(crate) fn supported_cpuid(&mut self, json: &str) {
        self.line(format_args!("{{\"supported-cpuid\": {json}}}"));
    }

    fn command(&mut self, request: &Request) -> u64 {
        self.next_id = self.next_id.saturating_add(1);
        let id = self.next_id;
        let command = serde_json::Value::from(request.execute.as_str());
        match &request.arguments {
            Some(arguments) => self.line(format_args!(
                "{{\"execute\": {command}, \"arguments\": {arguments}, \"id\": {id}}}"
            )),
            None => self.line(format_args!("{{\"execute\": {command}, \"id\": {id}}}")),
        }
        id
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        use fmt::Write;
        let _ = writeln!(self.lines, "{line}");
    }
}

/// Returns the transcript of a whole probe: the recording of each pass, or the reason why it failed.
pub(crate) fn write(
    subject: &Subject,
    passes: &[(Accelerator, Result<Recorder, String>)],
) -> String {
    let mut text = format!("{}\n", serde_json::json!({"capscache": subject}));
    for (accelerator, recorded) in passes {
        let name = accelerator.name();
        match recorded {
            Ok(Recorder { lines, .. }) => {
                let pass = serde_json::json!({"pass": {"accelerator": name}});
                text.push_str(&format!("{pass}\n"));
                text.push_str(lines);
            }
            Err(failure) => {
                let pass = serde_json::json!({"pass": {"accelerator": name, "failure": failure}});
                text.push_str(&format!("{pass}\n"));
            }
        }
    }
    let end = serde_json::json!({"end": {"lines": text.lines().count()}});
    text.push_str(&format!("{end}\n"));
    text
}
