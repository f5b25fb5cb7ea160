//! The files and descriptors of the host that an emulator needs.

mod error;
mod sockets;
mod store;
mod tap;
mod tpm;
mod variables;
mod vsock;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

pub use self::error::ResourceError;
use crate::command::{Command, Setup};
use crate::host::Descriptor;
use crate::user::User;

/// The mode of the files of a guest that its runner creates.
const FILE_MODE: u32 = 0o600;

/// The video device that a descriptor of its process would be for.
const VIDEO_PROCESS: &str = "a video device in a process of its own";

/// The listening socket of the monitor.
pub(crate) struct Monitor(pub(crate) OwnedFd);

/// Creates the files that an emulator needs before it starts.
pub(crate) fn write_files(command: &Command, user: Option<&User>) -> Result<(), ResourceError> {
    command.setup.iter().try_for_each(|setup| match setup {
        Setup::Variables { path, template } => variables::create(path, template.as_deref(), user),
        Setup::Store { path, kib } => store::create(path, *kib, user),
        _ => Ok(()),
    })
}

/// Checks that all descriptors can be opened, as far as that is known before.
pub(crate) fn check(command: &Command) -> Result<(), ResourceError> {
    command.descriptors.iter().try_for_each(|(_, descriptor)| match descriptor {
        Descriptor::Tap { link, .. } => tap::supported(link).map(drop),
        Descriptor::VideoProcess { .. } => Err(unsupported(VIDEO_PROCESS)),
        Descriptor::Monitor
        | Descriptor::Listen { .. }
        | Descriptor::Output { .. }
        | Descriptor::Log { .. }
        | Descriptor::Tpm { .. }
        | Descriptor::TpmCancel { .. }
        | Descriptor::VhostNet { .. }
        | Descriptor::Vdpa { .. }
        | Descriptor::VhostScsi
        | Descriptor::VhostVsock { .. } => Ok(()),
    })
}

/// Opens the descriptors that an emulator inherits, and returns them with their numbers.
pub(crate) fn open(
    command: &Command,
    monitor: Monitor,
) -> Result<Vec<(RawFd, OwnedFd)>, ResourceError> {
    let mut monitor = Some(monitor.0);
    let (mut opened, mut taps) = (Vec::new(), tap::Taps::default());
    for (number, descriptor) in &command.descriptors {
        let fd = match descriptor {
            Descriptor::Monitor => match monitor.take() {
                Some(monitor) => monitor,
                None => return Err(unsupported("a second monitor")),
            },
            Descriptor::Listen { path } => sockets::listen(path)?,
            Descriptor::Output { path, append } | Descriptor::Log { path, append } => {
                output(path, *append)?
            }
            Descriptor::Tpm { path } => device(path)?,
            Descriptor::TpmCancel { path } => tpm::cancel(path)?,
            Descriptor::Tap { link, queue } => taps.open(link, *queue)?,
            Descriptor::VhostNet { path, .. } | Descriptor::Vdpa { path } => device(path)?,
            Descriptor::VhostScsi => device("/dev/vhost-scsi".as_ref())?,
            Descriptor::VhostVsock { cid } => vsock::open(*cid)?,
            Descriptor::VideoProcess { .. } => {
                return Err(unsupported(VIDEO_PROCESS));
            }
        };
        opened.push((*number, fd));
    }
    Ok(opened)
}

/// Opens a file that the emulator writes to.
fn output(path: &Path, append: bool) -> Result<OwnedFd, ResourceError> {
    let mut options = OpenOptions::new();
    options.create(true).append(append).write(true).truncate(!append).mode(FILE_MODE);
    // A FIFO without a reader is an error then, and does not block.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed());
    let open = || {
        let file = options.open(path)?;
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        Ok(file.into())
    };
    open().map_err(ResourceError::io("open", path))
}

/// Opens a character device.
fn device(path: &Path) -> Result<OwnedFd, ResourceError> {
    // Another file in its place must neither block nor become the terminal of this process.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags.bits().cast_signed());
    let open = || {
        let file = options.open(path)?;
        if !file.metadata()?.file_type().is_char_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a device"));
        }
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        Ok(file)
    };
    open().map(File::into).map_err(ResourceError::io("open", path))
}

pub(crate) fn unsupported(what: &'static str) -> ResourceError {
    ResourceError::Unsupported { what }
}
