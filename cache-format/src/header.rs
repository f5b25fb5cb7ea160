//! The checks of a file that is opened, in order of trust: size, magic, byte order, version, length,
//! checksum, sections. Data is read only after them.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::FormatError;
use crate::layout::{
    BYTE_ORDER_MARK, FORMAT_VERSION, Header, MAGIC, MAX_SECTIONS, SECTION_HOST, SECTION_REQUIRED,
    SectionEntry, tag,
};

/// The bytes of a section, as offsets in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    start: usize,
    end: usize,
}

impl Extent {
    /// Returns these bytes of a file.
    pub(crate) fn of(self, file: &[u8]) -> &[u8] {
        file.get(self.start..self.end).unwrap_or_default()
    }
}

/// Header and section table of a file that passed the checks.
#[derive(Clone, Debug)]
pub(crate) struct Sections {
    pub(crate) strings: Extent,
    pub(crate) pool: Extent,
    content_sha256: [u8; 32],
    content: Extent,
    rows: Vec<([u8; 4], Extent)>,
}

impl Sections {
    /// Checks header and section table, at a cost that does not depend on the size of the file.
    pub(crate) fn check(bytes: &[u8]) -> Result<Sections, FormatError> {
        let (header, rest) =
            Header::read_from_prefix(bytes).map_err(|_| too_short(size_of::<Header>(), bytes))?;
        if header.magic != MAGIC {
            return Err(FormatError::NotAnEntry { found: header.magic });
        }
        if header.byte_order.get() != BYTE_ORDER_MARK {
            return Err(FormatError::DamagedHeader { what: "byte-order mark" });
        }
        if header.version.get() != FORMAT_VERSION {
            return Err(FormatError::OtherVersion {
                found: header.version.get(),
                known: FORMAT_VERSION,
            });
        }
        let found = to_u64(bytes.len());
        if header.total_bytes.get() != found {
            return Err(FormatError::WrongLength { recorded: header.total_bytes.get(), found });
        }
        if usize::from(header.header_bytes.get()) != size_of::<Header>() {
            return Err(FormatError::DamagedHeader { what: "header size" });
        }
        if header.sections.get() > MAX_SECTIONS {
            return Err(FormatError::DamagedHeader { what: "number of sections" });
        }
        let count = usize::try_from(header.sections.get()).unwrap_or(usize::MAX);
        let needed =
            count.saturating_mul(size_of::<SectionEntry>()).saturating_add(size_of::<Header>());
        let (table, content) = <[SectionEntry]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| too_short(needed, bytes))?;
        let table_bytes = bytes.len().saturating_sub(content.len());
        let raw_table = bytes.get(size_of::<Header>()..table_bytes).unwrap_or_default();
        if checksum(&header, raw_table) != header.checksum {
            return Err(FormatError::DamagedHeader { what: "checksum" });
        }
        let rows = rows(table, table_bytes, bytes.len())?;
        Ok(Sections {
            strings: find(&rows, tag::STRINGS),
            pool: find(&rows, tag::POOL),
            content_sha256: header.content_sha256,
            content: Extent { start: table_bytes, end: bytes.len() },
            rows,
        })
    }

    /// The extent of a section; empty if there is none.
    pub(crate) fn find(&self, tag: [u8; 4]) -> Extent {
        find(&self.rows, tag)
    }

    /// Compares the content with its digest in the header.
    pub(crate) fn check_digest(&self, bytes: &[u8]) -> Result<(), FormatError> {
        let found: [u8; 32] = Sha256::digest(self.content.of(bytes)).into();
        if found == self.content_sha256 {
            Ok(())
        } else {
            Err(FormatError::WrongDigest {
                recorded: Box::new(self.content_sha256),
                found: Box::new(found),
            })
        }
    }
}

fn find(rows: &[([u8; 4], Extent)], tag: [u8; 4]) -> Extent {
    rows.iter().find(|(known, _)| *known == tag).map_or(Extent::default(), |row| row.1)
}

/// Returns the checksum of a header, with its own field as zero, and of the section table that follows.
pub(crate) fn checksum(header: &Header, table: &[u8]) -> [u8; 8] {
    let header = Header { checksum: [0; 8], ..*header };
    let digest = Sha256::new().chain_update(header.as_bytes()).chain_update(table).finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

/// Checks that sections increase, lie in bounds and occur once, and that required ones are known.
fn rows(
    table: &[SectionEntry],
    table_bytes: usize,
    total: usize,
) -> Result<Vec<([u8; 4], Extent)>, FormatError> {
    let mut rows: Vec<([u8; 4], Extent)> = Vec::with_capacity(table.len());
    let mut free_from = table_bytes;
    for (number, entry) in table.iter().enumerate() {
        let damaged = |what| FormatError::DamagedHeader { what };
        // A number that this host cannot hold is beyond the end of the file, as on hosts that can.
        let start = usize::try_from(entry.offset.get()).ok();
        let length = usize::try_from(entry.length.get()).ok();
        let extent = start.zip(length).and_then(|(start, length)| {
            let end = start.checked_add(length)?;
            (end <= total).then_some(Extent { start, end })
        });
        let extent = extent.ok_or(damaged("section length"))?;
        if extent.start < free_from {
            return Err(damaged("section offset"));
        }
        if table.iter().take(number).any(|before| before.tag == entry.tag) {
            return Err(damaged("duplicate section"));
        }
        if entry.flags.get() & !(SECTION_REQUIRED | SECTION_HOST) != 0 {
            return Err(damaged("section flags"));
        }
        let known = tag::ALL.contains(&entry.tag) && entry.version.get() == 1;
        if known {
            rows.push((entry.tag, extent));
        } else if entry.flags.get() & SECTION_REQUIRED != 0 {
            return Err(FormatError::UnknownSection { tag: entry.tag });
        }
        free_from = extent.end;
    }
    Ok(rows)
}

fn too_short(needed: usize, bytes: &[u8]) -> FormatError {
    FormatError::TooShort { needed: to_u64(needed), found: to_u64(bytes.len()) }
}

fn to_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
