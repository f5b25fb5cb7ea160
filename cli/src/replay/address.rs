//! Addresses of a monitor, and its clients.

use std::fs;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use capscache::Escaped;

use super::monitor::{End, Monitor};
use crate::output;

/// Address of a monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Standard input and output.
    Stdio,
    /// A socket that is made, and awaits one client after another.
    Listen(PathBuf),
    /// A socket of a client.
    Connect(PathBuf),
    /// A socket that the starting process passed.
    Inherited {
        /// The number of the descriptor.
        number: RawFd,
        /// Clients connect to it; otherwise a client holds its other end.
        is_server: bool,
    },
}

/// An open address.
#[derive(Debug)]
pub(super) enum Endpoint {
    Stdio,
    Listener(UnixListener),
    Stream(UnixStream),
}

impl Address {
    /// Opens the address: from then on clients can connect.
    pub(super) fn open(&self) -> Result<Endpoint> {
        Ok(match self {
            Address::Stdio => Endpoint::Stdio,
            Address::Listen(path) => {
                let listener = listen(path);
                let context = || format!("cannot listen at {}", Escaped::new(path));
                Endpoint::Listener(listener.with_context(context)?)
            }
            Address::Connect(path) => {
                let stream = UnixStream::connect(path);
                let context = || format!("cannot connect to {}", Escaped::new(path));
                Endpoint::Stream(stream.with_context(context)?)
            }
            Address::Inherited { number, is_server } => {
                let socket = capscache_process::duplicate(*number);
                let context = || format!("cannot use the inherited descriptor {number}");
                let socket = socket.with_context(context)?;
                match is_server {
                    true => Endpoint::Listener(socket.into()),
                    false => Endpoint::Stream(socket.into()),
                }
            }
        })
    }
}

/// Makes a socket. Replaces one on which no process listens, as QEMU does.
fn listen(path: &Path) -> Result<UnixListener> {
    // A daemon changes its directory.
    let path = std::path::absolute(path)?;
    if fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket()) {
        if UnixStream::connect(&path).is_ok() {
            bail!("another process listens there; end it, or choose another path");
        }
        fs::remove_file(&path)?;
    }
    Ok(UnixListener::bind(path)?)
}

impl Endpoint {
    /// Returns the socket, and whether clients connect to it. None for stdio.
    pub(super) fn into_socket(self) -> Option<(OwnedFd, bool)> {
        match self {
            Endpoint::Stdio => None,
            Endpoint::Listener(socket) => Some((socket.into(), true)),
            Endpoint::Stream(socket) => Some((socket.into(), false)),
        }
    }

    /// Serves clients, one after another, until one sends `quit`, or the only one leaves.
    pub(super) fn serve(self, monitor: &Monitor<'_>) -> Result<()> {
        match self {
            Endpoint::Stdio => {
                monitor.serve(io::stdin().lock(), io::stdout().lock())?;
            }
            Endpoint::Stream(stream) => {
                monitor.serve(&stream, &stream)?;
            }
            Endpoint::Listener(listener) => {
                while serve_next(&listener, monitor)? != End::Quit {}
                let address = listener.local_addr()?;
                if let Some(path) = address.as_pathname() {
                    // Only a leftover, and its directory may be gone already.
                    let _ = fs::remove_file(path);
                }
            }
        }
        Ok(())
    }
}

/// Serves one client. Its errors end its connection alone.
fn serve_next(listener: &UnixListener, monitor: &Monitor<'_>) -> Result<End> {
    let (stream, _) = match listener.accept() {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Ok(End::Closed),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(End::Closed),
        Err(error) => return Err(error).context("cannot accept a client"),
    };
    Ok(monitor.serve(&stream, &stream).unwrap_or_else(|error| {
        output::warn(format_args!("lost a client: {error}"));
        End::Closed
    }))
}
