//! Conversations on file: what a probe asked and heard, to be learnt again without any emulator.
//!
//! A transcript is a sequence of JSON objects, written one a line. `{"capscache": …}` says what was
//! recorded, `{"pass": …}` begins the conversation with one emulator (or tells why there was none);
//! commands, replies and the greeting stand as QMP has them, a reply with the `id` of its command.
//! `{"supported-cpuid": …}` is what the kernel's KVM said meanwhile.
//! `{"quarantined": …}` stands in the place of a reply that never came, and `{"end": …}` counts the
//! objects before it, so that a transcript that was cut off does not pass for a whole one.
//!
//! libvirt's `.replies` files are such sequences too, without the first two kinds: there each
//! `qmp_capabilities` begins a pass, the first under KVM if `query-kvm` says so, a second under TCG.

use std::collections::HashSet;
use std::fmt;

use capscache_format::{
    Accelerator, Escaped, Evidence, Groups, Input, Model, ModelError, PassReport, Scope,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::learn::{LearnError, Learner, Outcome};
use crate::probe::note_failure;
use crate::questions::{Questions, Wanted};
use crate::session::{Reply, Request};

/// The version of this project's transcripts.
const VERSION: u32 = 1;

/// Longer than any real one; keeps a wrong file from being read into memory.
pub const MAX_TRANSCRIPT_BYTES: u64 = 64 << 20;

/// What a transcript is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    transcript: u32,
    pub(crate) emulator: String,
    pub(crate) executable: String,
    pub(crate) sha256: String,
    pub(crate) groups: Vec<String>,
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

/// Writes down one pass.
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

    pub(crate) fn exchange(&mut self, request: &Request, reply: &Reply) {
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

/// The transcript of a whole probe: what was said under each accelerator, or why nothing was.
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

/// A transcript that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscriptError {
    /// It ends inside an object, or holds something else than JSON objects.
    #[error("object {number} of the transcript is damaged or cut off")]
    Syntax {
        /// Which object, counted from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It ends behind a command.
    #[error("the transcript is cut off: {} has no reply", Escaped::new(command))]
    NoReply {
        /// The command.
        command: String,
    },
    /// It ends before its end, or something was taken out of it.
    #[error("the transcript is cut off: {found} of its objects are there")]
    CutOff {
        /// How many objects there are.
        found: usize,
    },
    /// A reply that is not to the command before it.
    #[error("object {number} of the transcript is out of place: {what}")]
    OutOfPlace {
        /// Which object, counted from 1.
        number: usize,
        /// What it is, and what was expected.
        what: &'static str,
    },
    /// Another release wrote it.
    #[error("the transcript has version {found}, this release reads {VERSION}")]
    OtherVersion {
        /// Its version.
        found: u32,
    },
    /// It names an accelerator that is unknown.
    #[error("the transcript names the unknown accelerator {0:?}")]
    UnknownAccelerator(String),
    /// No conversation is in it.
    #[error("the transcript holds no conversation")]
    Empty,
    /// Every probe asks this; without the answer there is no model.
    #[error("the transcript has no answer to {command}")]
    Incomplete {
        /// The command.
        command: &'static str,
    },
    /// An answer cannot be learnt.
    #[error("object {number} of the transcript cannot be used")]
    Unusable {
        /// Which object, counted from 1.
        number: usize,
        /// Why.
        #[source]
        source: LearnError,
    },
    /// There is more in it than a model can hold.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Any object of a transcript.
#[derive(Deserialize)]
struct Item<'a> {
    capscache: Option<Subject>,
    pass: Option<PassItem>,
    end: Option<EndItem>,
    execute: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "return")]
    returned: Option<&'a RawValue>,
    error: Option<ErrorItem>,
    quarantined: Option<QuarantinedItem>,
    #[serde(borrow, rename = "QMP")]
    greeting: Option<&'a RawValue>,
    #[serde(borrow, rename = "supported-cpuid")]
    supported_cpuid: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct PassItem {
    accelerator: String,
    failure: Option<String>,
}

#[derive(Deserialize)]
struct EndItem {
    lines: usize,
}

#[derive(Deserialize)]
struct ErrorItem {
    class: String,
    #[serde(default)]
    desc: String,
}

#[derive(Deserialize)]
struct QuarantinedItem {
    reason: String,
}

/// One pass as it is read: the accelerator, if it is known by now, and the exchanges.
#[derive(Default)]
struct Conversation {
    accelerator: Option<Accelerator>,
    /// Why there was none.
    failure: Option<String>,
    /// The text of the greeting, where it was recorded.
    greeting: String,
    /// What KVM supports, with the number of the object that says so.
    supported_cpuid: Option<(usize, String)>,
    exchanges: Vec<Exchange>,
}

struct Exchange {
    number: usize,
    request: Request,
    reply: Result<Reply, String>,
}

/// The model that a probe made, from its transcript.
///
/// Answers are found by what was asked, within their pass: in what order, and what else was asked,
/// does not matter. What was never asked is unknown. Where one question was asked several times, each
/// asking has its own answer: a probe asks once in a pass, and so gets the first one of each pass; it
/// never hears those of the askings that it does not make.
///
/// # Errors
/// [`TranscriptError`].
pub fn replay(transcript: &str) -> Result<Model, TranscriptError> {
    replay_under(transcript, None)
}

/// As [`replay`], of a recording whose first pass was under `first`, where it does not say so itself:
/// libvirt's do not, and of Apple's Hypervisor framework nothing in them tells.
///
/// # Errors
/// [`TranscriptError`].
pub fn replay_under(
    transcript: &str,
    first: Option<Accelerator>,
) -> Result<Model, TranscriptError> {
    let (subject, conversations) = read(transcript)?;
    let groups = subject.groups.iter().filter_map(|name| capscache_format::Group::from_name(name));
    let groups = groups.fold(Groups::CORE, |groups, group| groups | group.into());
    let mut model: Option<Model> = None;
    let has_second = conversations.len() > 1;
    for (pass, conversation) in conversations.into_iter().enumerate() {
        if let (Some(accelerator), Some(failure), Some(model)) =
            (conversation.accelerator, &conversation.failure, &mut model)
        {
            note_failure(model, true, groups, accelerator, failure);
            continue;
        }
        let told = first.filter(|_| pass == 0);
        let accelerator = conversation
            .accelerator
            .or(told)
            .unwrap_or_else(|| conversation.guess(pass, has_second));
        let wanted = Wanted {
            core: true,
            groups,
            binary: pass == 0 || !accelerator.needs_host(),
            host_models: match accelerator {
                Accelerator::Kvm | Accelerator::Hvf => &["host"],
                _ => &["host", "max"],
            },
        };
        let mut learner = Learner::new(wanted);
        // What a probe would have asked tells what the expansions are about.
        let mut questions = Questions::new(wanted);
        questions.greeted(&conversation.greeting);
        let mut asked = HashSet::new();
        for exchange in &conversation.exchanges {
            if asked.insert(exchange.question()) {
                learner.learn_exchange(exchange, &mut questions)?;
            }
        }
        if let Some((number, json)) = &conversation.supported_cpuid {
            let unusable = |source| TranscriptError::Unusable { number: *number, source };
            learner.learn_cpuid(json).map_err(unusable)?;
        }
        let learnt = learner.finish(accelerator, PassReport::default())?;
        match &mut model {
            Some(model) => model.replace(&learnt)?,
            None => model = Some(learnt),
        }
    }
    let mut model = model.ok_or(TranscriptError::Empty)?;
    for (kind, command) in [
        (capscache_format::FactKind::Version, "query-version"),
        (capscache_format::FactKind::Target, "query-target"),
    ] {
        let answered = |fact| matches!(fact, capscache_format::Fact::Answered(_));
        if !model.facts().any(|(key, fact)| key.kind == kind && answered(fact)) {
            return Err(TranscriptError::Incomplete { command });
        }
    }
    model.inputs = inputs(&subject);
    Ok(model)
}

impl Exchange {
    /// What was asked, in whatever way it was written down.
    fn question(&self) -> (&str, Option<serde_json::Value>) {
        let Request { execute, arguments } = &self.request;
        (execute, arguments.as_ref().and_then(|text| serde_json::from_str(text).ok()))
    }
}

impl Learner {
    fn learn_exchange(
        &mut self,
        exchange: &Exchange,
        questions: &mut Questions,
    ) -> Result<(), TranscriptError> {
        let Exchange { number, request, reply } = exchange;
        let unusable = |source| TranscriptError::Unusable { number: *number, source };
        let outcome = match reply {
            Ok(Reply::Return(json)) => {
                let answer = self.take_in(json).map_err(unusable)?;
                questions.heard(request, &self.model().pool, answer);
                Outcome::Answered(answer)
            }
            Ok(Reply::Error { class, desc }) => {
                Outcome::Refused { class: class.clone(), desc: desc.clone() }
            }
            Err(reason) => Outcome::Quarantined { reason: reason.clone() },
        };
        self.learn(request, &outcome, questions.is_about_host(request)).map_err(unusable)?;
        Ok(())
    }
}

impl Conversation {
    /// libvirt does not write down the accelerator: its first pass is under KVM if `query-kvm` says
    /// so; a second one, which is TCG's, is there only if the first had hardware of some kind.
    fn guess(&self, pass: usize, has_second: bool) -> Accelerator {
        let says_kvm = |exchange: &Exchange| {
            exchange.request.execute == "query-kvm"
                && matches!(&exchange.reply, Ok(Reply::Return(json)) if is_enabled(json))
        };
        match pass {
            0 if self.exchanges.iter().any(says_kvm) => Accelerator::Kvm,
            0 if has_second => Accelerator::Hvf,
            _ => Accelerator::Tcg,
        }
    }
}

fn is_enabled(query_kvm: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(query_kvm)
        .is_ok_and(|answer| answer["enabled"] == true && answer["present"] == true)
}

fn read(transcript: &str) -> Result<(Subject, Vec<Conversation>), TranscriptError> {
    let mut subject = Subject::default();
    let mut conversations: Vec<Conversation> = Vec::new();
    let mut asked: Option<(Request, Option<&str>)> = None;
    let (mut is_whole, mut found) = (false, 0);
    let items = serde_json::Deserializer::from_str(transcript).into_iter::<Item<'_>>();
    for (number, item) in (1..).zip(items) {
        let item = item.map_err(|source| TranscriptError::Syntax { number, source })?;
        found = number;
        let misplaced = |what| TranscriptError::OutOfPlace { number, what };
        if let Some(execute) = item.execute {
            if asked.is_some() {
                return Err(misplaced("a command, where the reply to the one before was due"));
            }
            if execute == "qmp_capabilities" {
                conversations.push(Conversation::default());
            }
            let arguments = item.arguments.map(|arguments| arguments.get().to_owned());
            asked = Some((Request { execute, arguments }, item.id.map(RawValue::get)));
            continue;
        }
        let reply = if let Some(returned) = item.returned {
            Ok(Reply::Return(returned.get().to_owned()))
        } else if let Some(ErrorItem { class, desc }) = item.error {
            Ok(Reply::Error { class, desc })
        } else if let Some(QuarantinedItem { reason }) = item.quarantined {
            Err(reason)
        } else {
            if let Some(found) = item.capscache {
                if found.transcript != VERSION {
                    return Err(TranscriptError::OtherVersion { found: found.transcript });
                }
                subject = found;
            } else if let Some(PassItem { accelerator, failure }) = item.pass {
                let known = Accelerator::from_name(&accelerator)
                    .ok_or(TranscriptError::UnknownAccelerator(accelerator))?;
                let accelerator = Some(known);
                conversations.push(Conversation {
                    accelerator,
                    failure,
                    ..Conversation::default()
                });
            } else if let Some(EndItem { lines }) = item.end {
                is_whole = lines + 1 == number;
            }
            if let (Some(greeting), Some(conversation)) = (item.greeting, conversations.last_mut())
            {
                conversation.greeting = format!("{{\"QMP\": {greeting}}}");
            }
            if let (Some(leaves), Some(conversation)) =
                (item.supported_cpuid, conversations.last_mut())
            {
                conversation.supported_cpuid = Some((number, leaves.get().to_owned()));
            }
            // Anything else is an event.
            continue;
        };
        let (request, id) = asked.take().ok_or_else(|| misplaced("a reply without a command"))?;
        if id != item.id.map(RawValue::get) {
            return Err(misplaced("a reply with another id than the command before it"));
        }
        let conversation = conversations
            .last_mut()
            .ok_or_else(|| misplaced("a command before any qmp_capabilities"))?;
        conversation.exchanges.push(Exchange { number, request, reply });
    }
    match asked {
        Some((request, _)) => Err(TranscriptError::NoReply { command: request.execute }),
        // libvirt's recordings have no end to miss.
        None if subject.transcript == VERSION && !is_whole => {
            Err(TranscriptError::CutOff { found })
        }
        None => Ok((subject, conversations)),
    }
}

/// What is known of the files: their names and the digest, and nothing that could be compared.
fn inputs(subject: &Subject) -> Vec<Input> {
    let executable = Evidence::Executable { environment: Vec::new() };
    let named = [
        (Evidence::Emulator, &subject.emulator, None),
        (executable, &subject.executable, digest(&subject.sha256)),
    ];
    let named = named.into_iter().filter(|(_, name, _)| !name.is_empty());
    let input = |(evidence, name, sha256): (Evidence, &String, _)| Input {
        scope: Scope::Binary,
        name: name.as_bytes().to_vec(),
        signature: None,
        sha256,
        racy: false,
        evidence,
    };
    named.map(input).collect()
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0_usize..64).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at.checked_add(2)?)?, 16).ok()?;
    }
    Some(bytes)
}
