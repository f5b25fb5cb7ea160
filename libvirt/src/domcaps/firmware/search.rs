//! The files of descriptors (`qemuInteropFetchConfigs` in libvirt's `src/qemu/qemu_interop_config.c`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::DescriptorError;

/// The largest descriptor that libvirt reads, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Returns the files that are in effect, ordered by name. Of several with one name that is the one in the last directory,
/// and an empty one hides the others. What is not a regular file at the end of its links counts as absent.
///
/// # Errors
/// [`DescriptorError::Read`] for a directory that cannot be read, and for a link that leads nowhere, even if another file hides it.
pub(super) fn in_effect(
    directories: &[PathBuf],
) -> Result<impl Iterator<Item = PathBuf> + use<>, DescriptorError> {
    let mut files = BTreeMap::new();
    for directory in directories {
        add(directory, &mut files)?;
    }
    Ok(files.into_values().filter(|(_, is_empty)| !is_empty).map(|(path, _)| path))
}

/// Adds the files in a directory, each with whether it is empty.
fn add(
    directory: &Path,
    files: &mut BTreeMap<Vec<u8>, (PathBuf, bool)>,
) -> Result<(), DescriptorError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| DescriptorError::Read { path, source }
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed(directory))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed(directory))?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let status = fs::metadata(&path).map_err(failed(&path))?;
        if status.is_file() {
            files.insert(name.as_bytes().to_owned(), (path, status.len() == 0));
        }
    }
    Ok(())
}

/// Reads a descriptor.
pub(super) fn content(path: &Path) -> io::Result<Vec<u8>> {
    // It may have become something else since it was found to be a regular file.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(ErrorKind::FileTooLarge.into()),
        false => Ok(bytes),
    }
}
