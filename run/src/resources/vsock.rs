//! Sockets between host and guest.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;

use super::ResourceError;
use crate::host::FIRST_CID;
use crate::process::set_cid;

/// The character device.
const DEVICE: &str = "/dev/vhost-vsock";

/// Opens the device and sets the number of the guest; that of its command line if it names none. A number that another
/// guest has is an error.
pub(super) fn open(cid: Option<u32>) -> Result<OwnedFd, ResourceError> {
    let opened = OpenOptions::new().read(true).write(true).open(DEVICE);
    let file = opened.map_err(ResourceError::io("open", DEVICE))?;
    let failed = ResourceError::io("set the number of the guest at", DEVICE);
    set_cid(&file, cid.unwrap_or(FIRST_CID).into()).map_err(failed)?;
    Ok(file.into())
}
