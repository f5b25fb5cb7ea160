//! Messages on a socket, as Varlink frames them: JSON that ends with a NUL.
//!
//! zlink's own transport is not used: it accepts 100 MB a message, keeps the buffer of the largest one for
//! ever, and serialises a reply again for each 256 bytes that its buffer grows. See
//! `docs/adr/0004-zlink-without-its-server.md`.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::limits::{Admission, Permit};

/// The longest message that is accepted, in bytes without its NUL.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Bytes that a connection may buffer without being counted, and the least that are read at a time.
const CHUNK: usize = 4096;

/// Time of a message from its first byte to its last.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Time that a peer has to read a reply.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval of checks whether a peer that sends no more has closed the connection: write readiness does not
/// show that.
const HANGUP_CHECK: Duration = Duration::from_secs(1);

/// The reason why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("cannot receive a call: it has more than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    #[error("cannot receive a call: it was not complete after {} s", RECEIVE_TIMEOUT.as_secs())]
    TooSlow,
    #[error("cannot receive a call: too many of this user, or of all, are incomplete")]
    TooMuch,
    #[error("cannot send a reply: it was not read within {} s", SEND_TIMEOUT.as_secs())]
    Unread,
    #[error("cannot parse a call: {0}")]
    NotACall(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Received bytes, and where the next message is in them.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// The offset of the next message.
    begin: usize,
    /// End of the bytes that have no NUL.
    searched: usize,
    /// Arrival of the first byte of an unfinished message.
    since: Option<Instant>,
    charge: Option<Permit>,
}

impl Inbox {
    /// Holds bytes as if they had been received at once.
    pub(crate) fn of(bytes: &[u8]) -> Inbox {
        Inbox { bytes: bytes.to_vec(), ..Inbox::default() }
    }

    /// Waits for a message, and returns its range for [`Inbox::message`]; `None` if the peer sends no more.
    /// Cancelling loses nothing.
    pub(crate) async fn next(
        &mut self,
        stream: &UnixStream,
        admission: &Admission,
    ) -> Result<Option<Range<usize>>, ConnectionError> {
        loop {
            if let Some(found) = self.complete()? {
                return Ok(Some(found));
            }
            if !self.receive(stream, admission).await? {
                return Ok(None);
            }
        }
    }

    /// Returns the bytes of a message, without its NUL.
    pub(crate) fn message(&self, at: Range<usize>) -> &[u8] {
        &self.bytes[at]
    }

