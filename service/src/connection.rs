//! One connection, from its first message to its end. Calls are answered in order, as Varlink requires.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::call::{Answer, Replies, answer};
use crate::limits::Admission;
use crate::peer::Peer;
use crate::transport::{ConnectionError, Inbox, send};

/// An admitted connection.
pub(crate) struct Connection {
    pub(crate) stream: UnixStream,
    pub(crate) peer: Peer,
    pub(crate) admission: Rc<Admission>,
    pub(crate) closing: watch::Receiver<bool>,
}

impl Connection {
    /// Answers calls until the peer sends no more, or the service ends.
    pub(crate) async fn serve(mut self) -> Result<(), ConnectionError> {
        let mut inbox = Inbox::default();
        let mut is_closing = false;
        loop {
            let next = tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing), if !is_closing => {
                    // Messages that were sent before are answered; later ones are not received.
                    is_closing = true;
                    shutdown(&self.stream, Shutdown::Read).map_err(std::io::Error::from)?;
                    continue;
                }
                next = inbox.next(&self.stream, &self.admission) => next?,
            };
            let Some(at) = next else { return Ok(()) };
            self.admission.wait_for_turn().await;
            let (answer, busy) = timed(answer(&mut self.peer, inbox.message(at))).await;
            self.admission.charge_time(busy);
            match answer? {
                Answer::Nothing => {}
                Answer::One(mut message) => {
                    if !message.descriptors.is_empty() && !self.admission.may_send_descriptor() {
                        message.descriptors.clear();
                    }
                    send(&self.stream, &message.bytes, &message.descriptors).await?;
                    self.peer.reply_sent();
                }
                Answer::Many(replies) => {
                    if !self.send_all(replies, &mut inbox).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sends all replies; returns false if the peer closed the connection before the last.
    async fn send_all(
        &self,
        mut replies: Replies,
        inbox: &mut Inbox,
    ) -> Result<bool, ConnectionError> {
        loop {
            let next = tokio::select! {
                next = replies.next() => next?,
                () = inbox.wait_for_hangup(&self.stream, &self.admission) => return Ok(false),
            };
            let Some(message) = next else { return Ok(true) };
            send(&self.stream, &message.bytes, &message.descriptors).await?;
        }
    }
}

/// Runs a future to its end; returns also the time that it occupied this thread.
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
