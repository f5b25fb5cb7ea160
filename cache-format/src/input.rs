//! What an entry's answers depend on, as recorded.

use zerocopy::IntoBytes;

use crate::kind::{InputKind, Scope};
use crate::layout::{INPUT_DIGEST, INPUT_RACY, INPUT_SIGNATURE, InputRecord, SignatureRecord};

/// What `stat` says of a file, as far as it identifies the content.
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

/// One thing that the answers depend on: what was looked at, and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is.
    pub kind: InputKind,
    /// Which answers depend on it.
    pub scope: Scope,
    /// Its path, in the bytes of the file system.
    pub name: Vec<u8>,
    /// What `stat` said; `None` where nothing was there or it could not be looked at.
    pub signature: Option<Signature>,
    /// SHA-256 of its content, where that was read.
    pub sha256: Option<[u8; 32]>,
    /// What was there, in the words of its kind; empty where signature and digest say it all.
    pub value: Vec<u8>,
    /// The signature was taken so soon after the file's last change that a further change may
    /// leave it as it is: only the content tells.
    pub racy: bool,
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

/// The inputs section: how many, the records, then the text that they point into.
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
        let record = InputRecord {
            kind: input.kind.number().into(),
            scope: match input.scope {
                Scope::Binary => 0,
                Scope::Host => 1,
            },
            flags,
            name_offset: length(&text).into(),
            name_length: length(&input.name).into(),
            value_offset: (length(&text) + length(&input.name)).into(),
            value_length: length(&input.value).into(),
            signature: input.signature.unwrap_or(nothing).into(),
            sha256: input.sha256.unwrap_or_default(),
        };
        records.extend_from_slice(record.as_bytes());
        text.extend_from_slice(&input.name);
        text.extend_from_slice(&input.value);
    }
    let count = u32::try_from(inputs.len()).unwrap_or(u32::MAX);
    [&count.to_le_bytes()[..], &records, &text].concat()
}

/// Paths are at most a few kilobytes and inputs a few dozen.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("paths of one entry stay below 4 GiB")
}
