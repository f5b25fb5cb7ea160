//! The fixed-size records of the file and their constants.
//!
//! `docs/format.md` is the specification; a test compares its tables with this module.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::kind::{Group, Scope};

/// The first eight bytes of every entry.
pub const MAGIC: [u8; 8] = *b"CAPSFILE";

/// The version of the format that this crate writes, and the only one that it reads.
///
/// Within a version only section kinds are added; anything else is a new version.
pub const FORMAT_VERSION: u16 = 2;

/// Reads as `0x0A0B0C0D` if the file was written in the byte order of the specification.
pub const BYTE_ORDER_MARK: u32 = 0x0A0B_0C0D;

/// More sections than any file of this version has; bounds the table that a hostile header announces.
pub const MAX_SECTIONS: u32 = 64;

/// The largest depth of a value: deeper than any QMP reply. Keeps a damaged file from exhausting
/// the stack.
pub(crate) const MAX_DEPTH: u32 = 160;

/// The start of the file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`BYTE_ORDER_MARK`].
    pub byte_order: U32,
    /// [`FORMAT_VERSION`].
    pub version: U16,
    /// Size of this header in bytes; the section table follows it.
    pub header_bytes: U16,
    /// Size of the whole file in bytes.
    pub total_bytes: U64,
    /// Number of [`SectionEntry`] records after the header, at most [`MAX_SECTIONS`].
    pub sections: U32,
    /// Zero.
    pub reserved: U32,
    /// SHA-256 of everything after the section table; checked by `verify` only.
    pub content_sha256: [u8; 32],
    /// The first eight bytes of the SHA-256 of the header (with this field zero) and the section
    /// table; checked on every open.
    pub checksum: [u8; 8],
}

/// One row of the section table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SectionEntry {
    /// The kind of the section: four ASCII letters, see [`tag`].
    pub tag: [u8; 4],
    /// Version of the section's own layout.
    pub version: U16,
    /// [`SECTION_REQUIRED`] and [`SECTION_HOST`]; other bits are zero.
    pub flags: U16,
    /// Offset of the first byte from the start of the file.
    pub offset: U64,
    /// Length in bytes.
    pub length: U64,
}

/// A reader to which the section is unknown must refuse the file.
pub const SECTION_REQUIRED: u16 = 1;

/// The section's facts depend on the host (kernel, KVM, CPU), not on the binary alone.
pub const SECTION_HOST: u16 = 2;

/// Tags of the sections.
pub mod tag {
    /// The string table.
    pub const STRINGS: [u8; 4] = *b"STRS";
    /// The pool of values.
    pub const POOL: [u8; 4] = *b"POOL";
    /// Facts of the binary: the core group.
    pub const CORE: [u8; 4] = *b"CORE";
    /// Facts of the host: the core group under a hardware accelerator.
    pub const HOST: [u8; 4] = *b"HOST";
    /// Facts of the binary: the properties of every device.
    pub const DEVICES: [u8; 4] = *b"DEVS";
    /// The same as `DEVICES`, for an emulator whose only accelerator is a hardware one.
    pub const DEVICES_HOST: [u8; 4] = *b"DEVH";
    /// Facts of the binary: the properties of every user-creatable object.
    pub const OBJECTS: [u8; 4] = *b"OBJS";
    /// The same as `OBJECTS`, for an emulator whose only accelerator is a hardware one.
    pub const OBJECTS_HOST: [u8; 4] = *b"OBJH";
    /// Facts of the binary: expansions of every CPU model.
    pub const CPU_MODELS: [u8; 4] = *b"CPUS";
    /// Facts of the host: expansions of every CPU model under a hardware accelerator.
    pub const CPU_MODELS_HOST: [u8; 4] = *b"CPUH";
    /// Host state that the facts depend on.
    pub const INPUTS: [u8; 4] = *b"INPT";
    /// A failed probe; in a file without answers.
    pub const FAILURE: [u8; 4] = *b"FAIL";
    /// The report on the probes.
    pub const REPORT: [u8; 4] = *b"REPT";

    /// Every tag of this version.
    pub const ALL: [[u8; 4]; 13] = [
        STRINGS,
        POOL,
        CORE,
        HOST,
        DEVICES,
        DEVICES_HOST,
        OBJECTS,
        OBJECTS_HOST,
        CPU_MODELS,
        CPU_MODELS_HOST,
        INPUTS,
        FAILURE,
        REPORT,
    ];
}

/// The sections of facts, by group and scope.
pub const FACT_SECTIONS: [(Group, Scope, [u8; 4]); 8] = [
    (Group::Core, Scope::Binary, tag::CORE),
    (Group::Core, Scope::Host, tag::HOST),
    (Group::Devices, Scope::Binary, tag::DEVICES),
    (Group::Devices, Scope::Host, tag::DEVICES_HOST),
    (Group::Objects, Scope::Binary, tag::OBJECTS),
    (Group::Objects, Scope::Host, tag::OBJECTS_HOST),
    (Group::CpuModels, Scope::Binary, tag::CPU_MODELS),
    (Group::CpuModels, Scope::Host, tag::CPU_MODELS_HOST),
];