    /// Waits until the peer has closed the connection; one that shut down only its sending half may still
    /// wait for replies. Bytes that arrive meanwhile are kept, up to the limit of a message.
    pub(crate) async fn wait_for_hangup(&mut self, stream: &UnixStream, admission: &Admission) {
        while self.bytes.len() - self.begin <= MAX_MESSAGE_BYTES {
            match self.receive_once(stream, admission).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => return,
            }
        }
        while !has_hung_up(stream) {
            sleep(HANGUP_CHECK).await;
        }
    }

    /// Returns the range of the next message, if it is complete.
    pub(crate) fn complete(&mut self) -> Result<Option<Range<usize>>, ConnectionError> {
        let Some(length) = memchr::memchr(0, &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            let is_too_long = self.bytes.len() - self.begin > MAX_MESSAGE_BYTES;
            return if is_too_long { Err(ConnectionError::TooLong) } else { Ok(None) };
        };
        let message = self.begin..self.searched + length;
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(ConnectionError::TooLong);
        }
        self.begin = message.end + 1;
        self.searched = self.begin;
        self.since = (self.begin < self.bytes.len()).then(Instant::now);
        Ok(Some(message))
    }

    /// Receives more bytes, within the timeout of an unfinished message; returns false at the end of the stream.
    async fn receive(
        &mut self,
        stream: &UnixStream,
        admission: &Admission,
    ) -> Result<bool, ConnectionError> {
        let received = match self.since {
            None => self.receive_once(stream, admission).await?,
            Some(since) => {
                timeout_at(since + RECEIVE_TIMEOUT, self.receive_once(stream, admission))
                    .await
                    .map_err(|_| ConnectionError::TooSlow)??
            }
        };
        Ok(received > 0)
    }

    async fn receive_once(
        &mut self,
        stream: &UnixStream,
        admission: &Admission,
    ) -> Result<usize, ConnectionError> {
        loop {
            if let Some(received) = self.try_receive(stream, admission)? {
                return Ok(received);
            }
            stream.readable().await?;
        }
    }

    /// Receives available bytes, and returns their number: `None` if there are none yet, 0 at the end of
    /// the stream.
    fn try_receive(
        &mut self,
        stream: &UnixStream,
        admission: &Admission,
    ) -> Result<Option<usize>, ConnectionError> {
        self.make_room(admission)?;
        match stream.try_read_buf(&mut self.bytes) {
            Ok(received) => {
                if received > 0 {
                    self.since.get_or_insert_with(Instant::now);
                }
                Ok(Some(received))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.bytes.is_empty() {
                    // An idle connection keeps no buffer: there may be thousands.
                    self.bytes = Vec::new();
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Drops the messages that were returned, and reserves room for more bytes.
    fn make_room(&mut self, admission: &Admission) -> Result<(), ConnectionError> {
        if self.begin > 0 {
            self.bytes.drain(..self.begin);
            self.searched -= self.begin;
            self.begin = 0;
            if self.bytes.len() <= CHUNK {
                self.bytes.shrink_to(CHUNK);
                self.charge = None;
            }
        }
        if self.bytes.len() == self.bytes.capacity() {
            let more = self.bytes.len().clamp(CHUNK, MAX_MESSAGE_BYTES);
            if !self.bytes.is_empty() {
                let charge = admission.charge_bytes(more).ok_or(ConnectionError::TooMuch)?;
                match &mut self.charge {
                    Some(charged) => charged.merge(charge),
                    None => self.charge = Some(charge),
                }
            }
            self.bytes.reserve_exact(more);
        }
        Ok(())
    }
}

/// Returns whether the peer has closed its end, so that replies are not read.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut ends = [PollFd::new(stream, PollFlags::empty())];
    let polled = poll(&mut ends, Some(&Timespec::default()));
    polled.is_err() || ends[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Sends a message, whose bytes include the NUL, with descriptors if the peer accepts any.
pub(crate) async fn send(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[OwnedFd],
) -> Result<(), ConnectionError> {
    timeout(SEND_TIMEOUT, send_all(stream, bytes, descriptors))
        .await
        .map_err(|_| ConnectionError::Unread)??;
    Ok(())
}

async fn send_all(
    stream: &UnixStream,
    bytes: &[u8],
    mut descriptors: &[OwnedFd],
) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        let try_send = || send_some(stream, &bytes[sent..], descriptors);
        match stream.try_io(Interest::WRITABLE, try_send) {
            Ok(more) => {
                sent += more;
                descriptors = &[];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            // Send the message without descriptors rather than not at all.
            Err(error) if refuses_descriptors(&error) && !descriptors.is_empty() => {
                descriptors = &[];
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns whether the message could be sent without descriptors: the peer's socket accepts none
/// (SO_PASSRIGHTS), or too many of this user's are in flight.
fn refuses_descriptors(error: &io::Error) -> bool {
    let refusals = [Errno::PERM, Errno::TOOMANYREFS].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|error| refusals.contains(&error))
}

fn send_some(stream: &UnixStream, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    if !borrowed.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(&borrowed));
        debug_assert!(fits, "no reply has more than one descriptor");
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn admission() -> Admission {
        Limits::new().admit(1000, false).unwrap()
    }

    #[tokio::test]
    async fn messages_arrive_whole_however_they_are_cut() {
        let admission = admission();
        let messages: Vec<Vec<u8>> =
            [0, 1, 10, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, MAX_MESSAGE_BYTES, 5]
                .iter()
                .map(|length| vec![b'm'; *length])
                .collect();
        let sent: Vec<u8> = messages.iter().flat_map(|m| [m.as_slice(), b"\0"].concat()).collect();
        for piece in [999, CHUNK, 70_000, sent.len()] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let receive = async {
                let mut inbox = Inbox::default();
                for message in &messages {
                    let at = inbox.next(&ours, &admission).await.unwrap().unwrap();
                    assert!(inbox.message(at) == message, "{} bytes", message.len());
                }
                assert!(inbox.try_receive(&ours, &admission).unwrap().is_none());
                assert_eq!(inbox.bytes.capacity(), 0, "an idle connection keeps nothing");
                assert!(inbox.charge.is_none());
            };
            let write = async {
                for bytes in sent.chunks(piece) {
                    send(&theirs, bytes, &[]).await.unwrap();
                }
            };
            tokio::join!(receive, write);
        }
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_the_end_also_within_a_message() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&theirs, b"whole\0half", &[]).await.unwrap();
        drop(theirs);
        let (mut inbox, admission) = (Inbox::default(), admission());
        let at = inbox.next(&ours, &admission).await.unwrap().unwrap();
        assert_eq!(inbox.message(at), b"whole");
        assert!(inbox.next(&ours, &admission).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_a_minute_is_too_slow_and_silence_is_not() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut inbox, admission) = (Inbox::default(), admission());
        let minute = Duration::from_secs(60);
        assert!(timeout(60 * minute, inbox.next(&ours, &admission)).await.is_err(), "it is idle");
        let began = Instant::now();
        let write = async {
            loop {
                theirs.writable().await.unwrap();
                theirs.try_write(b"x").unwrap();
                tokio::time::sleep(minute - Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            broken = inbox.next(&ours, &admission) => assert!(matches!(broken, Err(ConnectionError::TooSlow))),
            () = write => {}
        }
        assert_eq!(began.elapsed().as_secs(), RECEIVE_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_disconnected() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let reply = vec![b'r'; 16 << 20];
        assert!(matches!(send(&ours, &reply, &[]).await, Err(ConnectionError::Unread)));
    }

    #[tokio::test]
    async fn a_peer_that_sends_no_more_is_connected_until_it_closes() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut inbox, admission) = (Inbox::default(), admission());
        rustix::net::shutdown(&theirs, rustix::net::Shutdown::Write).unwrap();
        let waited =
            timeout(Duration::from_millis(50), inbox.wait_for_hangup(&ours, &admission)).await;
        assert!(waited.is_err(), "it may read");
        drop(theirs);
        inbox.wait_for_hangup(&ours, &admission).await;
    }

    #[tokio::test]
    async fn bytes_that_arrive_while_replies_are_sent_are_kept_up_to_a_limit() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut inbox, admission) = (Inbox::default(), admission());
        let flood = vec![0; 4 << 20];
        let sending = timeout(Duration::from_millis(200), send_all(&theirs, &flood, &[]));
        tokio::select! {
            () = inbox.wait_for_hangup(&ours, &admission) => panic!("the peer is connected"),
            sent = sending => assert!(sent.is_err(), "it is not read for ever"),
        }
        assert!(inbox.bytes.capacity() <= 3 * MAX_MESSAGE_BYTES);
        drop(theirs);
    }
}
