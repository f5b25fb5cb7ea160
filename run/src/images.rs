//! Headers of images: the image below one, which QEMU reads where it is not changed.
//!
//! The format is that of QEMU's `docs/interop/qcow2.txt`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::host::{Below, Probe};

/// The part of an image that is read. All that is needed is in its first cluster.
const HEADER_BYTES: u64 = 64 << 10;

/// The start of a qcow image of any version.
const MAGIC: &[u8] = b"QFI\xfb";

/// The part of the header that all versions have.
const COMMON_BYTES: usize = 72;

/// The longest name of an image.
const MAX_NAME_BYTES: u32 = 1023;

/// The incompatible feature of data in another file.
const DATA_FILE: u64 = 1 << 2;

/// The header extension with the format of the image below.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// The starts of formats that are not raw, with their offsets.
const OTHER_MAGICS: &[(usize, &[u8])] = &[
    (0, b"QED\0"),
    (0, b"KDMV"),
    (0, b"COWD"),
    (0, b"# Disk DescriptorFile"),
    (0, b"conectix"),
    (0, b"vhdxfile"),
    (0, b"WithoutFreeSpace"),
    (0, b"WithouFreSpacExt"),
    (0, b"OOOM"),
    (0, b"Bochs Virtual HD Image"),
    (0, b"#!/bin/sh\n#V2.0 Format"),
    (0, b"LUKS\xba\xbe"),
    (64, b"\x7f\x10\xda\xbe"),
];

/// The formats that a header can name. Other words are protocols, below which there is no format.
const FORMATS: &[&str] =
    &["raw", "bochs", "cloop", "dmg", "vpc", "vdi", "vhd", "ploop", "qcow", "qcow2", "qed", "vmdk"];

/// Reads the header of an image in a file or device of the host.
///
/// # Errors
/// The cause, in words.
pub(crate) fn probe(path: &Path, format: &str) -> Result<Option<Probe>, String> {
    match format {
        "qcow" | "qcow2" => {}
        _ => return Err(format!("headers of the format {format} are not read")),
    }
    let header = read(path)?;
    let header =
        Header::parse(&header).ok_or_else(|| format!("it is not in the format {format}"))?;
    let below = match header.name {
        None => Below::Nothing,
        Some(name) => find(path, name, header.format)?,
    };
    Ok(Some(Probe { below, has_data_file: header.has_data_file }))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error| format!("cannot read {}: {error}", path.display());
    let mut header = Vec::new();
    let file = open(path).map_err(cannot)?;
    file.take(HEADER_BYTES).read_to_end(&mut header).map_err(cannot)?;
    Ok(header)
}

/// Opens a file or block device. Another kind of file must not block.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() || kind.is_block_device() {
        true => Ok(file),
        false => {
            let what = "it is neither a regular file nor a block device";
            Err(io::Error::new(io::ErrorKind::InvalidInput, what))
        }
    }
}

/// Finds the image with a name in the header of another one.
fn find(above: &Path, name: &str, format: Option<&str>) -> Result<Below, String> {
    let start = name.split('/').next().unwrap_or_default();
    if start.contains(':') {
        return Err(format!("the image below is {name:?}, which is not a file"));
    }
    let path = match above.parent() {
        Some(parent) if !name.starts_with('/') => parent.join(name),
        _ => name.into(),
    };
    let cannot = |error| format!("cannot read {}, which is below: {error}", path.display());
    let kind = fs::metadata(&path).map_err(cannot)?.file_type();
    if kind.is_dir() {
        return Err(format!("{}, which is below, is a directory", path.display()));
    }
    let format = match format {
        Some(format) => FORMATS.iter().find(|known| **known == format).copied().unwrap_or("raw"),
        None => guess(&path)?,
    };
    let path = path.to_str().ok_or("the name of the image below is not text")?.to_owned();
    Ok(Below::Image { path, is_block: kind.is_block_device(), format })
}

/// Returns the format of an image whose header does not state it: an image that is raw, or that has none below. That of
/// others is not safe to guess, as the guest can write a header into a raw image.
fn guess(path: &Path) -> Result<&'static str, String> {
    let header = read(path)?;
    match Header::parse(&header) {
        Some(parsed) if parsed.name.is_none() && parsed.version > 1 => Ok("qcow2"),
        None if !OTHER_MAGICS
            .iter()
            .any(|(at, magic)| header.get(*at..).is_some_and(|rest| rest.starts_with(magic))) =>
        {
            Ok("raw")
        }
        _ => Err(format!("the format of {} is not in the header above", path.display())),
    }
}

/// The parts of a header.
struct Header<'h> {
    version: u32,
    /// The name of the image below.
    name: Option<&'h str>,
    /// The format of the image below.
    format: Option<&'h str>,
    has_data_file: bool,
}

