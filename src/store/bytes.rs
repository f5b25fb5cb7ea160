//! The bytes of an entry's file, mapped where that is safe.

#![expect(unsafe_code, reason = "mapping a file is unsafe; this is the one place that does it")]

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use memmap2::Mmap;

/// An entry's bytes: the map of its file, or a copy where a map could change under its reader.
pub struct Bytes(Source);

enum Source {
    Map(Mmap),
    Copy(Vec<u8>),
}

impl Bytes {
    /// Maps or reads a file of `length` bytes.
    pub(crate) fn of(file: &File, length: u64) -> io::Result<Bytes> {
        if length == 0 || is_remote(file) {
            let mut copy = Vec::new();
            file.take(length.saturating_add(1)).read_to_end(&mut copy)?;
            return Ok(Bytes(Source::Copy(copy)));
        }
        // JUSTIFICATION: reading the file in place makes opening an entry cost the same for any size, and lets
        // processes share its pages.
        // SAFETY: the map is undefined behaviour only if the file changes below it. Entries are
        // never changed in place: every writer of this library writes another file and renames
        // it. What remains is a user who writes to the file by hand (the reader checks
        // every access and survives any content) or truncates it (reading the lost pages is
        // SIGBUS); docs/format.md documents it, and the directory has to be writable by the cache's
        // owner only.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Bytes(Source::Map(map)))
    }

    /// Bytes that are in no file.
    pub(crate) fn in_memory(bytes: Vec<u8>) -> Bytes {
        Bytes(Source::Copy(bytes))
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Source::Map(map) => map,
            Source::Copy(copy) => copy,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Source::Map(_) => "mapped",
            Source::Copy(_) => "copied",
        };
        write!(f, "{} bytes, {kind}", self.as_ref().len())
    }
}

/// Returns whether a file is on a file system where a page can fail to arrive long after the map was made.
fn is_remote(file: &File) -> bool {
    const NFS: u32 = 0x6969;
    const CIFS: u32 = 0xFF53_4D42;
    const SMB2: u32 = 0xFE53_4D42;
    const V9FS: u32 = 0x0102_1997;
    const FUSE: u32 = 0x6573_5546;
    rustix::fs::fstatfs(file)
        .is_ok_and(|status| [NFS, CIFS, SMB2, V9FS, FUSE].contains(&magic(status.f_type)))
}

/// The number of a file system: 32 bits, in a field whose width and sign depend on the architecture (statfs(2)).
fn magic<T: TryInto<i64>>(field: T) -> u32 {
    let [low @ .., _, _, _, _] = field.try_into().unwrap_or(0).to_le_bytes();
    u32::from_le_bytes(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_file_system_does_not_depend_on_the_type_of_the_field() {
        const CIFS: u32 = 0xFF53_4D42;
        assert_eq!(magic(i64::from(CIFS)), CIFS, "x86_64 and aarch64");
        assert_eq!(magic(u64::from(CIFS)), CIFS, "musl");
        assert_eq!(magic(CIFS), CIFS, "armv7 and s390x");
        assert_eq!(magic(i32::from_ne_bytes(CIFS.to_ne_bytes())), CIFS, "glibc with 32 bits");
    }
}
