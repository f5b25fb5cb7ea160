//! Answers requests from a transcript, in place of the recorded emulator.

use std::collections::{HashMap, HashSet};

use capscache_format::Accelerator;
use serde_json::{Map, Value, json};

use super::read::{RecordedPass, TranscriptError, read};
use crate::queries::{COMMANDS, DEVICE_PROPERTIES, OBJECT_PROPERTIES, TYPES, is_about_binary};
use crate::session::Reply;

/// Answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The reply. A refusal if the recording has none.
    pub reply: Reply,
    /// False if the recorded emulator might have replied otherwise: it has the command, and the recording has
    /// no reply to it with these arguments.
    pub is_known: bool,
}

/// Error: an emulator cannot be started under any of these accelerators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot run under {}: {}", accelerators.join(" or "), failure.as_deref().unwrap_or("the recording has no such pass"))]
pub struct NoAccelerator {
    /// The names of the accelerators.
    pub accelerators: Vec<String>,
    /// The output of the emulator, if it was recorded under one of them.
    pub failure: Option<String>,
}

/// A command with its arguments.
type Key = (String, Option<Value>);

/// The replies of a recorded emulator, by request.
#[derive(Debug)]
pub struct Recording {
    passes: Vec<Pass>,
    /// The names of its commands; empty if they were not recorded.
    commands: HashSet<String>,
    /// The names of its types; empty if they were not recorded.
    types: HashSet<String>,
}

#[derive(Debug)]
struct Pass {
    accelerator: Accelerator,
    failure: Option<String>,
    greeting: String,
    replies: HashMap<Key, Reply>,
}

impl Recording {
    /// Reads a transcript of this project or of libvirt; `first` is as in [`replay_under`](super::replay_under).
    ///
    /// # Errors
    /// [`TranscriptError`].
    pub fn read(
        transcript: &str,
        first: Option<Accelerator>,
    ) -> Result<Recording, TranscriptError> {
        let (_, passes) = read(transcript, first)?;
        if passes.is_empty() {
            return Err(TranscriptError::Empty);
        }
        let passes = passes.into_iter().map(|(accelerator, pass)| Pass::new(pass, accelerator));
        let mut recording =
            Recording { passes: passes.collect(), commands: HashSet::new(), types: HashSet::new() };
        for command in ["query-version", "query-target"] {
            if recording.value(&key(command, None)).is_none() {
                return Err(TranscriptError::Incomplete { command });
            }
        }
        recording.commands = match recording.value(&key(COMMANDS, None)) {
            Some(commands) => names(&commands, |_| true),
            None => recording
                .value(&key("query-qmp-schema", None))
                .map(|schema| names(&schema, |entity| entity["meta-type"] == "command"))
                .unwrap_or_default(),
        };
        let types = recording.value(&key(TYPES, None));
        recording.types = types.map(|types| names(&types, |_| true)).unwrap_or_default();
        Ok(recording)
    }

    /// Returns the answers of the emulator under the first of these accelerators that it was recorded under; names as in
    /// QEMU's `-accel`.
    ///
    /// # Errors
    /// [`NoAccelerator`], if there is none.
    pub fn under(&self, accelerators: &[String]) -> Result<Answers<'_>, NoAccelerator> {
        let mut failure = None;
        for name in accelerators {
            let of_name = |pass: &&Pass| pass.accelerator.name() == name;
            match self.passes.iter().find(of_name) {
                Some(Pass { failure: Some(text), .. }) => failure = Some(text.trim().to_owned()),
                Some(pass) => return Ok(Answers { recording: self, pass }),
                None => {}
            }
        }
        Err(NoAccelerator { accelerators: accelerators.to_owned(), failure })
    }

    /// Returns the first reply of any pass.
    fn reply(&self, key: &Key) -> Option<&Reply> {
        self.passes.iter().find_map(|pass| pass.replies.get(key))
    }

    /// Returns the first reply of any pass, parsed, unless it is a refusal.
    fn value(&self, key: &Key) -> Option<Value> {
        match self.reply(key) {
            Some(Reply::Return(json)) => serde_json::from_str(json).ok(),
            _ => None,
        }
    }
}

impl Pass {
    fn new(recorded: RecordedPass, accelerator: Accelerator) -> Pass {
        let mut replies = HashMap::new();
        for query in recorded.queries {
            let (command, arguments) = query.parsed();
            let key = key(command, arguments.as_ref());
            // A query that killed the emulator has none.
            if let Ok(reply) = query.reply {
                replies.entry(key).or_insert(reply);
            }
        }
        Pass { accelerator, failure: recorded.failure, greeting: recorded.greeting, replies }
    }
}

