//! One emulator's cached answers, read from the bytes of its file.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::error::FormatError;
use crate::header::{Extent, Sections};
use crate::input::{Input, Scope};
use crate::kind::{Accelerator, FactKind, Group, Groups, InputKind};
use crate::layout::{
    FACT_SECTIONS, FactRecord, INPUT_DIGEST, INPUT_RACY, INPUT_SIGNATURE, InputRecord, index, tag,
};
use crate::model::{Fact, FactKey};
use crate::report::Report;
use crate::value::{Store, Value};

/// An entry over any bytes: a mapped file, a `Vec<u8>`, a slice.
///
/// Opening checks header and section table and costs the same for any size; answers are read
/// where they lie. What the entry says is in the getters of this type: see
/// [`accelerator`](Entry::accelerator), [`device`](Entry::device), [`schema`](Entry::schema).
#[derive(Debug)]
pub struct Entry<B> {
    bytes: B,
    sections: Sections,
    strings: Extent,
    pool: Extent,
}

impl<B: AsRef<[u8]>> Entry<B> {
    /// Checks header and section table.
    ///
    /// # Errors
    /// [`FormatError`]; never [`WrongDigest`](FormatError::WrongDigest) or
    /// [`DamagedRecord`](FormatError::DamagedRecord), which take [`Entry::verify`].
    pub fn open(bytes: B) -> Result<Entry<B>, FormatError> {
        let sections = Sections::check(bytes.as_ref())?;
        let (strings, pool) = (sections.find(tag::STRINGS), sections.find(tag::POOL));
        Ok(Entry { bytes, sections, strings, pool })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The answer under `key`; `None` if the question was not asked.
    pub fn fact(&self, key: FactKey) -> Option<Fact<Value<'_>>> {
        let scope = key.accelerator.scope();
        let (.., tag) = FACT_SECTIONS.iter().find(|row| row.0 == key.group && row.1 == scope)?;
        self.records(*tag).iter().find_map(|record| {
            let (kind, accelerator, fact) = self.read(record)?;
            (kind == key.kind && accelerator == key.accelerator).then_some(fact)
        })
    }

