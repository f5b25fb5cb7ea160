//! One emulator's cached capabilities, read from the bytes of its file.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use zerocopy::FromBytes;

use crate::error::FormatError;
use crate::evidence::{Evidence, Incomplete};
use crate::facts::Facts;
use crate::failure::FailureRecord;
use crate::header::{Extent, Sections};
use crate::input::InputRef;
use crate::kind::{Accelerator, FactKind, Group, Groups, InputKind};
use crate::layout::{InputRecord, index, tag};
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

    /// The same entry, with its bytes borrowed.
    pub fn as_ref(&self) -> Entry<&[u8]> {
        Entry { bytes: self.bytes.as_ref(), sections: self.sections.clone() }
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

    /// The recorded inputs that the answers depend on; the emulator first.
    pub fn inputs(&self) -> impl Iterator<Item = InputRef<'_>> {
        let rest = self.section(self.sections.find(tag::INPUTS)).get(4..).unwrap_or_default();
        let count = index(self.input_count());
        let (records, text) =
            <[InputRecord]>::ref_from_prefix_with_elems(rest, count).unwrap_or((&[], &[]));
        // A writer lets no two inputs share text: a file in which they do must not be decoded many times over.
        let mut unread = text.len();
        records.iter().filter_map(move |record| {
            let input = InputRef::new(record, text)?;
            unread = unread.checked_sub(input.text_bytes())?;
            Some(input)
        })
    }

    /// The first input of a kind.
    pub fn input(&self, kind: InputKind) -> Option<InputRef<'_>> {
        self.inputs().find(|input| input.kind == kind)
    }

    /// The reason why answers are missing that another prober may get; `None` for a complete entry.
    pub fn incomplete(&self) -> Option<Incomplete> {
        match self.input(InputKind::Incomplete)?.evidence() {
            Evidence::Incomplete(incomplete) => Some(incomplete),
            _ => None,
        }
    }

    /// Returns whether modules could not be opened, so that what is not among the answers may exist all
    /// the same.
    pub fn lacks_modules(&self) -> bool {
        self.incomplete().is_some_and(|incomplete| !incomplete.unopened.is_empty())
    }

    /// The failed probe that the file records; `None` for an entry with answers.
    pub fn failure(&self) -> Option<FailureRecord> {
        FailureRecord::decode(self.section(self.sections.find(tag::FAILURE)))
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
