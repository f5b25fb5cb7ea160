//! Listening sockets of character devices.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::ResourceError;

/// Listens at a path. A socket that another process left there is replaced; another file is not.
pub(super) fn listen(path: &Path) -> Result<OwnedFd, ResourceError> {
    bind(path).map(OwnedFd::from).map_err(ResourceError::io("bind", path))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "it is not the path of a socket");
    let name = path.file_name().ok_or_else(invalid)?;
    let parent = path.parent().ok_or_else(invalid)?;
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path)?,
        _ => {}
    }
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let parent = File::from(rustix::fs::open(parent, flags, Mode::empty())?);
    // However long the path is, this fits into the address of a socket.
    let short = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    UnixListener::bind(short)
}
