//! Where the service listens: on what it was passed, or on a socket that it makes.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use capscache::Escaped;
use listenfd::ListenFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Everybody may connect: who may do what is decided by who connected.
const MODE: u32 = 0o666;

/// Sockets that are listened on.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) sockets: Vec<UnixListener>,
    made: Option<Made>,
}

/// A socket that this process made, and removes when it ends.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    identity: (u64, u64),
}

impl Listeners {
    /// The sockets that a supervisor passed (LISTEN_FDS), or else a new one at `path`.
    pub(super) fn open(path: &Path) -> Result<Listeners> {
        let mut passed = ListenFd::from_env();
        if passed.len() == 0 {
            return make(path);
        }
        let mut sockets = Vec::new();
        for at in 0..passed.len() {
            let socket = passed.take_unix_listener(at);
            let socket = socket.context("a descriptor in LISTEN_FDS is no Unix stream socket")?;
            sockets.extend(socket);
        }
        Ok(Listeners { sockets, made: None })
    }

    /// Where, as one says it to people.
    pub(super) fn place(&self) -> String {
        match &self.made {
            Some(made) => made.path.display().to_string(),
            None => "the socket that was passed".to_owned(),
        }
    }
}

/// What a service left that was killed is replaced; one that lives is not, nor what is no socket.
fn make(path: &Path) -> Result<Listeners> {
    let shown = Escaped::new(path);
    let failed = || format!("cannot listen on {shown}");
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            bail!(
                "cannot listen on {shown}: there is something that is not a socket; name another path"
            );
        }
        Ok(_) if is_listened_on(path).with_context(failed)? => {
            bail!("a service answers at {shown} already");
        }
        _ => {}
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(failed)?;
    }
    // Bound under another name and renamed, so that it is there with all its rights, or not at all.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    remove(&temporary).with_context(failed)?;
    let bind = || {
        let socket = UnixListener::bind(&temporary)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(MODE))?;
        let identity = identity(&temporary)?;
        fs::rename(&temporary, path)?;
        Ok::<_, io::Error>((socket, identity))
    };
    let (socket, identity) = bind().with_context(failed).inspect_err(|_| {
        let _ = remove(&temporary);
    })?;
    Ok(Listeners { sockets: vec![socket], made: Some(Made { path: path.to_owned(), identity }) })
}

/// Whether somebody listens on a socket, who may be too busy to accept at once.
fn is_listened_on(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
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

impl Drop for Made {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // One that stays is replaced by the next service.
            let _ = remove(&self.path);
        }
    }
}
