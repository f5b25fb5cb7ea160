//! What is known of one emulator, in memory: what a probe fills, and what becomes an entry.

use std::collections::BTreeMap;

use crate::error::ModelError;
use crate::input::Input;
use crate::kind::{Accelerator, FactKind, Group};
use crate::pool::{Handle, Pool};
use crate::report::Report;

/// How a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<V> {
    /// QEMU answered.
    Answered(V),
    /// QEMU answered with an error; which one stands in the report.
    Refused,
    /// No answer ever came; how stands in the report.
    Quarantined,
}

/// Where a fact stands: in which group, under which accelerator, and what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FactKey {
    /// The group that is filled as a whole.
    pub group: Group,
    /// Who was asked.
    pub accelerator: Accelerator,
    /// What was asked.
    pub kind: FactKind,
}

/// What is known of one emulator: facts, what they depend on, how they were learnt.
///
/// A model only ever grows by whole groups: see [`Model::replace`].
#[derive(Debug, Default)]
pub struct Model {
    /// Where the values of the facts live.
    pub pool: Pool,
    /// What the answers depend on; the emulator first.
    pub inputs: Vec<Input>,
    /// How the probes went.
    pub report: Report,
    facts: BTreeMap<FactKey, Fact<Handle>>,
}

impl Model {
    /// Stores an answer; a later one under the same key replaces it.
    pub fn set(&mut self, key: FactKey, fact: Fact<Handle>) {
        self.facts.insert(key, fact);
    }

    /// The answer under `key`, if the question was asked.
    pub fn get(&self, key: FactKey) -> Option<Fact<Handle>> {
        self.facts.get(&key).copied()
    }

    /// All facts, ordered by group, accelerator, kind.
    pub fn facts(&self) -> impl Iterator<Item = (FactKey, Fact<Handle>)> {
        self.facts.iter().map(|(key, fact)| (*key, *fact))
    }

    /// Drops the facts that depend on the host, with their part of the report.
    pub fn drop_host_facts(&mut self) {
        self.facts.retain(|key, _| !key.accelerator.needs_host());
        self.report.retain(|source| source.accelerator().is_some_and(|one| !one.needs_host()));
    }

    /// Takes over from `newer` every group and accelerator that it has facts of, with its part of
    /// the report and its inputs; what it has none of stays as it is.
    ///
    /// # Errors
    /// [`ModelError::TooManyValues`].
    pub fn replace(&mut self, newer: &Model) -> Result<(), ModelError> {
        let replaced: Vec<(Group, Accelerator)> =
            newer.facts.keys().map(|key| (key.group, key.accelerator)).collect();
        let is_replaced = |group, accelerator| replaced.contains(&(group, accelerator));
        self.facts.retain(|key, _| !is_replaced(key.group, key.accelerator));
        // Of passes that brought no answers, only the latest is worth telling.
        let asked_again = |source| newer.report.passes.iter().any(|pass| pass.source == source);
        self.report.passes.retain(|pass| pass.failure.is_none() || !asked_again(pass.source));
        self.report.retain(|source| match (source.group(), source.accelerator()) {
            (Some(group), Some(accelerator)) => !is_replaced(group, accelerator),
            _ => false,
        });
        self.report.append(newer.report.clone());
        let mut copied = foldhash::HashMap::default();
        for (key, fact) in newer.facts() {
            let fact = match fact {
                Fact::Answered(value) => {
                    Fact::Answered(self.pool.copy_from(&newer.pool, value, &mut copied)?)
                }
                Fact::Refused => Fact::Refused,
                Fact::Quarantined => Fact::Quarantined,
            };
            self.facts.insert(key, fact);
        }
        self.inputs.clone_from(&newer.inputs);
        Ok(())
    }
}
