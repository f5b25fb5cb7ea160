//! Messages on a socket, as Varlink frames them: JSON that ends with a NUL.
//!
//! zlink has a transport of its own, which is not used: it takes 100 MB a message, keeps the buffer of
//! the largest one for ever, and begins a reply anew for each 256 bytes that it is longer. See
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

use super::limits::{Permit, Place};

/// The longest message that is taken, in bytes without its NUL.
pub(super) const LONGEST_MESSAGE: usize = 1 << 20;

/// What a connection may keep without being counted, and is read at a time at least.
const CHUNK: usize = 4096;

/// How long a message may take from its first byte to its last.
const UNFINISHED: Duration = Duration::from_secs(60);

/// How long a peer may take to read a reply.
const UNREAD: Duration = Duration::from_secs(30);

/// How often is looked whether a peer is there that sends nothing more: readiness to be written to does
/// not tell.
const NEXT_LOOK: Duration = Duration::from_secs(1);

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("a message of more than {LONGEST_MESSAGE} bytes")]
    TooLong,
    #[error("a message that was not complete after {} s", UNFINISHED.as_secs())]
    TooSlow,
    #[error("too many unfinished messages of one user, or of all")]
    TooMuch,
    #[error("a reply that was not read within {} s", UNREAD.as_secs())]
    Unread,
    #[error("a message that is no call: {0}")]
    Garbage(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What was received.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// Where the next message begins.
    begin: usize,
    /// Up to where no NUL was found.
    searched: usize,
    /// Since when it is under way.
    since: Option<Instant>,
    charge: Option<Permit>,
}

impl Inbox {
    /// What was received at once, as it may come from anybody.
    pub(super) fn of(bytes: &[u8]) -> Inbox {
        Inbox { bytes: bytes.to_vec(), ..Inbox::default() }
    }

    /// Waits for a message; `None` if the peer will send no more. What it returns is for
    /// [`Inbox::message`]. Giving up waiting loses nothing.
    pub(super) async fn next(
        &mut self,
        stream: &UnixStream,
        place: &Place,
    ) -> Result<Option<Range<usize>>, Broken> {
        loop {
            if let Some(found) = self.complete()? {
                return Ok(Some(found));
            }
            if !self.receive(stream, place).await? {
                return Ok(None);
            }
        }
    }

    /// The bytes of a message, without its NUL.
    pub(super) fn message(&self, at: Range<usize>) -> &[u8] {
        &self.bytes[at]
    }

