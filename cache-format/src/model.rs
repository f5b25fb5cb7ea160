//! The capabilities of one emulator in memory: filled by a probe, and encoded as an entry.

use std::collections::BTreeMap;

use crate::error::ModelError;
use crate::failure::FailureRecord;
use crate::input::Input;
use crate::kind::{Accelerator, FactKind, Group};
use crate::pool::{Handle, Pool};
use crate::report::Report;

/// The result of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<V> {
    /// QEMU answered.
    Answered(V),
    /// QEMU answered with an error, which is in the report.
    Refused,
    /// QEMU ended or did not reply; the report has the details.
    Quarantined,
}

/// The key of a fact: its group, accelerator and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FactKey {
    /// The group, which is probed as a whole.
    pub group: Group,
    /// The accelerator that was queried.
    pub accelerator: Accelerator,
    /// The kind of the fact.
    pub kind: FactKind,
}

/// The capabilities of one emulator: facts, their inputs, and the report on the probes.
///
/// A model only ever grows by whole groups: see [`Model::replace`].
#[derive(Debug, Default)]
pub struct Model {
    /// The values of the facts.
    pub pool: Pool,
    /// Host state that the facts depend on; the emulator first.
    pub inputs: Vec<Input>,
    /// The failed probe; `None` for a model with answers.
    pub failure: Option<FailureRecord>,
    /// The report on the probes.
    pub report: Report,
    facts: BTreeMap<FactKey, Fact<Handle>>,
}

impl Model {
    /// Stores a fact; replaces one with the same key.
    pub fn set(&mut self, key: FactKey, fact: Fact<Handle>) {
        self.facts.insert(key, fact);
    }

    /// The fact under `key`, if the emulator was queried for it.
    pub fn get(&self, key: FactKey) -> Option<Fact<Handle>> {
        self.facts.get(&key).copied()
    }

    /// All facts, ordered by group, accelerator, kind.
    pub fn facts(&self) -> impl Iterator<Item = (FactKey, Fact<Handle>)> {
        self.facts.iter().map(|(key, fact)| (*key, *fact))
    }

    /// Removes the facts that depend on the host, with their part of the report.
    pub fn drop_host_facts(&mut self) {
        self.facts.retain(|key, _| !key.accelerator.needs_host());
        self.report.retain(|source| source.accelerator().is_some_and(|one| !one.needs_host()));
    }

    /// Replaces every group and accelerator of which `newer` has facts, with their part of the report,
    /// and the inputs; keeps the others.
    ///
    /// # Errors
    /// [`ModelError::TooManyValues`].
    pub fn replace(&mut self, newer: &Model) -> Result<(), ModelError> {
        let replaced: Vec<(Group, Accelerator)> =
            newer.facts.keys().map(|key| (key.group, key.accelerator)).collect();
        let is_replaced = |group, accelerator| replaced.contains(&(group, accelerator));
        self.facts.retain(|key, _| !is_replaced(key.group, key.accelerator));
        // Of passes without facts, only the latest is kept.
        let ran_again = |source| newer.report.passes.iter().any(|pass| pass.source == source);
        self.report.passes.retain(|pass| pass.failure.is_none() || !ran_again(pass.source));
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
