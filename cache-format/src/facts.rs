//! The recorded facts of an entry.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use zerocopy::FromBytes;

use crate::header::Sections;
use crate::kind::{Accelerator, FactKind, Group};
use crate::layout::{FACT_SECTIONS, FactRecord};
use crate::model::{Fact, FactKey};
use crate::schema::Schema;
use crate::store::Store;
use crate::tri::Unanswered;
use crate::value::{Array, Value};

/// The recorded facts of an [`Entry`](crate::Entry), independent of the type that holds its bytes.
///
/// Cheap to copy; values are read in place.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    bytes: &'a [u8],
    sections: &'a Sections,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(bytes: &'a [u8], sections: &'a Sections) -> Facts<'a> {
        Facts { bytes, sections }
    }

    /// Returns the fact under `key`; `None` if the emulator was not queried for it.
    pub fn get(self, key: FactKey) -> Option<Fact<Value<'a>>> {
        let scope = key.accelerator.scope();
        let (.., tag) = FACT_SECTIONS.iter().find(|row| row.0 == key.group && row.1 == scope)?;
        self.records(*tag).iter().find_map(|record| {
            let (kind, accelerator, fact) = self.read(record)?;
            (kind == key.kind && accelerator == key.accelerator).then_some(fact)
        })
    }

    /// Returns all facts; those of an unknown kind are skipped.
    pub fn iter(self) -> impl Iterator<Item = (FactKey, Fact<Value<'a>>)> {
        FACT_SECTIONS.iter().flat_map(move |(group, _, tag)| {
            self.records(*tag).iter().filter_map(move |record| {
                let (kind, accelerator, fact) = self.read(record)?;
                Some((FactKey { group: *group, accelerator, kind }, fact))
            })
        })
    }

    /// Returns a fact of the binary in the core group, in QMP's own form.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn core(self, kind: FactKind) -> Result<Value<'a>, Unanswered> {
        require(self.binary(Group::Core, kind), "answer", kind.name())
    }

    /// Returns the QMP schema (`query-qmp-schema`).
    pub fn schema(self) -> Schema<'a> {
        Schema::new(answered(self.binary(Group::Core, FactKind::Schema)))
    }

    /// Returns a fact of the binary, from any accelerator that was queried for it.
    pub(crate) fn binary(self, group: Group, kind: FactKind) -> Option<Fact<Value<'a>>> {
        [Accelerator::Tcg, Accelerator::Qtest, Accelerator::Kvm, Accelerator::Hvf]
            .into_iter()
            .find_map(|accelerator| self.get(FactKey { group, accelerator, kind }))
    }

    /// Returns the accelerators that the emulator ran under, the best one first.
    pub(crate) fn accelerators(self) -> impl Iterator<Item = Accelerator> {
        Accelerator::ALL.iter().copied().filter(move |&accelerator| {
            let key = FactKey { group: Group::Core, accelerator, kind: FactKind::Ran };
            matches!(self.get(key), Some(Fact::Answered(_)))
        })
    }

    pub(crate) fn store(self) -> Store<'a> {
        let Sections { strings, pool, .. } = self.sections;
        Store::new(strings.of(self.bytes), pool.of(self.bytes))
    }

    pub(crate) fn records(self, tag: [u8; 4]) -> &'a [FactRecord] {
        let bytes = self.sections.find(tag).of(self.bytes);
        let whole = bytes.len().checked_div(size_of::<FactRecord>()).unwrap_or_default();
        <[FactRecord]>::ref_from_prefix_with_elems(bytes, whole).map_or(&[], |(records, _)| records)
    }

    pub(crate) fn read(
        self,
        record: &FactRecord,
    ) -> Option<(FactKind, Accelerator, Fact<Value<'a>>)> {
        let fact = match record.state {
            1 => Fact::Answered(Value::new(self.store(), record.value.get())),
            2 => Fact::Refused,
            3 => Fact::Quarantined,
            _ => return None,
        };
        let kind = FactKind::from_number(record.kind.get())?;
        Some((kind, Accelerator::from_number(record.accelerator)?, fact))
    }
}

/// Returns the value of a fact, where the reason for a missing one does not matter.
pub(crate) fn answered(fact: Option<Fact<Value<'_>>>) -> Option<Value<'_>> {
    match fact {
        Some(Fact::Answered(value)) => Some(value),
        _ => None,
    }
}

/// Returns the value of a fact, or the reason why there is none.
pub(crate) fn require<'a>(
    fact: Option<Fact<Value<'a>>>,
    what: &'static str,
    name: &str,
) -> Result<Value<'a>, Unanswered> {
    match fact {
        Some(Fact::Answered(value)) => Ok(value),
        Some(Fact::Refused) => Err(Unanswered::refused(what, name)),
        Some(Fact::Quarantined) => Err(Unanswered::quarantined(what, name)),
        None => Err(Unanswered::not_queried(what, name)),
    }
}

/// Returns the value of a fact that is an array.
pub(crate) fn require_array<'a>(
    fact: Option<Fact<Value<'a>>>,
    what: &'static str,
    name: &str,
) -> Result<Array<'a>, Unanswered> {
    require(fact, what, name)?.as_array().ok_or_else(|| Unanswered::not_queried(what, name))
}

/// Returns true if a value of a map marks a query after which no reply came (`null` marks one that
/// QEMU answered with an error).
pub(crate) fn is_quarantined(value: Value<'_>) -> bool {
    value.as_bool() == Some(false)
}