    /// Waits until the peer is gone: one that only sends no more may still wait for its answer. What it
    /// sends meanwhile is kept, as far as it is allowed to.
    pub(super) async fn end(&mut self, stream: &UnixStream, place: &Place) {
        while self.bytes.len() - self.begin <= LONGEST_MESSAGE {
            match self.receive_once(stream, place).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => return,
            }
        }
        while !is_gone(stream) {
            sleep(NEXT_LOOK).await;
        }
    }

    /// The next message, if it is complete.
    pub(super) fn complete(&mut self) -> Result<Option<Range<usize>>, Broken> {
        let Some(length) = memchr::memchr(0, &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            let is_too_long = self.bytes.len() - self.begin > LONGEST_MESSAGE;
            return if is_too_long { Err(Broken::TooLong) } else { Ok(None) };
        };
        let message = self.begin..self.searched + length;
        if message.len() > LONGEST_MESSAGE {
            return Err(Broken::TooLong);
        }
        self.begin = message.end + 1;
        self.searched = self.begin;
        self.since = (self.begin < self.bytes.len()).then(Instant::now);
        Ok(Some(message))
    }

    /// Receives something; whether there was anything. A message that has begun must be over in time.
    async fn receive(&mut self, stream: &UnixStream, place: &Place) -> Result<bool, Broken> {
        let received = match self.since {
            None => self.receive_once(stream, place).await?,
            Some(since) => timeout_at(since + UNFINISHED, self.receive_once(stream, place))
                .await
                .map_err(|_| Broken::TooSlow)??,
        };
        Ok(received > 0)
    }

    async fn receive_once(&mut self, stream: &UnixStream, place: &Place) -> Result<usize, Broken> {
        loop {
            if let Some(received) = self.try_receive(stream, place)? {
                return Ok(received);
            }
            stream.readable().await?;
        }
    }

    /// Receives what is there; `None` if nothing is yet, zero bytes if nothing will be.
    fn try_receive(&mut self, stream: &UnixStream, place: &Place) -> Result<Option<usize>, Broken> {
        self.make_room(place)?;
        match stream.try_read_buf(&mut self.bytes) {
            Ok(received) => {
                if received > 0 {
                    self.since.get_or_insert_with(Instant::now);
                }
                Ok(Some(received))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.bytes.is_empty() {
                    // Nobody knows for how long: a thousand idle connections keep nothing.
                    self.bytes = Vec::new();
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Drops the messages that were taken, and makes room for more.
    fn make_room(&mut self, place: &Place) -> Result<(), Broken> {
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
            let more = self.bytes.len().clamp(CHUNK, LONGEST_MESSAGE);
            if !self.bytes.is_empty() {
                let charge = place.charge(more).ok_or(Broken::TooMuch)?;
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

/// Whether the peer has closed its end, so that nobody reads what is sent.
fn is_gone(stream: &UnixStream) -> bool {
    let mut ends = [PollFd::new(stream, PollFlags::empty())];
    let polled = poll(&mut ends, Some(&Timespec::default()));
    polled.is_err() || ends[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Sends a message, with descriptors if the peer takes any. The NUL is among the bytes.
pub(super) async fn send(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[OwnedFd],
) -> Result<(), Broken> {
    timeout(UNREAD, send_all(stream, bytes, descriptors)).await.map_err(|_| Broken::Unread)??;
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
            // The message alone is better than none.
            Err(error) if is_refusal(&error) && !descriptors.is_empty() => descriptors = &[],
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a message would be sent without descriptors: the peer's socket takes none (SO_PASSRIGHTS),
/// or too many of this user's are in flight.
fn is_refusal(error: &io::Error) -> bool {
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
    use super::super::limits::Crowd;
    use super::*;

    fn place() -> Place {
        Crowd::new().admit(1000, false).unwrap()
    }

    /// Messages come as they were sent, however the stream cuts them.
    #[tokio::test]
    async fn messages_arrive_whole_however_they_are_cut() {
        let place = place();
        let messages: Vec<Vec<u8>> =
            [0, 1, 10, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, LONGEST_MESSAGE, 5]
                .iter()
                .map(|length| vec![b'm'; *length])
                .collect();
        let sent: Vec<u8> = messages.iter().flat_map(|m| [m.as_slice(), b"\0"].concat()).collect();
        for piece in [999, CHUNK, 70_000, sent.len()] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let receive = async {
                let mut inbox = Inbox::default();
                for message in &messages {
                    let at = inbox.next(&ours, &place).await.unwrap().unwrap();
                    assert!(inbox.message(at) == message, "{} bytes", message.len());
                }
                assert!(inbox.try_receive(&ours, &place).unwrap().is_none());
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
        let (mut inbox, place) = (Inbox::default(), place());
        let at = inbox.next(&ours, &place).await.unwrap().unwrap();
        assert_eq!(inbox.message(at), b"whole");
        assert!(inbox.next(&ours, &place).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_a_minute_is_too_slow_and_silence_is_not() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut inbox, place) = (Inbox::default(), place());
        let minute = Duration::from_secs(60);
        assert!(timeout(60 * minute, inbox.next(&ours, &place)).await.is_err(), "it is idle");
        let began = Instant::now();
        let write = async {
            loop {
                theirs.writable().await.unwrap();
                theirs.try_write(b"x").unwrap();
                tokio::time::sleep(minute - Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            broken = inbox.next(&ours, &place) => assert!(matches!(broken, Err(Broken::TooSlow))),
            () = write => {}
        }
        assert_eq!(began.elapsed().as_secs(), UNFINISHED.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let reply = vec![b'r'; 16 << 20];
        assert!(matches!(send(&ours, &reply, &[]).await, Err(Broken::Unread)));
    }

    #[tokio::test]
    async fn who_sends_no_more_is_there_until_it_is_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut inbox, place) = (Inbox::default(), place());
        rustix::net::shutdown(&theirs, rustix::net::Shutdown::Write).unwrap();
        let waited = timeout(Duration::from_millis(50), inbox.end(&ours, &place)).await;
        assert!(waited.is_err(), "it may read");
        drop(theirs);
        inbox.end(&ours, &place).await;
    }

    #[tokio::test]
    async fn what_a_peer_sends_while_it_is_told_something_is_kept_up_to_a_limit() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut inbox, place) = (Inbox::default(), place());
        let flood = vec![0; 4 << 20];
        let sending = timeout(Duration::from_millis(200), send_all(&theirs, &flood, &[]));
        tokio::select! {
            () = inbox.end(&ours, &place) => panic!("the peer is there"),
            sent = sending => assert!(sent.is_err(), "it is not read for ever"),
        }
        assert!(inbox.bytes.capacity() <= 3 * LONGEST_MESSAGE);
        drop(theirs);
    }
}
