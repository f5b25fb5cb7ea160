//! What can be wrong with a file or a model.

use crate::hex::hex;

/// A model that cannot become an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An emulator answered far more than any QEMU does.
    #[error("the answers hold more than {limit} distinct values: this is no QEMU's answer")]
    TooManyValues {
        /// The bound, see [`MAX_DISTINCT`](crate::MAX_DISTINCT).
        limit: usize,
    },
    /// An emulator answered with arrays or objects inside one another, far deeper than any QEMU.
    #[error("the answers nest more than {limit} deep: this is no QEMU's answer")]
    TooDeep {
        /// How deep they may nest.
        limit: u32,
    },
}

/// A file that cannot be read as an entry.
///
/// Every variant but [`OtherVersion`](FormatError::OtherVersion) and
/// [`UnknownSection`](FormatError::UnknownSection) means damage: probe again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file ends inside the header or the section table.
    #[error("{found} bytes are too few: header and section table take {needed}")]
    TooShort {
        /// Bytes that were needed.
        needed: u64,
        /// Bytes that were there.
        found: u64,
    },
    /// The file is no entry at all.
    #[error("not an entry: it starts with {found:02x?}")]
    NotAnEntry {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// Another release of the format wrote it.
    #[error("format version {found}, this reader knows {known}")]
    OtherVersion {
        /// The version in the header.
        found: u16,
        /// The version that this reader knows.
        known: u16,
    },
    /// The length in the header is not that of the file.
    #[error("the header says {recorded} bytes, the file has {found}")]
    WrongLength {
        /// Length that the header states.
        recorded: u64,
        /// Length that was found.
        found: u64,
    },
    /// Header or section table were damaged.
    #[error("damaged {what} in the header or section table")]
    DamagedHeader {
        /// The field that is wrong.
        what: &'static str,
    },
    /// The file has a section that must be understood, and this reader does not know it.
    #[error("section {} must be understood, and this reader does not know it", tag.escape_ascii())]
    UnknownSection {
        /// Its tag.
        tag: [u8; 4],
    },
    /// The content is not what was written. Found by [`Entry::verify`](crate::Entry::verify) only.
    #[error("the content's SHA-256 is {}, the header says {}", hex(&**found), hex(&**recorded))]
    WrongDigest {
        /// The digest in the header.
        recorded: Box<[u8; 32]>,
        /// The digest of what is there.
        found: Box<[u8; 32]>,
    },
    /// A record points outside its section, or breaks an invariant of the format.
    #[error("damaged {what} at {at} in section {}", section.escape_ascii())]
    DamagedRecord {
        /// The section's tag.
        section: [u8; 4],
        /// What is wrong.
        what: &'static str,
        /// Where: the record's or word's number in its section.
        at: u64,
    },
}
