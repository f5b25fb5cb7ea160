//! Where the service listens: on what it was passed, or on a socket that it makes.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;

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

/// What a service left that was killed is replaced; one that lives is not.
fn make(path: &Path) -> Result<Listeners> {
    let failed = || format!("cannot listen on {}", path.display());
    if UnixStream::connect(path).is_ok() {
        bail!("a service answers at {} already", path.display());
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
