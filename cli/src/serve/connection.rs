//! One connection, from its first message to its end. Calls are answered in order, as Varlink wants.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::call::{Answer, Replies, answer};
use super::limits::Place;
use super::peer::Peer;
use super::wire::{Broken, Inbox, send};

/// A connection and what it needs.
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) peer: Peer,
    pub(super) place: Rc<Place>,
    pub(super) closing: watch::Receiver<bool>,
}

impl Connection {
    /// Serves until the peer has nothing more to say, or the service ends.
    pub(super) async fn serve(mut self) -> Result<(), Broken> {
        let mut inbox = Inbox::default();
        let mut is_closing = false;
        loop {
            let next = tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing), if !is_closing => {
                    // What was said before is answered, and nothing more can be said.
                    is_closing = true;
                    shutdown(&self.stream, Shutdown::Read).map_err(std::io::Error::from)?;
                    continue;
                }
                next = inbox.next(&self.stream, &self.place) => next?,
            };
            let Some(at) = next else { return Ok(()) };
            self.place.turn().await;
            let (answer, busy) = timed(answer(&mut self.peer, inbox.message(at))).await;
            self.place.kept_busy(busy);
            match answer? {
                Answer::Nothing => {}
                Answer::One(mut message) => {
                    if !message.descriptors.is_empty() && !self.place.may_send_descriptor() {
                        message.descriptors.clear();
                    }
                    send(&self.stream, &message.bytes, &message.descriptors).await?;
                    self.peer.written();
                }
                Answer::Many(replies) => {
                    if !self.send_all(replies, &mut inbox).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sends replies until there are no more, or nobody is there who would read them; whether
    /// somebody is.
    async fn send_all(&self, mut replies: Replies, inbox: &mut Inbox) -> Result<bool, Broken> {
        loop {
            let next = tokio::select! {
                next = replies.next() => next?,
                () = inbox.end(&self.stream, &self.place) => return Ok(false),
            };
            let Some(message) = next else { return Ok(true) };
            send(&self.stream, &message.bytes, &message.descriptors).await?;
        }
    }
}

/// How long something kept this thread from everything else, beside what it comes to.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let mut work = pin!(work);
    let mut busy = Duration::ZERO;
    let result = poll_fn(|context| {
        let began = Instant::now();
        let poll = work.as_mut().poll(context);
        busy += began.elapsed();
        poll
    })
    .await;
    (result, busy)
}
