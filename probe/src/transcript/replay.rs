//! Makes a model from a transcript.

use std::collections::HashSet;

use capscache_format::{
    Accelerator, Evidence, Fact, FactKind, Group, Groups, Input, Model, PassReport, Scope,
};

use super::read::{RecordedQuery, TranscriptError, read};
use super::record::Subject;
use crate::model_builder::{ModelBuilder, Outcome, note_failure};
use crate::queries::{QueryPlan, Selection};
use crate::session::Reply;

/// Returns the model of a probe from its transcript.
///
/// Answers are found by command and arguments, within their pass: neither the order nor further commands
/// matter. An answer to a command that was never sent is unknown. If a command was sent several times, the
/// first answer of each pass counts: a probe sends it once.
///
/// # Errors
/// [`TranscriptError`].
pub fn replay(transcript: &str) -> Result<Model, TranscriptError> {
    replay_under(transcript, None)
}

/// Returns the model like [`replay`], from a recording whose first pass was under `first` if it does not
/// record an accelerator: libvirt's do not, and before QEMU 10.2 nothing in them shows Apple's Hypervisor framework.
///
/// # Errors
/// [`TranscriptError`].
pub fn replay_under(
    transcript: &str,
    first: Option<Accelerator>,
) -> Result<Model, TranscriptError> {
    let (subject, passes) = read(transcript, first)?;
    let groups = subject.groups.iter().filter_map(|name| Group::from_name(name));
    let groups = groups.fold(Groups::CORE, |groups, group| groups | group.into());
    let mut model: Option<Model> = None;
    for (index, (accelerator, pass)) in passes.into_iter().enumerate() {
        // Only a pass whose accelerator is recorded has one.
        if let (Some(failure), Some(model)) = (&pass.failure, &mut model) {
            note_failure(model, true, groups, accelerator, failure);
            continue;
        }
        let selection = Selection {
            core: true,
            groups,
            binary: index == 0 || !accelerator.needs_host(),
            host_models: match accelerator {
                Accelerator::Kvm | Accelerator::Hvf => &["host"],
                _ => &["host", "max"],
            },
        };
        let mut builder = ModelBuilder::new(selection);
        // The plan of a probe decides which expansions are about the host's CPU.
        let mut plan = QueryPlan::new(selection);
        plan.set_greeting(&pass.greeting);
        let mut answered = HashSet::new();
        for query in &pass.queries {
            if answered.insert(query.parsed()) {
                add_query(&mut builder, query, &mut plan)?;
            }
        }
        if let Some((number, json)) = &pass.supported_cpuid {
            let unusable = |source| TranscriptError::Unusable { number: *number, source };
            builder.add_cpuid(json).map_err(unusable)?;
        }
        let of_pass = builder.finish(accelerator, PassReport::default())?;
        match &mut model {
            Some(model) => model.replace(&of_pass)?,
            None => model = Some(of_pass),
        }
    }
    let mut model = model.ok_or(TranscriptError::Empty)?;
    for (kind, command) in
        [(FactKind::Version, "query-version"), (FactKind::Target, "query-target")]
    {
        let answered = |fact| matches!(fact, Fact::Answered(_));
        if !model.facts().any(|(key, fact)| key.kind == kind && answered(fact)) {
            return Err(TranscriptError::Incomplete { command });
        }
    }
    model.inputs = inputs(&subject);
    Ok(model)
}

fn add_query(
    builder: &mut ModelBuilder,
    query: &RecordedQuery,
    plan: &mut QueryPlan,
) -> Result<(), TranscriptError> {
    let RecordedQuery { number, request, reply } = query;
    let unusable = |source| TranscriptError::Unusable { number: *number, source };
    let outcome = match reply {
        Ok(Reply::Return(json)) => {
            let answer = builder.parse(json).map_err(unusable)?;
            plan.on_answer(request, &builder.model().pool, answer);
            Outcome::Answered(answer)
        }
        Ok(Reply::Error { class, desc }) => {
            Outcome::Refused { class: class.clone(), desc: desc.clone() }
        }
        Err(reason) => Outcome::Quarantined { reason: reason.clone() },
    };
    builder.add(request, &outcome, plan.is_about_host(request)).map_err(unusable)?;
    Ok(())
}

/// Returns the recorded names and the digest as inputs, without anything that could be compared.
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
