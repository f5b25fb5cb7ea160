//! The connection to an emulator: sends and receives bytes, and splits them into lines.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use capscache_process::Lines;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown};
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::net::{UnixStream, unix::pipe};

use crate::error::SessionError;
use crate::limits::{Budget, Exceeded};
use crate::spawn::{Emulator, Spawned};

/// The size of one read.
const READ_BYTES: usize = 64 << 10;

/// The time that an emulator has to end after it closed its monitor; one that has not ended then is alive.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The time that an emulator has to end after `quit` before it is killed, and a wrapper to clean up after it. QEMU takes
/// some milliseconds.
const QUIT_TIMEOUT: Duration = Duration::from_secs(3);

/// The time that a killed emulator has to end before it is left to [`Emulator`]'s drop.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// The connection to an emulator.
#[derive(Debug)]
pub(super) struct Connection<'t> {
    emulator: Emulator,
    monitor: UnixStream,
    /// None when all writers have closed it.
    output: Option<pipe::Receiver>,
    tail: Tail,
    incoming: Lines,
    outgoing: VecDeque<u8>,
    budget: &'t Budget<'t>,
    deadline: Instant,
    /// True if the process that was started has ended: then nothing more will be sent.
    ended: bool,
}

impl<'t> Connection<'t> {
    /// Connects to a process that was started at `started`.
    pub(super) fn new(
        spawned: Spawned,
        budget: &'t Budget<'t>,
        started: Instant,
    ) -> io::Result<Self> {
        let deadline = budget.deadline.min(started + budget.limits.start);
        Ok(Self {
            emulator: spawned.emulator,
            monitor: UnixStream::from_std(spawned.monitor)?,
            output: Some(pipe::Receiver::from_owned_fd(spawned.output.into())?),
            tail: Tail { bytes: Vec::new(), kept: budget.limits.tail_bytes },
            incoming: Lines::new(budget.limits.line_bytes),
            outgoing: VecDeque::new(),
            budget,
            deadline,
            ended: false,
        })
    }

    /// Appends bytes to those that [`next`](Self::next) still has to write.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
    }

    /// Waits for the first line; returns it with the process that sent it.
    pub(super) async fn greeting(&mut self) -> Result<(String, Pid), SessionError> {
        let peer = loop {
            match self.monitor.try_io(Interest::READABLE, || receive(&self.monitor)) {
                Ok((bytes, peer)) if !bytes.is_empty() => {
                    self.incoming.space(bytes.len()).extend_from_slice(&bytes);
                    self.count(bytes.len())?;
                    let unknown = || SessionError::Io(io::Error::from(io::ErrorKind::InvalidData));
                    break peer.ok_or_else(unknown)?;
                }
                Ok(_) => return Err(self.lost().await),
                Err(error) => self.recover(error).await?,
            }
        };
        self.emulator.set_peer(peer);
        // The senders of later messages are not needed. If this fails they only come unused.
        let _ = rustix::net::sockopt::set_socket_passcred(&self.monitor, false);
        Ok((self.next().await?.to_owned(), peer))
    }

    /// Returns the next line that is not blank; writes the queue while it waits.
    pub(super) async fn next(&mut self) -> Result<&str, SessionError> {
        let range = loop {
            if let Some(range) = self.incoming.next_line()? {
                if self.incoming.bytes(range.clone()).trim_ascii().is_empty() {
                    continue;
                }
                break range;
            }
            self.write()?;
            match self.monitor.try_read_buf(self.incoming.space(READ_BYTES)) {
                Ok(0) => return Err(self.lost().await),
                Ok(count) => self.count(count)?,
                Err(error) => self.recover(error).await?,
            }
        };
        let line = self.incoming.bytes(range).trim_ascii();
        std::str::from_utf8(line)
            .map_err(|error| SessionError::NotUtf8 { valid_bytes: error.valid_up_to() })
    }

    /// Writes as much of the queue as the socket takes.
    fn write(&mut self) -> Result<(), SessionError> {
        while !self.outgoing.is_empty() {
            let (bytes, _) = self.outgoing.as_slices();
            let sent = self.monitor.try_io(Interest::WRITABLE, || {
                // A plain write would raise SIGPIPE in programs that do not ignore it.
                Ok(rustix::net::send(&self.monitor, bytes, SendFlags::NOSIGNAL)?)
            });
            match sent {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    io::ErrorKind::Interrupted => {}
                    // It may have answered before it closed the monitor: the next read decides.
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        self.outgoing.clear();
                    }
                    _ => return Err(SessionError::Io(error)),
                },
            }
        }
        Ok(())
    }

    /// Counts bytes that were read. Checks the deadline too: while an emulator sends without a pause, `wait` is never
    /// called.
    fn count(&mut self, bytes: usize) -> Result<(), SessionError> {
        self.budget
            .sent(bytes)
            .map_err(|Exceeded(limit_bytes)| SessionError::TooMuch { limit_bytes })?;
        if Instant::now() >= self.deadline {
            return Err(self.silent());
        }
        Ok(())
    }

    fn silent(&self) -> SessionError {
        let limits = self.budget.limits;
        if self.deadline < self.budget.deadline {
            SessionError::Silent { waited: limits.start }
        } else {
            SessionError::OutOfTime { limit: limits.probe }
        }
    }

    /// Handles the error of a read: waits if there was nothing to read yet.
    async fn recover(&mut self, error: io::Error) -> Result<(), SessionError> {
        match error.kind() {
            // All its data arrived before its end was noticed, so it was read by now.
            io::ErrorKind::WouldBlock if self.ended => Err(self.lost().await),
            io::ErrorKind::WouldBlock => self.wait().await,
            io::ErrorKind::Interrupted => Ok(()),
            // It ended, and left some commands unread.
            io::ErrorKind::ConnectionReset => Err(self.lost().await),
            _ => Err(SessionError::Io(error)),
        }
    }

    /// Waits until there is something to do on the monitor, the process ends, or its time is over.
    async fn wait(&mut self) -> Result<(), SessionError> {
        let interest = if self.outgoing.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        tokio::select! {
            biased;
            ready = self.monitor.ready(interest) => drop(ready.map_err(SessionError::Io)?),
            () = tokio::time::sleep_until(self.deadline.into()) => {
                return Err(self.silent());
            }
            () = readable(self.output.as_ref()) => self.tail.fill(&mut self.output),
            () = self.emulator.ended() => self.ended = true,
        }
        Ok(())
    }

    /// Returns the loss of an emulator that closed its monitor or ended.
    async fn lost(&mut self) -> SessionError {
        let until = self.budget.deadline.min(Instant::now() + CLOSE_TIMEOUT);
        if tokio::time::timeout_at(until.into(), self.emulator.ended()).await.is_err() {
            return SessionError::ClosedMonitor;
        }
        match self.emulator.end(KILL_TIMEOUT).await {
            Some(exit) => SessionError::Exited { exit, output: self.output() },
            None => SessionError::ClosedMonitor,
        }
    }

    /// Waits a moment for an emulator whose last command, `quit`, is queued; then does the same as [`end`](Self::end).
    pub(super) async fn quit(&mut self) -> String {
        self.deadline = Instant::now() + QUIT_TIMEOUT;
        let quitting = async {
            while self.next().await.is_ok() {
                // The command was read; an end of its input before that could make QEMU drop it. An emulator that does
                // not quit reads the end of its input.
                let _ = rustix::net::shutdown(&self.monitor, Shutdown::Write);
            }
            self.emulator.ended().await;
        };
        let _ = tokio::time::timeout(QUIT_TIMEOUT, quitting).await;
        self.end().await
    }

    /// Kills the emulator, reaps it, and returns the end of its stdout and stderr.
    pub(super) async fn end(&mut self) -> String {
        self.emulator.end(KILL_TIMEOUT).await;
        self.output()
    }

    /// Returns the end of the output up to now: other processes may hold the pipe open, and are not waited for.
    fn output(&mut self) -> String {
        self.tail.fill(&mut self.output);
        String::from_utf8_lossy(&self.tail.bytes).into_owned()
    }
}

