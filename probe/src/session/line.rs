//! The connection to an emulator: bytes on one side, lines on the other.

use std::collections::VecDeque;
use std::io::{self, BufRead, IoSliceMut};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown};
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::net::{UnixStream, unix::pipe};

use crate::error::Loss;
use crate::limits::{Exceeded, Terms};
use crate::spawn::{Emulator, Spawned};

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// How long an emulator that closed its monitor has to end, before it is held to live on.
const CLOSING: Duration = Duration::from_millis(500);

/// How long an emulator that was asked to quit has to end before it is killed, and a wrapper to clean up after it.
/// QEMU takes some milliseconds.
const QUITTING: Duration = Duration::from_secs(1);

/// How long a killed emulator has to end before it is left to [`Emulator`]'s drop.
const DYING: Duration = Duration::from_secs(2);

/// The connection to an emulator.
#[derive(Debug)]
pub(super) struct Line<'t> {
    emulator: Emulator,
    monitor: UnixStream,
    /// None when everybody who could write there has closed it.
    output: Option<pipe::Receiver>,
    tail: Tail,
    incoming: Frames,
    outgoing: VecDeque<u8>,
    terms: &'t Terms<'t>,
    deadline: Instant,
    /// The process that was started has ended: nothing more will be sent.
    ended: bool,
}

impl<'t> Line<'t> {
    /// Takes over a process that was started at `started`.
    pub(super) fn new(
        spawned: Spawned,
        terms: &'t Terms<'t>,
        started: Instant,
    ) -> io::Result<Self> {
        let deadline = terms.deadline.min(started + terms.limits.start);
        Ok(Self {
            emulator: spawned.emulator,
            monitor: UnixStream::from_std(spawned.monitor)?,
            output: Some(pipe::Receiver::from_owned_fd(spawned.output.into())?),
            tail: Tail { bytes: Vec::new(), kept: terms.limits.tail_bytes },
            incoming: Frames::new(terms.limits.line_bytes),
            outgoing: VecDeque::new(),
            terms,
            deadline,
            ended: false,
        })
    }

    /// Puts bytes behind those that [`next`](Self::next) still has to write.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
    }

    /// Waits for the first line, and for who sent it.
    pub(super) async fn greeting(&mut self) -> Result<(String, Pid), Loss> {
        let speaker = loop {
            match self.monitor.try_io(Interest::READABLE, || receive(&self.monitor)) {
                Ok((bytes, speaker)) if !bytes.is_empty() => {
                    self.incoming.buffer.extend_from_slice(&bytes);
                    self.count(bytes.len())?;
                    let unknown = || Loss::Io(io::Error::from(io::ErrorKind::InvalidData));
                    break speaker.ok_or_else(unknown)?;
                }
                Ok(_) => return Err(self.lost().await),
                Err(error) => self.recover(error).await?,
            }
        };
        self.emulator.set_peer(speaker);
        // Nobody asks for the sender of anything else. If this fails they only come unasked.
        let _ = rustix::net::sockopt::set_socket_passcred(&self.monitor, false);
        Ok((self.next().await?.to_owned(), speaker))
    }

    /// Returns the next line that is not blank, writing what is queued while it waits.
    pub(super) async fn next(&mut self) -> Result<&str, Loss> {
        let range = loop {
            if let Some(range) = self.incoming.next()? {
                if self.incoming.buffer[range.clone()].trim_ascii().is_empty() {
                    continue;
                }
                break range;
            }
            self.write()?;
            match self.monitor.try_read_buf(self.incoming.space()) {
                Ok(0) => return Err(self.lost().await),
                Ok(count) => self.count(count)?,
                Err(error) => self.recover(error).await?,
            }
        };
        let line = self.incoming.buffer[range].trim_ascii();
        std::str::from_utf8(line)
            .map_err(|error| Loss::NotUtf8 { valid_bytes: error.valid_up_to() })
    }

    /// Writes as much as the socket takes.
    fn write(&mut self) -> Result<(), Loss> {
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
                    // It may have answered before it closed the monitor: reading tells.
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        self.outgoing.clear();
                    }
                    _ => return Err(Loss::Io(error)),
                },
            }
        }
        Ok(())
    }

    /// Counts what was read. Also looks at the clock: an emulator that never pauses is never waited for.
    fn count(&mut self, bytes: usize) -> Result<(), Loss> {
        self.terms.sent(bytes).map_err(|Exceeded(limit_bytes)| Loss::TooMuch { limit_bytes })?;
        if Instant::now() >= self.deadline {
            return Err(self.silent());
        }
        Ok(())
    }

    fn silent(&self) -> Loss {
        let limits = self.terms.limits;
        if self.deadline < self.terms.deadline {
            Loss::Silent { waited: limits.start }
        } else {
            Loss::OutOfTime { limit: limits.probe }
        }
    }

    /// After a read that failed: waits if there was nothing to read yet.
    async fn recover(&mut self, error: io::Error) -> Result<(), Loss> {
        match error.kind() {
            // All it sent was there before its end was seen, so it was read by now.
            io::ErrorKind::WouldBlock if self.ended => Err(self.lost().await),
            io::ErrorKind::WouldBlock => self.wait().await,
            io::ErrorKind::Interrupted => Ok(()),
            // It went, and left some commands unread.
            io::ErrorKind::ConnectionReset => Err(self.lost().await),
            _ => Err(Loss::Io(error)),
        }
    }

    /// Waits until there is something to do on the monitor, the process ends, or its time is over.
    async fn wait(&mut self) -> Result<(), Loss> {
        let interest = if self.outgoing.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        tokio::select! {
            biased;
            ready = self.monitor.ready(interest) => drop(ready.map_err(Loss::Io)?),
            () = tokio::time::sleep_until(self.deadline.into()) => {
                return Err(self.silent());
            }
            () = readable(self.output.as_ref()) => self.tail.fill(&mut self.output),
            () = self.emulator.ended() => self.ended = true,
        }
        Ok(())
    }

    /// Finds out what became of an emulator that closed its monitor or ended.
    async fn lost(&mut self) -> Loss {
        if tokio::time::timeout(CLOSING, self.emulator.ended()).await.is_err() {
            return Loss::ClosedMonitor;
        }
        match self.emulator.end(DYING).await {
            Some(exit) => Loss::Exited { exit, output: self.output() },
            None => Loss::ClosedMonitor,
        }
    }

    /// Waits a moment for an emulator whose last command, `quit`, is queued; then as [`end`](Self::end).
    pub(super) async fn quit(&mut self) -> String {
        self.deadline = Instant::now() + QUITTING;
        let quitting = async {
            while self.next().await.is_ok() {
                // The command was read; an end of its input before that could make QEMU drop it. Whoever does not
                // follow it sees that nothing else will come.
                let _ = rustix::net::shutdown(&self.monitor, Shutdown::Write);
            }
            self.emulator.ended().await;
        };
        let _ = tokio::time::timeout(QUITTING, quitting).await;
        self.end().await
    }

    /// Kills the emulator, reaps it, and returns the end of what it wrote to stdout and stderr.
    pub(super) async fn end(&mut self) -> String {
        self.emulator.end(DYING).await;
        self.output()
    }

    /// The end of what was written up to now: others may hold the pipe open, and are not waited for.
    fn output(&mut self) -> String {
        self.tail.fill(&mut self.output);
        String::from_utf8_lossy(&self.tail.bytes).into_owned()
    }
}

