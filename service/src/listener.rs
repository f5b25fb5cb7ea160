//! Sockets to listen on: those that a supervisor passed, or one that this process makes.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use capscache::Escaped;
use listenfd::ListenFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, test_kill_process};

use crate::error::Error;

/// Every user may connect: permissions depend on the uid of the connection.
const MODE: u32 = 0o666;

/// Sockets that the service listens on.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) sockets: Vec<UnixListener>,
    own: Option<OwnSocket>,
}

/// A socket that this process made, and removes when it ends.
#[derive(Debug)]
struct OwnSocket {
    path: PathBuf,
    identity: (u64, u64),
}

impl Listeners {
    /// Takes the sockets that a supervisor passed (`LISTEN_FDS`), or else makes one at `path`.
    pub(crate) fn open(path: &Path) -> Result<Listeners, Error> {
        let mut passed = ListenFd::from_env();
        if passed.len() == 0 {
            let (socket, own) = make(path)?;
            return Ok(Listeners { sockets: vec![socket], own: Some(own) });
        }
        let mut sockets = Vec::new();
        for at in 0..passed.len() {
            let socket = passed.take_unix_listener(at);
            sockets.extend(socket.map_err(|source| Error::Passed { source })?);
        }
        Ok(Listeners { sockets, own: None })
    }

    /// Returns the path, or a description, of the sockets for the log.
    pub(crate) fn description(&self) -> String {
        match &self.own {
            Some(own) => Escaped::new(&own.path).to_string(),
            None => "the socket that was passed".to_owned(),
        }
    }
}

/// Makes a socket. One that a killed service left is replaced; one that a service listens on is not, nor
/// is any other file.
fn make(path: &Path) -> Result<(UnixListener, OwnSocket), Error> {
    let failed = |source: io::Error| Error::Listen { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path.to_owned() });
        }
        Ok(_) if is_listened_on(path).map_err(failed)? => {
            return Err(Error::InUse { path: path.to_owned() });
        }
        _ => {}
    }
    // Bound under another name and renamed, so that it appears with all its rights, or not at all.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let bind = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        remove(&temporary)?;
        let socket = UnixListener::bind(&temporary)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(MODE))?;
        let identity = identity(&temporary)?;
        fs::rename(&temporary, path)?;
        Ok((socket, OwnSocket { path: path.to_owned(), identity }))
    };
    bind().map_err(failed).inspect_err(|_| {
        let _ = remove(&temporary);
    })
}

/// Returns whether a process listens on a socket, even one that is too busy to accept at once. Must be called within a
/// runtime.
fn is_listened_on(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::AGAIN) => Ok(true),
        Ok(()) => is_listener_alive(socket),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether the process that began to listen at the other end is there. If not, only a process that it was
/// starting when it was killed still has its socket, and it accepts no connection.
fn is_listener_alive(socket: OwnedFd) -> io::Result<bool> {
    // The credentials are those of listen(2); see SO_PEERCRED in unix(7).
    let listener = tokio::net::UnixStream::from_std(socket.into())?.peer_cred()?.pid();
    // A process of another PID namespace has no number here.
    let listener = listener.and_then(Pid::from_raw);
    Ok(listener.is_none_or(|pid| test_kill_process(pid) != Err(Errno::SRCH)))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|status| (status.dev(), status.ino()))
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // A socket that stays is replaced by the next service.
            let _ = remove(&self.path);
        }
    }
}