/// One fact: its kind, its accelerator, and the value.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FactRecord {
    /// A [`FactKind`](crate::FactKind).
    pub kind: U16,
    /// An [`Accelerator`](crate::Accelerator).
    pub accelerator: u8,
    /// 1 answered, 2 refused, 3 quarantined.
    pub state: u8,
    /// The word of the value; null unless the state is *answered*.
    pub value: U32,
}

/// One input of an entry: the examined file or state, and the recorded result.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InputRecord {
    /// An [`InputKind`](crate::InputKind).
    pub kind: U16,
    /// 0: facts of the binary depend on it. 1: only facts of the host do.
    pub scope: u8,
    /// [`INPUT_SIGNATURE`], [`INPUT_DIGEST`], [`INPUT_RACY`]; other bits are zero.
    pub flags: u8,
    /// Offset of the name (a path, bytes) in the section's text.
    pub name_offset: U32,
    /// Length of the name in bytes.
    pub name_length: U32,
    /// Offset of the encoded evidence in the section's text.
    pub evidence_offset: U32,
    /// Length of the evidence in bytes.
    pub evidence_length: U32,
    /// The result of `stat`; zeros without [`INPUT_SIGNATURE`].
    pub signature: SignatureRecord,
    /// SHA-256 of the content; zeros without [`INPUT_DIGEST`].
    pub sha256: [u8; 32],
}

/// `signature` holds what was there.
pub const INPUT_SIGNATURE: u8 = 1;
/// `sha256` holds the digest of what was there.
pub const INPUT_DIGEST: u8 = 2;
/// The signature was taken so soon after the last change that a later change may not show in it.
pub const INPUT_RACY: u8 = 4;

/// The part of the result of `stat` that identifies the content of a file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct SignatureRecord {
    /// Device number.
    pub device: U64,
    /// Inode number.
    pub inode: U64,
    /// Size in bytes.
    pub size: U64,
    /// Modification time, whole seconds.
    pub mtime: I64,
    /// Change time, whole seconds.
    pub ctime: I64,
    /// Nanoseconds of the modification time.
    pub mtime_ns: U32,
    /// Nanoseconds of the change time.
    pub ctime_ns: U32,
}

/// A value: four bits of kind, twenty-eight of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Word(pub(crate) u32);

/// The kind of value of a [`Word`]; the discriminant is its upper four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Tag {
    Null = 0,
    False = 1,
    True = 2,
    /// The payload is the number.
    Small = 3,
    /// The payload is the number of a string.
    String = 4,
    /// The payload is the pool index of two words, low one first.
    Unsigned = 5,
    /// Like `Unsigned`, two's complement.
    Signed = 6,
    /// Like `Unsigned`, IEEE 754 bits.
    Double = 7,
    /// The payload is the pool index of `[n, value × n]`.
    Array = 8,
    /// The payload is the pool index of `[n, key, value × n, order × ⌈n/2⌉]`: an array of objects
    /// with the positions (16 bits each) of its elements sorted by their values of `key`.
    List = 9,
    /// The payload is the pool index of `[shape, value × n]`.
    Object = 10,
    /// The payload is the pool index of `[shape, m, value × m, code × ⌈n/4⌉]`: an object whose
    /// values are byte-sized indices into the `m` distinct ones.
    Packed = 11,
}

impl Tag {
    pub(crate) const ALL: [Tag; 12] = [
        Tag::Null,
        Tag::False,
        Tag::True,
        Tag::Small,
        Tag::String,
        Tag::Unsigned,
        Tag::Signed,
        Tag::Double,
        Tag::Array,
        Tag::List,
        Tag::Object,
        Tag::Packed,
    ];
}

impl Word {
    pub(crate) const NULL: Word = Word(0);
    /// The largest payload.
    pub(crate) const MAX: u32 = 0x0FFF_FFFF;

    /// Makes a word of `tag` and `payload`, if it fits.
    pub(crate) fn new(tag: Tag, payload: u32) -> Option<Word> {
        (payload <= Self::MAX).then_some(Word(((tag as u32) << 28) | payload))
    }

    pub(crate) fn bool(value: bool) -> Word {
        Word((if value { Tag::True } else { Tag::False } as u32) << 28)
    }

    /// The tag; `None` for one unknown to this version.
    pub(crate) fn tag(self) -> Option<Tag> {
        Tag::ALL.get(usize::try_from(self.0 >> 28).ok()?).copied()
    }

    pub(crate) fn payload(self) -> u32 {
        self.0 & Self::MAX
    }
}

/// Converts a 32-bit number to an index; one that exceeds the address space is out of all bounds.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
