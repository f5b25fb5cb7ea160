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
            // In 64 bits also where a `usize` has 32: processes of both kinds share the cache of a host.
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Some(hasher.finalize().into())
}

/// The build ID in the first bytes of an ELF file (System V ABI, chapters 4 and 5): the note of type 3 by
/// `GNU`. Word size and byte order are those of the file: objects of 32 bits also run on hosts of 64.
fn build_id(head: &[u8]) -> Option<&[u8]> {
    const NOTES: u64 = 4;
    const BUILD_ID: u64 = 3;
    let elf = Elf::of(head)?;
    let at = elf.offsets();
    let (offset, size) = (elf.address(head, at.headers)?, elf.number(head, at.header_size, 2)?);
    let count = elf.number(head, at.header_size.checked_add(2)?, 2)?;
    for index in 0..count {
        let start = offset.checked_add(index.checked_mul(size)?)?;
        let header = head.get(usize::try_from(start).ok()?..)?;
        if elf.number(header, 0, 4)? != NOTES {
            continue;
        }
        let range = |at| usize::try_from(elf.address(header, at)?).ok();
        let (start, length) = (range(at.segment_offset)?, range(at.segment_size)?);
        let Some(mut notes) = head.get(start..start.checked_add(length)?) else { continue };
        while let (Some(name), Some(size)) = (elf.number(notes, 0, 4), elf.number(notes, 4, 4)) {
            let (name, size) = (usize::try_from(name).ok()?, usize::try_from(size).ok()?);
            let content = name.checked_next_multiple_of(4)?.checked_add(12)?;
            if elf.number(notes, 8, 4)? == BUILD_ID && notes.get(12..16) == Some(b"GNU\0") {
                return notes.get(content..content.checked_add(size)?);
            }
            let end = content.checked_add(size.checked_next_multiple_of(4)?)?;
            let Some(rest) = notes.get(end..) else { break };
            notes = rest;
        }
    }
    None
}

/// The word size and the byte order of an ELF file.
#[derive(Clone, Copy)]
struct Elf {
    is_wide: bool,
    is_big_endian: bool,
}

/// Offsets of the fields that lead to a segment: in the file's header the first two, in the segment's the others.
struct Offsets {
    headers: usize,
    header_size: usize,
    segment_offset: usize,
    segment_size: usize,
}

impl Elf {
    fn of(head: &[u8]) -> Option<Elf> {
        let [0x7f, b'E', b'L', b'F', class @ 1..=2, order @ 1..=2, ..] = head else { return None };
        Some(Elf { is_wide: *class == 2, is_big_endian: *order == 2 })
    }

    fn offsets(self) -> Offsets {
        if self.is_wide {
            Offsets { headers: 32, header_size: 54, segment_offset: 8, segment_size: 32 }
        } else {
            Offsets { headers: 28, header_size: 42, segment_offset: 4, segment_size: 16 }
        }
    }

    /// A number of up to eight bytes.
    fn number(self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(size)?)?.iter();
        let append = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match self.is_big_endian {
            true => bytes.fold(0, append),
            false => bytes.rev().fold(0, append),
        })
    }

    fn address(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.number(bytes, at, if self.is_wide { 8 } else { 4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of_this_program() -> Vec<u8> {
        let mut bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        bytes.truncate(HEAD_BYTES);
        bytes
    }

    /// The head of an object with one segment: a note that is not the build ID, and the build ID `id`.
    fn object(elf: Elf, id: &[u8]) -> Vec<u8> {
        let mut object = vec![0; 128];
        let mut put = |at: usize, size: usize, number: u64| {
            let bytes = &mut object[at..at + size];
            bytes.copy_from_slice(&number.to_le_bytes()[..size]);
            if elf.is_big_endian {
                bytes.reverse();
            }
        };
        let word = if elf.is_wide { 8 } else { 4 };
        let at = elf.offsets();
        put(at.headers, word, 64);
        put(at.header_size, 2, 56);
        put(at.header_size + 2, 2, 1);
        put(64, 4, 4);
        put(64 + at.segment_offset, word, 128);
        put(64 + at.segment_size, word, 20 + 16 + id.len() as u64);
        object[..6].copy_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            1 + u8::from(elf.is_wide),
            1 + u8::from(elf.is_big_endian),
        ]);
        for (kind, content) in [(1_u32, &b"note"[..]), (3, id)] {
            for number in [4, u32::try_from(content.len()).unwrap(), kind] {
                object.extend(if elf.is_big_endian {
                    number.to_be_bytes()
                } else {
                    number.to_le_bytes()
                });
            }
            object.extend(b"GNU\0");
            object.extend(content);
        }
        object
    }

    #[test]
    fn the_build_id_is_found_in_objects_of_each_word_size_and_byte_order() {
        for (is_wide, is_big_endian) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let object = object(Elf { is_wide, is_big_endian }, b"0123456789abcdefghij");
            assert_eq!(
                build_id(&object),
                Some(&b"0123456789abcdefghij"[..]),
                "{:?}",
                &object[4..6]
            );
        }
    }

    #[test]
    fn every_module_of_an_emulator_has_its_own_build_id() {
        let Ok(libraries) = fs::read_dir("/usr/lib/x86_64-linux-gnu/qemu") else {
            println!("SKIPPED: no modules of QEMU in /usr/lib/x86_64-linux-gnu/qemu");
            return;
        };
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