/// Waits until there is output; for ever if there can be none.
async fn readable(output: Option<&pipe::Receiver>) {
    match output {
        // An error is returned again by the read that follows.
        Some(output) => drop(output.readable().await),
        None => std::future::pending().await,
    }
}

/// Reads a message together with the process that sent it. No bytes mean the end.
fn receive(monitor: &UnixStream) -> io::Result<(Vec<u8>, Option<Pid>)> {
    let mut bytes = vec![0; READ_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let count =
        match rustix::net::recvmsg(monitor, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
    bytes.truncate(count);
    let peer = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
        _ => None,
    });
    Ok((bytes, peer))
}

/// Passes the lines of `bytes`, which arrive in pieces of these sizes, in turn, to `on_line` until it fails.
pub(super) fn split_lines(
    pieces: &[u8],
    mut bytes: &[u8],
    limit: usize,
    mut on_line: impl FnMut(&str) -> Result<(), SessionError>,
) {
    let mut buffer = Lines::new(limit);
    for size in pieces.iter().cycle() {
        loop {
            let Ok(range) = buffer.next_line() else { return };
            let Some(range) = range else { break };
            let line = buffer.bytes(range).trim_ascii();
            assert!(line.len() <= limit && !line.contains(&b'\n'));
            let Ok(text) = std::str::from_utf8(line) else { return };
            if !text.is_empty() && on_line(text).is_err() {
                return;
            }
        }
        if bytes.is_empty() {
            return;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(*size) + 1));
        buffer.space(READ_BYTES).extend_from_slice(piece);
        bytes = rest;
    }
}

/// The end of an emulator's stdout and stderr.
#[derive(Debug)]
struct Tail {
    bytes: Vec<u8>,
    kept: usize,
}

impl Tail {
    /// Reads what the pipe holds, but not more than twice as much: a process may write faster than this reads. A pipe
    /// holds 64 KiB.
    fn fill(&mut self, output: &mut Option<pipe::Receiver>) {
        for _ in 0..32 {
            let Some(pipe) = output else { return };
            let mut bytes = [0; 4096];
            match pipe.try_read(&mut bytes) {
                Ok(count) if count > 0 => self.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => *output = None,
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let surplus = self.bytes.len().saturating_sub(self.kept);
        self.bytes.drain(..surplus);
    }
}
