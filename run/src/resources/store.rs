//! Files of persistent stores for the guest's crash messages, which outlive the guest.

use std::fs::File;
use std::io;
use std::os::unix::fs::fchown;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{FILE_MODE, ResourceError};
use crate::user::User;

/// Creates a file, if it does not exist, and gives it its size.
pub(super) fn create(path: &Path, kib: u64, user: Option<&User>) -> Result<(), ResourceError> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let create = || -> io::Result<()> {
        let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(FILE_MODE))?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        file.set_len(kib.saturating_mul(1024))?;
        user.map_or(Ok(()), |user| fchown(&file, Some(user.uid), Some(user.gid)))
    };
    create().map_err(ResourceError::io("create", path))
}