impl Header<'_> {
    fn parse(bytes: &[u8]) -> Option<Header<'_>> {
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let version = u32_at(bytes, 4)?;
        let offset = usize::try_from(u64_at(bytes, 8)?).ok()?;
        let length = u32_at(bytes, 16)?;
        let has_name = offset > 0 && length > 0;
        if has_name && length > MAX_NAME_BYTES {
            return None;
        }
        let end = offset.checked_add(usize::try_from(length).ok()?)?;
        let name = match has_name {
            true => Some(std::str::from_utf8(bytes.get(offset..end)?).ok()?),
            false => None,
        };
        let has_data_file = version > 2 && u64_at(bytes, COMMON_BYTES)? & DATA_FILE != 0;
        let start = match version {
            0 | 1 => offset,
            2 => COMMON_BYTES,
            _ => usize::try_from(u32_at(bytes, 100)?).ok()?,
        };
        let extensions = bytes.get(start..offset).unwrap_or_default();
        Some(Header { version, name, format: backing_format(extensions), has_data_file })
    }
}

/// Returns the format of the image below from the extensions of a header.
fn backing_format(extensions: &[u8]) -> Option<&str> {
    let mut rest = extensions;
    loop {
        let kind = u32_at(rest, 0).filter(|kind| *kind != 0)?;
        let length = usize::try_from(u32_at(rest, 4)?).ok()?;
        let content = rest.get(8..)?.get(..length)?;
        if kind == BACKING_FORMAT {
            return std::str::from_utf8(content).ok();
        }
        // Contents are padded to 8 bytes.
        rest = rest.get(8..)?.get(length.checked_next_multiple_of(8)?..)?;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the header of a qcow2 image of version 3.
    fn header(name: &str, format: Option<&str>, features: u64) -> Vec<u8> {
        let mut extensions = Vec::new();
        if let Some(format) = format {
            extensions.extend(BACKING_FORMAT.to_be_bytes());
            extensions.extend(u32::try_from(format.len()).unwrap().to_be_bytes());
            extensions.extend(format.as_bytes());
            extensions.resize(8 + format.len().next_multiple_of(8), 0);
        }
        extensions.extend([0; 8]);
        let offset = if name.is_empty() { 0 } else { 104 + extensions.len() };
        let mut header = MAGIC.to_vec();
        header.extend(3_u32.to_be_bytes());
        header.extend(u64::try_from(offset).unwrap().to_be_bytes());
        header.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
        header.resize(COMMON_BYTES, 0);
        header.extend(features.to_be_bytes());
        header.resize(100, 0);
        header.extend(104_u32.to_be_bytes());
        header.extend(extensions);
        header.extend(name.as_bytes());
        header
    }

    fn write(directory: &Path, name: &str, content: &[u8]) -> std::path::PathBuf {
        let path = directory.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn a_relative_name_starts_at_the_image_above() {
        let directory = tempfile::tempdir().unwrap();
        let below = write(directory.path(), "base", b"data");
        let top = write(directory.path(), "top", &header("base", Some("raw"), 0));
        let expected = Below::Image {
            path: below.to_str().unwrap().to_owned(),
            is_block: false,
            format: "raw",
        };
        assert_eq!(probe(&top, "qcow2").unwrap().unwrap().below, expected);
    }

    #[test]
    fn a_format_that_no_header_names_is_guessed_if_nothing_is_below() {
        let directory = tempfile::tempdir().unwrap();
        let top = write(directory.path(), "top", &header("base", None, 0));
        let format = |content: &[u8]| {
            write(directory.path(), "base", content);
            match probe(&top, "qcow2")?.unwrap().below {
                Below::Image { format, .. } => Ok(format),
                Below::Nothing => Err(String::new()),
            }
        };
        assert_eq!(format(b"data"), Ok("raw"));
        assert_eq!(format(&header("", None, 0)), Ok("qcow2"));
        assert!(format(&header("more", Some("raw"), 0)).is_err());
        assert!(format(b"KDMV").is_err());
    }

    #[test]
    fn damaged_headers_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let whole = header("base", Some("raw"), DATA_FILE);
        write(directory.path(), "base", b"data");
        for length in 0..whole.len() {
            let top = write(directory.path(), "top", &whole[..length]);
            assert!(probe(&top, "qcow2").is_err(), "{length}");
        }
        let top = write(directory.path(), "top", &whole);
        assert!(probe(&top, "qcow2").unwrap().unwrap().has_data_file);
        let url = write(directory.path(), "url", &header("nbd://host/x", Some("raw"), 0));
        assert!(probe(&url, "qcow2").unwrap_err().contains("not a file"));
    }
}
