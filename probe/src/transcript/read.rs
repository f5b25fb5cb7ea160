//! Reads transcripts: their passes with commands and replies.

use capscache_format::{Accelerator, Escaped, ModelError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::record::{Subject, VERSION};
use crate::model_builder::BuildError;
use crate::session::{Reply, Request};

/// The error of a transcript from which no model can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscriptError {
    /// It ends inside an object, or contains something other than JSON objects.
    #[error("cannot read the transcript: object {number} is damaged or cut off")]
    Syntax {
        /// The number of the object, counted from 1.
        number: usize,
        /// The error of the parser.
        #[source]
        source: serde_json::Error,
    },
    /// It ends after a command.
    #[error("cannot read the transcript: it is cut off: {} has no reply", Escaped::new(command))]
    NoReply {
        /// The command.
        command: String,
    },
    /// It has no end, or objects were removed from it.
    #[error("cannot read the transcript: it is cut off: it has only {found} of its objects")]
    CutOff {
        /// The number of objects.
        found: usize,
    },
    /// An object is not the one expected there.
    #[error("cannot read the transcript: object {number} is out of place: {what}")]
    OutOfPlace {
        /// The number of the object, counted from 1.
        number: usize,
        /// The object, and the one expected.
        what: &'static str,
    },
    /// Another release wrote it.
    #[error(
        "cannot read the transcript: its version is {found}, and this release reads version {VERSION}"
    )]
    OtherVersion {
        /// Its version.
        found: u32,
    },
    /// It names an accelerator that is unknown.
    #[error("cannot read the transcript: it names the unknown accelerator {0:?}")]
    UnknownAccelerator(String),
    /// It contains no pass.
    #[error("cannot read the transcript: it contains no pass")]
    Empty,
    /// It lacks the answer to a command that every probe sends.
    #[error("cannot read the transcript: it has no answer to {command}")]
    Incomplete {
        /// The command.
        command: &'static str,
    },
    /// An answer cannot be added to the model.
    #[error("cannot read the transcript: object {number} cannot be used")]
    Unusable {
        /// The number of the object, counted from 1.
        number: usize,
        /// The cause.
        #[source]
        source: BuildError,
    },
    /// It has more answers than a model can hold.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// An object of a transcript.
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

/// One pass: the accelerator, if it is recorded, and the queries.
#[derive(Default)]
pub(super) struct RecordedPass {
    pub(super) accelerator: Option<Accelerator>,
    /// The reason why it failed.
    pub(super) failure: Option<String>,
    /// The text of the greeting, where it was recorded.
    pub(super) greeting: String,
    /// The leaves that KVM supports, with the number of their object.
    pub(super) supported_cpuid: Option<(usize, String)>,
    pub(super) queries: Vec<RecordedQuery>,
}

/// A command and its reply.
pub(super) struct RecordedQuery {
    pub(super) number: usize,
    pub(super) request: Request,
    /// The reply, or the reason of a quarantine.
    pub(super) reply: Result<Reply, String>,
}

impl RecordedQuery {
    /// Returns the command and its arguments, parsed, so that equal ones compare equal.
    pub(super) fn parsed(&self) -> (&str, Option<serde_json::Value>) {
        let Request { execute, arguments } = &self.request;
        (execute, arguments.as_ref().and_then(|text| serde_json::from_str(text).ok()))
    }
}

impl RecordedPass {
    /// Returns the answer to `query-accelerators` (QEMU 10.2), which libvirt 12 queries in place of `query-kvm`.
    fn accelerators(&self) -> Option<Value> {
        let mut queries = self.queries.iter();
        let query = queries.find(|query| query.request.execute == "query-accelerators")?;
        match &query.reply {
            Ok(Reply::Return(json)) => serde_json::from_str(json).ok(),
            _ => None,
        }
    }

    /// Adds the reply to `query-kvm`, if it was not recorded and follows from `query-accelerators`.
    fn derive_kvm(&mut self) {
        let is_recorded = self.queries.iter().any(|query| query.request.execute == "query-kvm");
        let Some(answer) = self.accelerators().filter(|_| !is_recorded) else { return };
        let Some(present) = answer["present"].as_array() else { return };
        let present = present.iter().any(|name| name == "kvm");
        let kvm = json!({"enabled": answer["enabled"] == "kvm", "present": present});
        let (request, reply) = (Request::new("query-kvm"), Ok(Reply::Return(kvm.to_string())));
        let number = self.queries.last().map_or(0, |query| query.number);
        self.queries.push(RecordedQuery { number, request, reply });
    }

