//! An entry as JSON: the output of `export --format json`, specified in `docs/json.md`.
//!
//! Keys are spelt as in QMP; each array equals the `return` of the command that it comes from. A fact
//! that was not queried is absent, one that QEMU refused is `null`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::collections::BTreeSet;

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use crate::entry::Entry;
use crate::facts::{Facts, is_quarantined};
use crate::hex::hex;
use crate::input::InputRef;
use crate::kind::{Accelerator, FactKind, Group, InputKind};
use crate::model::{Fact, FactKey};
use crate::report::{Quarantine, Refusal};
use crate::serialize::{Bounded, Budget};
use crate::value::{Array, Object, Value};

impl<B: AsRef<[u8]>> Serialize for Entry<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let budget = &Budget::default();
        let mut map = serializer.serialize_map(None)?;
        for kind in [InputKind::Emulator, InputKind::Executable] {
            if let Some(input) = self.input(kind) {
                map.serialize_entry(kind.name(), &String::from_utf8_lossy(input.name))?;
            }
        }
        if let Some(sha256) = self.input(InputKind::Executable).and_then(InputRef::sha256) {
            map.serialize_entry("sha256", &hex(sha256))?;
        }
        if let Ok(version) = self.core(FactKind::Version) {
            for (name, key) in [("version", "qemu"), ("package", "package")] {
                map.serialize_entry(name, &version.get(key).map(|part| part.within(budget)))?;
            }
        }
        map.serialize_entry("arch", self.arch())?;
        map.serialize_entry("accelerators", &PerAccelerator(self.facts(), budget))?;
        self.serialize_best(FactKind::Kvm, budget, &mut map)?;
        map.serialize_entry("accelerators-present", &self.accelerators_present())?;
        if self.schema().entries().is_some() {
            map.serialize_entry("commands", &self.commands())?;
            map.serialize_entry("events", &self.schema().names("event").collect::<Vec<_>>())?;
        }
        self.serialize_binary(FactKind::Types, budget, &mut map)?;
        for (group, kind) in
            [(Group::Devices, FactKind::Devices), (Group::Objects, FactKind::Objects)]
        {
            let lists = [self.facts().binary(group, kind), self.facts().binary(Group::Core, kind)];
            if lists.iter().any(Option::is_some) {
                map.serialize_entry(kind.name(), &PropertyLists(lists, budget))?;
            }
        }
        self.serialize_binary(FactKind::CommandLineOptions, budget, &mut map)?;
        match self.facts().binary(Group::Core, FactKind::MigrationCapabilities) {
            Some(Fact::Answered(value)) => {
                let named = value.as_array().into_iter().flat_map(Array::iter);
                let names: Vec<Bounded> = named
                    .filter_map(|one| one.get("capability"))
                    .map(|name| name.within(budget))
                    .collect();
                map.serialize_entry(FactKind::MigrationCapabilities.name(), &names)?;
            }
            Some(Fact::Refused) => {
                map.serialize_entry(FactKind::MigrationCapabilities.name(), &())?;
            }
            Some(Fact::Quarantined) | None => {}
        }
        for kind in [FactKind::TpmModels, FactKind::TpmTypes] {
            self.serialize_binary(kind, budget, &mut map)?;
        }
        for kind in [FactKind::Gic, FactKind::Sev, FactKind::Sgx] {
            self.serialize_best(kind, budget, &mut map)?;
        }
        self.serialize_binary(FactKind::Schema, budget, &mut map)?;
        let report = self.report().unwrap_or_default();
        let refused: Vec<_> = report.refused.iter().map(Refused).collect();
        map.serialize_entry("refused", &refused)?;
        let quarantined: Vec<_> = report.quarantined.iter().map(Quarantined).collect();
        map.serialize_entry("quarantined", &quarantined)?;
        map.end()
    }
}

impl<B: AsRef<[u8]>> Entry<B> {
    /// Serializes a fact of the binary.
    fn serialize_binary<M: SerializeMap>(
        &self,
        kind: FactKind,
        budget: &Budget,
        map: &mut M,
    ) -> Result<(), M::Error> {
        serialize_fact(kind, self.facts().binary(Group::Core, kind), budget, map)
    }

    /// Serializes a fact that depends on the accelerator, from the best one that was queried for it.
    fn serialize_best<M: SerializeMap>(
        &self,
        kind: FactKind,
        budget: &Budget,
        map: &mut M,
    ) -> Result<(), M::Error> {
        let fact = self.accelerators().find_map(|accelerator| {
            self.facts().get(FactKey { group: Group::Core, accelerator, kind })
        });
        serialize_fact(kind, fact, budget, map)
    }
}

