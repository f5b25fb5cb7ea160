//! One connection, from its first message to its end. Calls are answered in order, as Varlink wants.

use std::rc::Rc;

use tokio::net::UnixStream;
use tokio::sync::watch;

use super::call::{Answer, Replies, Turn, answer};
use super::limits::Place;
use super::peer::Peer;
use super::wire::{Broken, Inbox, send};

/// A connection and what it needs.
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) peer: Peer,
    pub(super) place: Rc<Place>,
    pub(super) turn: Rc<Turn>,
    pub(super) closing: watch::Receiver<bool>,
}

impl Connection {
    /// Serves until the peer has nothing more to say, or the service ends.
    pub(super) async fn serve(mut self) -> Result<(), Broken> {
        let mut inbox = Inbox::default();
        loop {
            let next = tokio::select! {
                biased;
                next = inbox.next(&self.stream, &self.place) => next?,
                _ = self.closing.wait_for(|closing| *closing) => {
                    // What was said before is answered.
                    inbox.next_now(&self.stream, &self.place)?
                }
            };
            let Some(at) = next else { return Ok(()) };
            match answer(&mut self.peer, inbox.message(at), &self.turn).await? {
                Answer::Nothing => {}
                Answer::One(message) => {
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