/// The answers of a recorded emulator under one accelerator.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'r> {
    recording: &'r Recording,
    pass: &'r Pass,
}

impl Answers<'_> {
    /// Returns the accelerator.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        self.pass.accelerator
    }

    /// Returns the line that a monitor sends first, without its end.
    #[must_use]
    pub fn greeting(&self) -> String {
        if !self.pass.greeting.is_empty() {
            return self.pass.greeting.replace(['\r', '\n'], " ");
        }
        let version = self.recording.value(&key("query-version", None));
        json!({"QMP": {"version": version, "capabilities": ["oob"]}}).to_string()
    }

    /// Returns the answer to a request that is sent after the negotiation of capabilities.
    ///
    /// Facts that do not depend on the accelerator may have been recorded under another one. A command that
    /// the emulator does not have is refused with `CommandNotFound`, properties of a type without a record with
    /// `DeviceNotFound`, and everything else with `GenericError`.
    #[must_use]
    pub fn answer(&self, command: &str, arguments: Option<&Value>) -> Answer {
        let key = key(command, arguments);
        let known = |reply| Answer { reply, is_known: true };
        if let Some(reply) = self.pass.replies.get(&key) {
            return known(reply.clone());
        }
        if let Some(value) = self.derived(&key) {
            return known(Reply::Return(value.to_string()));
        }
        match self.recording.reply(&key) {
            Some(reply) if is_about_binary(command) => known(reply.clone()),
            _ => self.refusal(&key),
        }
    }

    /// Returns what follows from other replies.
    fn derived(&self, key: &Key) -> Option<Value> {
        if key.1.is_some() {
            return None;
        }
        match key.0.as_str() {
            "query-kvm" if self.accelerator() == Accelerator::Tcg => {
                let present = self.recording.value(key)?["present"].clone();
                Some(json!({"enabled": false, "present": present}))
            }
            "query-accelerators" => {
                let mut accelerators = self.recording.value(key)?;
                let enabled = accelerators.get_mut("enabled")?;
                *enabled = self.accelerator().name().into();
                Some(accelerators)
            }
            COMMANDS if self.recording.reply(key).is_none() => {
                // The schema has them, since QEMU 2.5.
                let mut names: Vec<_> = self.recording.commands.iter().collect();
                names.sort();
                let names = names.into_iter().map(|name| json!({"name": name}));
                Some(names.collect()).filter(|_| !self.recording.commands.is_empty())
            }
            _ => None,
        }
    }

    fn refusal(&self, (command, arguments): &Key) -> Answer {
        let refuse = |is_known, class: &str, desc| {
            let class = class.to_owned();
            Answer { reply: Reply::Error { class, desc }, is_known }
        };
        let Recording { commands, types, .. } = self.recording;
        if !commands.contains(command) {
            let desc = format!("The command {command} has not been found");
            return refuse(!commands.is_empty(), "CommandNotFound", desc);
        }
        let typename = arguments.as_ref().and_then(|arguments| arguments["typename"].as_str());
        match (command.as_str(), typename) {
            (DEVICE_PROPERTIES | OBJECT_PROPERTIES, Some(name)) => {
                // The recorded list lacks abstract types, which have properties, but devices of which cannot exist.
                let is_absent = !types.is_empty() && !types.contains(name);
                let desc = format!("Device '{name}' not found");
                refuse(is_absent && command == DEVICE_PROPERTIES, "DeviceNotFound", desc)
            }
            _ => {
                let desc = format!("The recording has no reply to {command} with these arguments");
                refuse(false, "GenericError", desc)
            }
        }
    }
}

/// Returns the key of a request: no arguments and an empty object are the same.
fn key(command: &str, arguments: Option<&Value>) -> Key {
    let is_empty = |arguments: &Value| arguments.as_object().is_some_and(Map::is_empty);
    (command.to_owned(), arguments.filter(|arguments| !is_empty(arguments)).cloned())
}

/// Returns the names of those objects of a list.
fn names(list: &Value, is_one: impl Fn(&Value) -> bool) -> HashSet<String> {
    let objects = list.as_array().into_iter().flatten().filter(|object| is_one(object));
    objects.filter_map(|object| object["name"].as_str().map(str::to_owned)).collect()
}
