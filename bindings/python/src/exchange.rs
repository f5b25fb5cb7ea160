//! One call to the service: the transport of Varlink, with the file that a reply passes.

use std::fs::File;
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use capscache::Capabilities;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::entry::Entry;
use crate::error::of_cache;

/// The longest reply: a list of thousands of entries is shorter.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// Sends a message over a new connection and returns the reply without its zero byte, and the entry in the file that was
/// passed with it. `timeout` is in seconds, for each step.
#[pyfunction]
pub(crate) fn exchange(
    py: Python<'_>,
    socket: PathBuf,
    message: Vec<u8>,
    timeout: f64,
) -> PyResult<(Bound<'_, PyBytes>, Option<Entry>)> {
    let timeout = Duration::try_from_secs_f64(timeout).map_err(io::Error::other)?;
    let (reply, file) = py.detach(|| call(&socket, message, timeout)).map_err(of_system)?;
    let opened = file.map(|file| py.detach(|| Capabilities::in_file(&file))).transpose();
    let entry = opened.map_err(|error| of_cache(py, &error))?;
    Ok((PyBytes::new(py, &reply), entry.map(Entry::new)))
}

/// Returns an OSError with the number of the system's error, which a conversion would drop.
fn of_system(error: io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(number) => {
            let text = error.to_string();
            let text = text.rsplit_once(" (os error ").map_or(&*text, |(text, _)| text);
            PyOSError::new_err((number, text.to_owned()))
        }
        None => error.into(),
    }
}

fn call(
    socket: &PathBuf,
    mut message: Vec<u8>,
    timeout: Duration,
) -> io::Result<(Vec<u8>, Option<File>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    message.push(0);
    stream.write_all(&message)?;
    let mut reply = Vec::new();
    let mut file = None;
    let mut piece = vec![0; 64 << 10];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut passed = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&stream, &mut [IoSliceMut::new(&mut piece)], &mut passed, flags)
        })?;
        for message in passed.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                file = file.or(files.map(File::from).next());
            }
        }
        let new = piece.get(..received.bytes).unwrap_or_default();
        if let Some(end) = new.iter().position(|byte| *byte == 0) {
            reply.extend_from_slice(&new[..end]);
            return Ok((reply, file));
        }
        if new.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(new);
        if reply.len() > MAX_REPLY_BYTES {
            return Err(io::Error::other("the reply is too long"));
        }
    }
}