fn serialize_fact<M: SerializeMap>(
    kind: FactKind,
    fact: Option<Fact<Value<'_>>>,
    budget: &Budget,
    map: &mut M,
) -> Result<(), M::Error> {
    match fact {
        Some(Fact::Answered(value)) => map.serialize_entry(kind.name(), &value.within(budget)),
        Some(Fact::Refused) => map.serialize_entry(kind.name(), &()),
        Some(Fact::Quarantined) | None => Ok(()),
    }
}

struct PerAccelerator<'a>(Facts<'a>, &'a Budget);

impl Serialize for PerAccelerator<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for accelerator in self.0.accelerators() {
            map.serialize_entry(accelerator.name(), &OneAccelerator(self.0, accelerator, self.1))?;
        }
        map.end()
    }
}

struct OneAccelerator<'a>(Facts<'a>, Accelerator, &'a Budget);

impl Serialize for OneAccelerator<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let OneAccelerator(facts, accelerator, budget) = *self;
        let fact = |group, kind| facts.get(FactKey { group, accelerator, kind });
        let mut map = serializer.serialize_map(None)?;
        for kind in [
            FactKind::Machines,
            FactKind::CpuDefinitions,
            FactKind::HostCpu,
            FactKind::SupportedCpuid,
        ] {
            serialize_fact(kind, fact(Group::Core, kind), budget, &mut map)?;
        }
        if let Some(Fact::Answered(models)) = fact(Group::CpuModels, FactKind::CpuModels) {
            map.serialize_entry(FactKind::CpuModels.name(), &Expansions(models, budget))?;
        }
        map.end()
    }
}

/// Property lists by type name: those of the group first, then those that only the core group has.
struct PropertyLists<'a>([Option<Fact<Value<'a>>>; 2], &'a Budget);

impl Serialize for PropertyLists<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut seen = BTreeSet::new();
        for fact in self.0.into_iter().flatten() {
            let Fact::Answered(lists) = fact else { continue };
            for (name, list) in lists.as_object().into_iter().flat_map(Object::iter) {
                self.1.spend(name.len())?;
                if !is_quarantined(list) && seen.insert(name) {
                    map.serialize_entry(name, &list.within(self.1))?;
                }
            }
        }
        map.end()
    }
}

/// `{static, full}` by model name, without quarantined expansions.
struct Expansions<'a>(Value<'a>, &'a Budget);

impl Serialize for Expansions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, expansions) in self.0.as_object().into_iter().flat_map(Object::iter) {
            self.1.spend(name.len())?;
            map.serialize_entry(name, &Answered(expansions, self.1))?;
        }
        map.end()
    }
}

struct Answered<'a>(Value<'a>, &'a Budget);

impl Serialize for Answered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (kind, value) in self.0.as_object().into_iter().flat_map(Object::iter) {
            self.1.spend(kind.len())?;
            if !is_quarantined(value) {
                map.serialize_entry(kind, &value.within(self.1))?;
            }
        }
        map.end()
    }
}

struct Refused<'a>(&'a Refusal);

impl Serialize for Refused<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Refusal { source, command, arguments, class, desc } = self.0;
        let mut object = serializer.serialize_struct("refused", 5)?;
        object.serialize_field("accelerator", &source.accelerator().map(Accelerator::name))?;
        object.serialize_field("command", command)?;
        object.serialize_field("arguments", &arguments.as_deref().map(JsonText))?;
        object.serialize_field("class", class)?;
        object.serialize_field("desc", desc)?;
        object.end()
    }
}

struct Quarantined<'a>(&'a Quarantine);

impl Serialize for Quarantined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Quarantine { source, command, arguments, reason } = self.0;
        let mut object = serializer.serialize_struct("quarantined", 4)?;
        object.serialize_field("accelerator", &source.accelerator().map(Accelerator::name))?;
        object.serialize_field("command", command)?;
        object.serialize_field("arguments", &arguments.as_deref().map(JsonText))?;
        object.serialize_field("reason", reason)?;
        object.end()
    }
}

/// JSON text of a report; serialized as a string if it is damaged.
struct JsonText<'a>(&'a str);

impl Serialize for JsonText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<serde_json::Value>(self.0) {
            Ok(value) => value.serialize(serializer),
            Err(_) => serializer.serialize_str(self.0),
        }
    }
}
