//! One emulator's cached capabilities, read from the bytes of its file.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::error::FormatError;
use crate::facts::Facts;
use crate::header::{Extent, Sections};
use crate::input::Input;
use crate::kind::{Accelerator, FactKind, Group, Groups, InputKind, Scope};
use crate::layout::{INPUT_DIGEST, INPUT_RACY, INPUT_SIGNATURE, InputRecord, index, tag};
use crate::model::FactKey;
use crate::report::Report;

/// An entry over any bytes: a mapped file, a `Vec<u8>`, a slice.
///
/// Opening checks header and section table and costs the same for any size; values are read in
/// place. The contents are available through the getters of this type: see
/// [`accelerator`](Entry::accelerator), [`device`](Entry::device), [`schema`](Entry::schema).
#[derive(Debug)]
pub struct Entry<B> {
    bytes: B,
    sections: Sections,
}

impl<B: AsRef<[u8]>> Entry<B> {
    /// Checks header and section table.
    ///
    /// # Errors
    /// [`FormatError`]; never [`WrongDigest`](FormatError::WrongDigest) or
    /// [`DamagedRecord`](FormatError::DamagedRecord), which only [`Entry::verify`] returns.
    pub fn open(bytes: B) -> Result<Entry<B>, FormatError> {
        let sections = Sections::check(bytes.as_ref())?;
        Ok(Entry { bytes, sections })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The recorded facts.
    pub fn facts(&self) -> Facts<'_> {
        Facts::new(self.bytes(), &self.sections)
    }

    /// The accelerators that the emulator ran under, the best one first.
    pub fn accelerators(&self) -> impl Iterator<Item = Accelerator> {
        self.facts().accelerators()
    }

    /// The groups that were filled.
    pub fn groups(&self) -> Groups {
        let mut groups = Groups::CORE;
        for (group, kind) in
            [(Group::Devices, FactKind::Devices), (Group::Objects, FactKind::Objects)]
        {
            if self.facts().binary(group, kind).is_some() {
                groups = groups | group.into();
            }
        }
        let expanded = |accelerator| {
            let kind = FactKind::CpuModels;
            self.facts().get(FactKey { group: Group::CpuModels, accelerator, kind }).is_some()
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

    /// The report on the probes; `None` if it is damaged.
    pub fn report(&self) -> Option<Report> {
        Report::from_bytes(self.section(self.sections.find(tag::REPORT)))
    }

    /// The number of inputs that the section announces.
    pub(crate) fn input_count(&self) -> u32 {
        let section = self.section(self.sections.find(tag::INPUTS));
        section.first_chunk::<4>().map_or(0, |count| u32::from_le_bytes(*count))
    }

    pub(crate) fn sections(&self) -> &Sections {
        &self.sections
    }

    pub(crate) fn section(&self, extent: Extent) -> &[u8] {
        extent.of(self.bytes())
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
