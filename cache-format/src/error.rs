//! Errors of files and models.

use crate::hex::hex;

/// An error of a model that cannot be encoded as an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An emulator replied with far more values than any QEMU.
    #[error("the answers hold more than {limit} distinct values")]
    TooManyValues {
        /// The limit, see [`MAX_DISTINCT`](crate::MAX_DISTINCT).
        limit: usize,
    },
    /// An emulator replied with arrays or objects that nest far deeper than those of any QEMU.
    #[error("the answers nest more than {limit} deep")]
    TooDeep {
        /// The largest depth.
        limit: u32,
    },
}

/// An error of a file that cannot be read as an entry.
///
/// Every variant but [`OtherVersion`](FormatError::OtherVersion) and
/// [`UnknownSection`](FormatError::UnknownSection) means damage: probe again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file ends inside the header or the section table.
    #[error("the file has {found} bytes, header and section table take {needed}")]
    TooShort {
        /// The required size in bytes.
        needed: u64,
        /// The actual size in bytes.
        found: u64,
    },
    /// The file is not an entry.
    #[error("not an entry: it starts with {found:02x?}")]
    NotAnEntry {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// The file has another format version.
    #[error("the format version is {found}, this reader supports {known}")]
    OtherVersion {
        /// The version in the header.
        found: u16,
        /// The version that this reader supports.
        known: u16,
    },
    /// The length in the header differs from that of the file.
    #[error("the header records {recorded} bytes, the file has {found}")]
    WrongLength {
        /// The length in the header.
        recorded: u64,
        /// The length of the file.
        found: u64,
    },
    /// Header or section table are damaged.
    #[error("damaged {what} in the header or section table")]
    DamagedHeader {
        /// The damaged field.
        what: &'static str,
    },
    /// The file has a required section that is unknown to this reader.
    #[error("the required section {} is unknown to this reader", tag.escape_ascii())]
    UnknownSection {
        /// The tag of the section.
        tag: [u8; 4],
    },
    /// The content differs from its digest. Found by [`Entry::verify`](crate::Entry::verify) only.
    #[error("the content's SHA-256 is {}, the header records {}", hex(&**found), hex(&**recorded))]
    WrongDigest {
        /// The digest in the header.
        recorded: Box<[u8; 32]>,
        /// The digest of the content.
        found: Box<[u8; 32]>,
    },
    /// A record points outside its section, or violates an invariant of the format.
    #[error("damaged {what} at {at} in section {}", section.escape_ascii())]
    DamagedRecord {
        /// The section's tag.
        section: [u8; 4],
        /// The damaged part.
        what: &'static str,
        /// The number of the record or word in its section.
        at: u64,
    },
}
