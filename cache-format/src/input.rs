//! The inputs of an entry: what its answers depend on, as recorded.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use crate::evidence::Evidence;
use crate::kind::{InputKind, Scope};
use crate::layout::{
    INPUT_DIGEST, INPUT_RACY, INPUT_SIGNATURE, InputRecord, SignatureRecord, index,
};

/// The part of what `stat` returns for a file that identifies its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signature {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time: seconds, nanoseconds.
    pub mtime: (i64, u32),
    /// Change time: seconds, nanoseconds.
    pub ctime: (i64, u32),
}

/// The recorded state of a file or of the host that an entry's answers depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The answers that depend on it.
    pub scope: Scope,
    /// Its path, in the bytes of the file system; empty for an input without one.
    pub name: Vec<u8>,
    /// The result of `stat`; `None` where the file was absent or could not be examined.
    pub signature: Option<Signature>,
    /// SHA-256 of its content, where that was read.
    pub sha256: Option<[u8; 32]>,
    /// The signature was taken so soon after the last change of the file that a further change may
    /// leave it as it is: only the content decides.
    pub racy: bool,
    /// Its kind, and the rest of its state.
    pub evidence: Evidence,
}

impl Input {
    /// Its kind.
    pub fn kind(&self) -> InputKind {
        self.evidence.kind()
    }

    /// Its path; empty for an input without one.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.name))
    }
}

/// An [`Input`] read where it lies in the file.
#[derive(Clone, Copy, Debug)]
pub struct InputRef<'a> {
    /// Its kind.
    pub kind: InputKind,
    /// Its path, in the bytes of the file system; empty for an input without one.
    pub name: &'a [u8],
    evidence: &'a [u8],
    record: &'a InputRecord,
}

impl<'a> InputRef<'a> {
    /// `None` for a record of a kind that is unknown to this version, or with parts outside of `text`.
    pub(crate) fn new(record: &'a InputRecord, text: &'a [u8]) -> Option<InputRef<'a>> {
        let part = |offset: U32, length: U32| {
            let start = index(offset.get());
            text.get(start..start.checked_add(index(length.get()))?)
        };
        Some(InputRef {
            kind: InputKind::from_number(record.kind.get())?,
            name: part(record.name_offset, record.name_length)?,
            evidence: part(record.evidence_offset, record.evidence_length)?,
            record,
        })
    }

    /// Its path; empty for an input without one.
    pub fn path(self) -> &'a Path {
        Path::new(OsStr::from_bytes(self.name))
    }

    /// The SHA-256 of its content, where that was read.
    pub fn sha256(self) -> Option<&'a [u8; 32]> {
        (self.record.flags & INPUT_DIGEST != 0).then_some(&self.record.sha256)
    }

    /// Its evidence, decoded.
    pub fn evidence(self) -> Evidence {
        Evidence::decode(self.kind, self.evidence)
    }

    /// The length of its path and evidence together.
    pub(crate) fn text_bytes(self) -> usize {
        self.name.len().saturating_add(self.evidence.len())
    }

    /// Returns whether the record holds nothing that is unknown to this version.
    pub(crate) fn is_known(self) -> bool {
        let unknown = !(INPUT_SIGNATURE | INPUT_DIGEST | INPUT_RACY);
        self.record.scope <= 1
            && self.record.flags & unknown == 0
            && !matches!(self.evidence(), Evidence::Undecodable { .. })
    }

    /// The record as an owned value.
    pub fn to_owned(self) -> Input {
        Input {
            scope: if self.record.scope == 0 { Scope::Binary } else { Scope::Host },
            name: self.name.to_vec(),
            signature: (self.record.flags & INPUT_SIGNATURE != 0)
                .then(|| self.record.signature.into()),
            sha256: self.sha256().copied(),
            racy: self.record.flags & INPUT_RACY != 0,
            evidence: self.evidence(),
        }
    }
}

impl From<Signature> for SignatureRecord {
    fn from(signature: Signature) -> SignatureRecord {
        SignatureRecord {
            device: signature.device.into(),
            inode: signature.inode.into(),
            size: signature.size.into(),
            mtime: signature.mtime.0.into(),
            ctime: signature.ctime.0.into(),
            mtime_ns: signature.mtime.1.into(),
            ctime_ns: signature.ctime.1.into(),
        }
    }
}

impl From<SignatureRecord> for Signature {
    fn from(record: SignatureRecord) -> Signature {
        Signature {
            device: record.device.get(),
            inode: record.inode.get(),
            size: record.size.get(),
            mtime: (record.mtime.get(), record.mtime_ns.get()),
            ctime: (record.ctime.get(), record.ctime_ns.get()),
        }
    }
}

/// Encodes the inputs section: the number of records, the records, then the text that they point into.
pub(crate) fn encode(inputs: &[Input]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut records = Vec::new();
    for input in inputs {
        let mut flags = 0;
        if input.signature.is_some() {
            flags |= INPUT_SIGNATURE;
        }
        if input.sha256.is_some() {
            flags |= INPUT_DIGEST;
        }
        if input.racy {
            flags |= INPUT_RACY;
        }
        let nothing = Signature { device: 0, inode: 0, size: 0, mtime: (0, 0), ctime: (0, 0) };
        let evidence = input.evidence.encode();
        let record = InputRecord {
            kind: input.kind().number().into(),
            scope: match input.scope {
                Scope::Binary => 0,
                Scope::Host => 1,
            },
            flags,
            name_offset: length(&text).into(),
            name_length: length(&input.name).into(),
            evidence_offset: (length(&text) + length(&input.name)).into(),
            evidence_length: length(&evidence).into(),
            signature: input.signature.unwrap_or(nothing).into(),
            sha256: input.sha256.unwrap_or_default(),
        };
        records.extend_from_slice(record.as_bytes());
        text.extend_from_slice(&input.name);
        text.extend_from_slice(&evidence);
    }
    let count = u32::try_from(inputs.len()).unwrap_or(u32::MAX);
    [&count.to_le_bytes()[..], &records, &text].concat()
}

/// Paths are at most a few kilobytes and inputs a few dozen.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("paths of one entry stay below 4 GiB")
}
