//! Capabilities under one accelerator.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use crate::facts::{Facts, answered, is_quarantined, require, require_array};
use crate::kind::{Accelerator, FactKind, Group};
use crate::model::{Fact, FactKey};
use crate::tri::Unanswered;
use crate::value::{Array, Value};
use crate::views::{CpuModel, Machine};

/// The capabilities of an emulator under one accelerator.
#[derive(Clone, Copy, Debug)]
pub struct Accelerated<'a> {
    facts: Facts<'a>,
    accelerator: Accelerator,
}

impl<'a> Accelerated<'a> {
    pub(crate) fn new(facts: Facts<'a>, accelerator: Accelerator) -> Accelerated<'a> {
        Accelerated { facts, accelerator }
    }

    /// Returns the accelerator.
    pub fn accelerator(self) -> Accelerator {
        self.accelerator
    }

    /// Returns the machine types, in the order of `query-machines`.
    pub fn machines(self) -> impl Iterator<Item = Machine<'a>> {
        self.array(FactKind::Machines).map(Machine)
    }

    /// Returns the machine type whose name or, if there is none, whose alias is `name`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn machine(self, name: &str) -> Result<Machine<'a>, Unanswered> {
        let machines = require_array(self.fact(FactKind::Machines), "machine", name)?;
        let by_alias = || answered(self.fact(FactKind::MachineAliases))?.get(name);
        let found = machines.find("name", name).or_else(by_alias);
        found.map(Machine).ok_or_else(|| Unanswered::absent("machine", name))
    }

    /// Returns the machine type that QEMU uses by default.
    ///
    /// # Errors
    /// [`Unanswered`]; [`Unanswered::Absent`] if there is none, as for ARM.
    pub fn default_machine(self) -> Result<Machine<'a>, Unanswered> {
        let machines = require_array(self.fact(FactKind::Machines), "machine", "default")?;
        let found = machines.iter().map(Machine).find(|machine| machine.is_default());
        found.ok_or_else(|| Unanswered::absent("machine", "default"))
    }

    /// Returns the CPU models, in the order of `query-cpu-definitions`.
    pub fn cpu_models(self) -> impl Iterator<Item = CpuModel<'a>> {
        self.array(FactKind::CpuDefinitions).map(CpuModel)
    }

    /// Returns the CPU model `name`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn cpu_model(self, name: &str) -> Result<CpuModel<'a>, Unanswered> {
        let models = require_array(self.fact(FactKind::CpuDefinitions), "CPU model", name)?;
        let found = models.find("name", name).map(CpuModel);
        found.ok_or_else(|| Unanswered::absent("CPU model", name))
    }

    /// Returns the expansions of the host's or the maximal CPU: `arguments` and `return` of each
    /// `query-cpu-model-expansion`, in the order of the queries. A `return` of `null` stands for a
    /// query that QEMU refused.
    pub fn host_cpu(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        self.array(FactKind::HostCpu)
            .filter_map(|query| Some((query.get("arguments")?, query.get("return")?)))
    }

    /// Returns the static or full expansion of the CPU model `name`, as
    /// `query-cpu-model-expansion` returned it.
    ///
    /// # Errors
    /// [`Unanswered::NotProbed`] without [`Group::CpuModels`].
    pub fn cpu_expansion(self, name: &str, kind: Expansion) -> Result<Value<'a>, Unanswered> {
        let what = "expansion of CPU model";
        let group = Group::CpuModels;
        let key = FactKey { group, accelerator: self.accelerator, kind: FactKind::CpuModels };
        let Some(fact) = self.facts.get(key) else {
            return Err(Unanswered::NotProbed { what, name: name.to_owned(), group });
        };
        let model = require(Some(fact), what, name)?.get(name);
        match model.ok_or_else(|| Unanswered::absent(what, name))?.get(kind.name()) {
            None => Err(Unanswered::not_queried(what, name)),
            Some(value) if value.is_null() => Err(Unanswered::refused(what, name)),
            Some(value) if is_quarantined(value) => Err(Unanswered::quarantined(what, name)),
            Some(value) => Ok(value),
        }
    }

    /// Returns a fact under this accelerator in QMP's own form.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn answer(self, kind: FactKind) -> Result<Value<'a>, Unanswered> {
        require(self.fact(kind), "answer", kind.name())
    }

    fn fact(self, kind: FactKind) -> Option<Fact<Value<'a>>> {
        self.facts.get(FactKey { group: Group::Core, accelerator: self.accelerator, kind })
    }

    fn array(self, kind: FactKind) -> impl Iterator<Item = Value<'a>> {
        answered(self.fact(kind)).and_then(Value::as_array).into_iter().flat_map(Array::iter)
    }
}

/// The two expansions of a CPU model in QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expansion {
    /// To a base model that is the same for all machines and QEMU versions, and properties.
    Static,
    /// To all properties.
    Full,
}

impl Expansion {
    /// Returns QMP's name of it (`CpuModelExpansionType`).
    pub fn name(self) -> &'static str {
        match self {
            Expansion::Static => "static",
            Expansion::Full => "full",
        }
    }
}