    /// Returns the accelerator of the pass with this index, which libvirt does not record: the one that
    /// `query-accelerators` reports. Older QEMUs only report KVM (`query-kvm`); there is a second pass, under TCG, only if
    /// the first was under a hardware accelerator.
    fn accelerator_of(
        &self,
        index: usize,
        has_second: bool,
    ) -> Result<Accelerator, TranscriptError> {
        let answer = self.accelerators();
        if let Some(name) = answer.as_ref().and_then(|answer| answer["enabled"].as_str()) {
            return Accelerator::from_name(name)
                .ok_or_else(|| TranscriptError::UnknownAccelerator(name.to_owned()));
        }
        let reports_kvm = |query: &RecordedQuery| {
            query.request.execute == "query-kvm"
                && matches!(&query.reply, Ok(Reply::Return(json)) if is_enabled(json))
        };
        Ok(match index {
            0 if self.queries.iter().any(reports_kvm) => Accelerator::Kvm,
            0 if has_second => Accelerator::Hvf,
            _ => Accelerator::Tcg,
        })
    }
}

fn is_enabled(query_kvm: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(query_kvm)
        .is_ok_and(|answer| answer["enabled"] == true && answer["present"] == true)
}

/// Reads a transcript up to its end: what it is about, and its passes with their accelerators. `first` is that of the
/// first pass, if the transcript does not record one.
pub(super) fn read(
    transcript: &str,
    first: Option<Accelerator>,
) -> Result<(Subject, Vec<(Accelerator, RecordedPass)>), TranscriptError> {
    let (subject, mut passes) = read_items(transcript)?;
    passes.iter_mut().for_each(RecordedPass::derive_kvm);
    let has_second = passes.len() > 1;
    let passes = passes.into_iter().enumerate().map(|(index, pass)| {
        let given = first.filter(|_| index == 0);
        let accelerator = match pass.accelerator.or(given) {
            Some(accelerator) => accelerator,
            None => pass.accelerator_of(index, has_second)?,
        };
        Ok((accelerator, pass))
    });
    Ok((subject, passes.collect::<Result<_, TranscriptError>>()?))
}

fn read_items(transcript: &str) -> Result<(Subject, Vec<RecordedPass>), TranscriptError> {
    let mut subject = Subject::default();
    let mut passes: Vec<RecordedPass> = Vec::new();
    let mut pending: Option<(Request, Option<&str>)> = None;
    let (mut is_whole, mut found) = (false, 0);
    let items = serde_json::Deserializer::from_str(transcript).into_iter::<Item<'_>>();
    for (number, item) in (1..).zip(items) {
        let item = item.map_err(|source| TranscriptError::Syntax { number, source })?;
        found = number;
        let misplaced = |what| TranscriptError::OutOfPlace { number, what };
        if let Some(execute) = item.execute {
            if pending.is_some() {
                return Err(misplaced("a command instead of the reply to the one before"));
            }
            if execute == "qmp_capabilities" {
                passes.push(RecordedPass::default());
            }
            let arguments = item.arguments.map(|arguments| arguments.get().to_owned());
            pending = Some((Request { execute, arguments }, item.id.map(RawValue::get)));
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
                passes.push(RecordedPass { accelerator, failure, ..RecordedPass::default() });
            } else if let Some(EndItem { lines }) = item.end {
                is_whole = lines + 1 == number;
            }
            if let (Some(greeting), Some(pass)) = (item.greeting, passes.last_mut()) {
                pass.greeting = format!("{{\"QMP\": {greeting}}}");
            }
            if let (Some(leaves), Some(pass)) = (item.supported_cpuid, passes.last_mut()) {
                pass.supported_cpuid = Some((number, leaves.get().to_owned()));
            }
            // Anything else is an event.
            continue;
        };
        let (request, id) = pending.take().ok_or_else(|| misplaced("a reply without a command"))?;
        if id != item.id.map(RawValue::get) {
            return Err(misplaced("a reply with another id than the command before it"));
        }
        let pass =
            passes.last_mut().ok_or_else(|| misplaced("a command before any qmp_capabilities"))?;
        pass.queries.push(RecordedQuery { number, request, reply });
    }
    match pending {
        Some((request, _)) => Err(TranscriptError::NoReply { command: request.execute }),
        // libvirt's recordings have no end object.
        None if subject.transcript == VERSION && !is_whole => {
            Err(TranscriptError::CutOff { found })
        }
        None => Ok((subject, passes)),
    }
}
