//! TPMs of the host.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::ResourceError;

/// Opens the file by which a command of a TPM is cancelled.
pub(super) fn cancel(device: &Path) -> Result<OwnedFd, ResourceError> {
    let name = device.file_name().unwrap_or_default();
    let classes = ["/sys/class/tpm", "/sys/class/misc"];
    let mut paths = classes.iter().map(|class| Path::new(class).join(name).join("device/cancel"));
    // A TPM 2.0 has none.
    let path = paths.find(|path| path.exists()).unwrap_or_else(|| "/dev/null".into());
    let opened = OpenOptions::new().write(true).open(&path);
    opened.map(File::into).map_err(ResourceError::io("open", path))
}
