//! Lists of names, for what lists them: bindings, completions.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use crate::entry::Entry;
use crate::kind::{Accelerator, FactKind};
use crate::tri::Unanswered;
use crate::value::{Array, Value};
use crate::views::{CpuModel, Machine, Property};

/// A list of names in an entry. It is a key by which what was made of a list can be kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NameList {
    /// The machine types under an accelerator, in the order of `query-machines`.
    Machines(Accelerator),
    /// The CPU models under an accelerator, in the order of `query-cpu-definitions`.
    CpuModels(Accelerator),
    /// The concrete QOM types, in the order of `qom-list-types`.
    Types,
    /// The devices that `device_add` can create, in QEMU's order.
    Devices,
    /// The objects that `object_add` can create, in QEMU's order.
    Objects,
    /// The QMP commands: see [`Entry::commands`].
    Commands,
    /// The QMP events, in the order of `query-qmp-schema`.
    Events,
    /// The accelerators that QEMU was built with: see [`Entry::accelerators_present`].
    AcceleratorsPresent,
    /// The properties of a type: see [`Entry::properties`].
    Properties(String),
}

impl<B: AsRef<[u8]>> Entry<B> {
    /// Returns the names in a list.
    ///
    /// # Errors
    /// [`Unanswered`] if the emulator did not run under the accelerator, did not report what is in the list (AVR has no
    /// `query-cpu-definitions`), or has no such type.
    pub fn names(&self, list: &NameList) -> Result<Vec<&str>, Unanswered> {
        Ok(match list {
            NameList::Machines(under) => {
                let under = self.accelerator(*under)?;
                under.answer(FactKind::Machines)?;
                under.machines().map(Machine::name).collect()
            }
            NameList::CpuModels(under) => {
                let under = self.accelerator(*under)?;
                under.answer(FactKind::CpuDefinitions)?;
                under.cpu_models().map(CpuModel::name).collect()
            }
            NameList::Types => self.type_names(FactKind::Types)?,
            NameList::Devices => self.type_names(FactKind::DeviceTypes)?,
            NameList::Objects => self.type_names(FactKind::ObjectTypes)?,
            NameList::Commands => {
                self.core(FactKind::Commands).or_else(|_| self.core(FactKind::Schema))?;
                self.commands()
            }
            NameList::Events => {
                self.core(FactKind::Schema)?;
                self.schema().names("event").collect()
            }
            NameList::AcceleratorsPresent => {
                self.core(FactKind::Accelerators).or_else(|_| self.core(FactKind::Types))?;
                self.accelerators_present()
            }
            NameList::Properties(type_name) => {
                self.properties(type_name)?.iter().map(Property::name).collect()
            }
        })
    }

    fn type_names(&self, kind: FactKind) -> Result<Vec<&str>, Unanswered> {
        let types = self.core(kind)?.as_array().into_iter().flat_map(Array::iter);
        Ok(types.filter_map(|one| one.get("name").and_then(Value::as_str)).collect())
    }
}