/// Waits until there is output; for ever if there can be none.
async fn readable(output: Option<&pipe::Receiver>) {
    match output {
        // An error shows itself when it is read.
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
    let speaker = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
        _ => None,
    });
    Ok((bytes, speaker))
}

/// Cuts a stream of bytes into lines. Every byte is looked at once.
#[derive(Debug)]
struct Frames {
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// No line feed is between `start` and here.
    searched: usize,
    limit: usize,
}

impl Frames {
    fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, limit }
    }

    /// Where the next whole line is, without its line feed. Valid until [`space`](Self::space) is called.
    fn next(&mut self) -> Result<Option<Range<usize>>, Loss> {
        let mut rest = &self.buffer[self.searched..];
        // The one search in std that looks at many bytes at a time. Reading from a slice cannot fail.
        let passed = rest.skip_until(b'\n').unwrap_or(0);
        let whole = self.buffer[self.searched..][..passed].ends_with(b"\n");
        self.searched += passed;
        let line = self.start..self.searched - usize::from(whole);
        if line.len() > self.limit {
            return Err(Loss::LineTooLong { limit_bytes: self.limit });
        }
        if whole {
            self.start = self.searched;
        }
        Ok(whole.then_some(line))
    }

    /// Room for more bytes. What was handed out is dropped; only the part of a line that is there already moves.
    fn space(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }
}

/// Hands out the lines of what arrives in pieces of these sizes, in turn, until one is refused.
pub(super) fn cut(
    pieces: &[u8],
    mut bytes: &[u8],
    limit: usize,
    mut hand_out: impl FnMut(&str) -> Result<(), Loss>,
) {
    let mut frames = Frames::new(limit);
    for size in pieces.iter().cycle() {
        loop {
            let Ok(range) = frames.next() else { return };
            let Some(range) = range else { break };
            let line = frames.buffer[range].trim_ascii();
            assert!(line.len() <= limit && !line.contains(&b'\n'));
            let Ok(text) = std::str::from_utf8(line) else { return };
            if !text.is_empty() && hand_out(text).is_err() {
                return;
            }
        }
        if bytes.is_empty() {
            return;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(*size) + 1));
        frames.space().extend_from_slice(piece);
        bytes = rest;
    }
}

/// The end of what an emulator wrote to stdout and stderr.
#[derive(Debug)]
struct Tail {
    bytes: Vec<u8>,
    kept: usize,
}

impl Tail {
    /// Reads what is there, but not for ever: somebody may write faster than this reads. A pipe holds 64 KiB.
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
