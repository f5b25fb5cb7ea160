//! The identity of modules and shared objects, independent of their time stamps: an image that was
//! unpacked again, or a package that was installed again, costs no probe.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::file::sha256_of;

/// The number of bytes of an object that are read to find its build ID: linkers place it after the program
/// headers.
const HEAD_BYTES: usize = 4096;

/// A digest of names and contents of files; `None` if one cannot be read.
pub(super) fn digest_of_contents(files: &[PathBuf]) -> Option<[u8; 32]> {
    digest(files, |file| sha256_of(file).map(Vec::from))
}

/// A digest of paths and builds of shared objects: size and the ID that the linker gave, or the
/// content where it gave none. Reading fifty objects as a whole would take longer than many a probe.
pub(super) fn digest_of_builds(objects: &[PathBuf]) -> Option<[u8; 32]> {
    digest(objects, |object| {
        let file = File::open(object)?;
        let mut head = [0; HEAD_BYTES];
        let read = file.read_at(&mut head, 0)?;
        let Some(id) = build_id(&head[..read]) else { return sha256_of(object).map(Vec::from) };
        Ok([&file.metadata()?.len().to_le_bytes(), id].concat())
    })
}

fn digest(files: &[PathBuf], identity: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Option<[u8; 32]> {
    let mut hasher = Sha256::new();
    for file in files {
        // Opening a pipe could block forever.
        if !fs::metadata(file).ok()?.is_file() {
            return None;
        }
        let identity = identity(file).ok()?;
        for part in [file.as_os_str().as_bytes(), &identity] {
            hasher.update(part.len().to_le_bytes());
            hasher.update(part);
        }
    }
    Some(hasher.finalize().into())
}

/// The build ID in the first bytes of an ELF file of this host's byte order, 64 bits (System V ABI,
/// chapters 4 and 5): the note of type 3 by `GNU`.
fn build_id(head: &[u8]) -> Option<&[u8]> {
    const NOTES: u32 = 4;
    const BUILD_ID: u32 = 3;
    let byte_order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if !head.starts_with(&[0x7f, b'E', b'L', b'F', 2, byte_order]) {
        return None;
    }
    let (offset, size, count) = (u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?);
    let mut headers = (0..usize::from(count)).map(|index| {
        let start = usize::try_from(offset).ok()?.checked_add(index * usize::from(size))?;
        head.get(start..start.checked_add(56)?)
    });
    while let Some(Some(header)) = headers.next() {
        if u32_at(header, 0)? != NOTES {
            continue;
        }
        let range = |at| u64_at(header, at).and_then(|value| usize::try_from(value).ok());
        let (start, length) = (range(8)?, range(32)?);
        let Some(mut notes) = head.get(start..start.checked_add(length)?) else { continue };
        while let (Some(name), Some(size)) = (u32_at(notes, 0), u32_at(notes, 4)) {
            let padded = |size: u32| usize::try_from(size).ok()?.checked_next_multiple_of(4);
            let content = 12_usize.checked_add(padded(name)?)?;
            let end = content.checked_add(padded(size)?)?;
            if u32_at(notes, 8)? == BUILD_ID && notes.get(12..16) == Some(b"GNU\0") {
                return notes.get(content..content + usize::try_from(size).ok()?);
            }
            let Some(rest) = notes.get(end..) else { break };
            notes = rest;
        }
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of_this_program() -> Vec<u8> {
        let mut bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        bytes.truncate(HEAD_BYTES);
        bytes
    }

    #[test]
    fn every_module_of_an_emulator_has_its_own_build_id() {
        let libraries = fs::read_dir("/usr/lib/x86_64-linux-gnu/qemu").unwrap();
        let mut ids = Vec::new();
        for library in libraries {
            let content = fs::read(library.unwrap().path()).unwrap();
            let id = build_id(&content[..HEAD_BYTES.min(content.len())]).unwrap();
            assert_eq!(id.len(), 20, "a SHA-1");
            ids.push(id.to_vec());
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert!(ids.len() == count && count > 10, "{count}");
    }

    #[test]
    fn a_truncated_or_damaged_head_does_not_panic() {
        let head = head_of_this_program();
        for length in 0..head.len() {
            let _ = build_id(&head[..length]);
        }
        for at in 0..1024 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = head.clone();
                damaged[at] = value;
                let _ = build_id(&damaged);
            }
        }
    }

    #[test]
    fn files_that_are_not_objects_are_distinguished_by_content() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "one").unwrap();
        let digest = |path: &Path| digest_of_builds(&[path.to_owned()]);
        let one = digest(&file);
        fs::write(&file, "two").unwrap();
        assert!(one.is_some() && digest(&file) != one);
        assert_eq!(digest(directory.path()), None);
    }
}