    /// The answer to a question about the binary, from whichever accelerator was asked.
    pub(crate) fn binary_fact(&self, group: Group, kind: FactKind) -> Option<Fact<Value<'_>>> {
        [Accelerator::Tcg, Accelerator::Qtest, Accelerator::Kvm, Accelerator::Hvf]
            .into_iter()
            .find_map(|accelerator| self.fact(FactKey { group, accelerator, kind }))
    }

    /// All facts; those of an unknown kind are skipped.
    pub fn facts(&self) -> impl Iterator<Item = (FactKey, Fact<Value<'_>>)> {
        FACT_SECTIONS.iter().flat_map(move |(group, _, tag)| {
            self.records(*tag).iter().filter_map(move |record| {
                let (kind, accelerator, fact) = self.read(record)?;
                Some((FactKey { group: *group, accelerator, kind }, fact))
            })
        })
    }

    /// The accelerators that the emulator ran under, the best one first.
    pub fn accelerators(&self) -> impl Iterator<Item = Accelerator> {
        Accelerator::ALL.iter().copied().filter(move |&accelerator| {
            let key = FactKey { group: Group::Core, accelerator, kind: FactKind::Ran };
            matches!(self.fact(key), Some(Fact::Answered(_)))
        })
    }

    /// The groups that were filled.
    pub fn groups(&self) -> Groups {
        let mut groups = Groups::CORE;
        for (group, kind) in
            [(Group::Devices, FactKind::Devices), (Group::Objects, FactKind::Objects)]
        {
            if self.binary_fact(group, kind).is_some() {
                groups = groups | group.into();
            }
        }
        let expanded = |accelerator| {
            let kind = FactKind::CpuModels;
            self.fact(FactKey { group: Group::CpuModels, accelerator, kind }).is_some()
        };
        let mut ran = self.accelerators().peekable();
        if ran.peek().is_some() && ran.all(expanded) {
            groups = groups | Groups::CPU_MODELS;
        }
        groups
    }

    /// What the answers depend on, as recorded; the emulator first.
    pub fn inputs(&self) -> impl Iterator<Item = InputRef<'_>> {
        let rest = self.section(self.sections.find(tag::INPUTS)).get(4..).unwrap_or_default();
        let count = index(self.input_count());
        let (records, text) =
            <[InputRecord]>::ref_from_prefix_with_elems(rest, count).unwrap_or((&[], &[]));
        records.iter().filter_map(move |record| InputRef::new(record, text))
    }

    /// The first input of a kind.
    pub fn input(&self, kind: InputKind) -> Option<InputRef<'_>> {
        self.inputs().find(|input| input.kind == kind)
    }

    /// How the probes went; `None` if the report was damaged.
    pub fn report(&self) -> Option<Report> {
        Report::from_bytes(self.section(self.sections.find(tag::REPORT)))
    }

    /// How many inputs the section announces.
    pub(crate) fn input_count(&self) -> u32 {
        let section = self.section(self.sections.find(tag::INPUTS));
        section.first_chunk::<4>().map_or(0, |count| u32::from_le_bytes(*count))
    }

    pub(crate) fn store(&self) -> Store<'_> {
        Store::new(self.section(self.strings), self.section(self.pool))
    }

    pub(crate) fn sections(&self) -> &Sections {
        &self.sections
    }

    pub(crate) fn section(&self, extent: Extent) -> &[u8] {
        self.bytes.as_ref().get(extent.start..extent.end).unwrap_or_default()
    }

    pub(crate) fn records(&self, tag: [u8; 4]) -> &[FactRecord] {
        let bytes = self.section(self.sections.find(tag));
        let whole = bytes.len().checked_div(size_of::<FactRecord>()).unwrap_or_default();
        <[FactRecord]>::ref_from_prefix_with_elems(bytes, whole).map_or(&[], |(records, _)| records)
    }

    pub(crate) fn read(
        &self,
        record: &FactRecord,
    ) -> Option<(FactKind, Accelerator, Fact<Value<'_>>)> {
        let fact = match record.state {
            1 => Fact::Answered(self.store().value(record.value.get())),
            2 => Fact::Refused,
            3 => Fact::Quarantined,
            _ => return None,
        };
        let kind = FactKind::from_number(record.kind.get())?;
        Some((kind, Accelerator::from_number(record.accelerator)?, fact))
    }
}

/// An [`Input`] read where it lies.
#[derive(Clone, Copy, Debug)]
pub struct InputRef<'a> {
    /// What it is.
    pub kind: InputKind,
    /// Its path, in the bytes of the file system.
    pub name: &'a [u8],
    /// What was there, in the words of its kind.
    pub value: &'a [u8],
    record: &'a InputRecord,
}

impl<'a> InputRef<'a> {
    fn new(record: &'a InputRecord, text: &'a [u8]) -> Option<InputRef<'a>> {
        let part = |offset: U32, length: U32| {
            let start = index(offset.get());
            text.get(start..start.checked_add(index(length.get()))?)
        };
        Some(InputRef {
            kind: InputKind::from_number(record.kind.get())?,
            name: part(record.name_offset, record.name_length)?,
            value: part(record.value_offset, record.value_length)?,
            record,
        })
    }

    /// The SHA-256 of its content, where that was read.
    pub fn sha256(self) -> Option<&'a [u8; 32]> {
        (self.record.flags & INPUT_DIGEST != 0).then_some(&self.record.sha256)
    }

    /// Whether the record says nothing that this version does not know.
    pub(crate) fn is_known(self) -> bool {
        let unknown = !(INPUT_SIGNATURE | INPUT_DIGEST | INPUT_RACY);
        self.record.scope <= 1 && self.record.flags & unknown == 0
    }

    /// The record as an owned value.
    pub fn to_owned(self) -> Input {
        Input {
            kind: self.kind,
            scope: if self.record.scope == 0 { Scope::Binary } else { Scope::Host },
            name: self.name.to_vec(),
            value: self.value.to_vec(),
            signature: (self.record.flags & INPUT_SIGNATURE != 0)
                .then(|| self.record.signature.into()),
            sha256: self.sha256().copied(),
            racy: self.record.flags & INPUT_RACY != 0,
        }
    }
}
