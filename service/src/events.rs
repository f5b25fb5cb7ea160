//! Events of the watcher and of probes, published to all calls of `Monitor`.

use capscache::Escaped;
use capscache_watcher::Event as WatchEvent;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tracing::{info, warn};

use crate::interface::{Event, EventKind, Events};

/// Events that are kept for subscribers that read slowly; older ones are counted as missed.
const EVENT_CAPACITY: usize = 1024;

/// Events in one reply, at most.
const EVENTS_PER_REPLY: usize = 64;

/// Publishes events; all subscribers share those that are kept.
#[derive(Clone, Debug)]
pub(crate) struct Publisher(broadcast::Sender<Event>);

/// The events since one call of `Monitor` began.
#[derive(Debug)]
pub(crate) struct Subscription(broadcast::Receiver<Event>);

impl Publisher {
    pub(crate) fn new() -> Publisher {
        Publisher(broadcast::Sender::new(EVENT_CAPACITY))
    }

    /// Logs an event and sends it to all subscribers.
    pub(crate) fn publish(&self, event: &WatchEvent) {
        let line = event.to_string();
        let line = Escaped::new(&line);
        match event {
            WatchEvent::Failed { .. } => warn!("{line}"),
            _ => info!("{line}"),
        }
        // Fails where there is no subscriber.
        let _ = self.0.send(convert(event));
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        Subscription(self.0.subscribe())
    }
}

impl Subscription {
    /// Waits for the next event; returns it with those behind it, and the number of missed ones.
    pub(crate) async fn next(&mut self) -> Events {
        let mut found = Events { events: Vec::new(), missed: 0 };
        match self.0.recv().await {
            Ok(event) => found.events.push(event),
            Err(RecvError::Lagged(missed)) => found.missed = missed,
            // The backend keeps a sender as long as there are connections.
            Err(RecvError::Closed) => std::future::pending().await,
        }
        while found.events.len() < EVENTS_PER_REPLY {
            match self.0.try_recv() {
                Ok(event) => found.events.push(event),
                Err(TryRecvError::Lagged(missed)) => found.missed += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        found
    }
}

/// Converts an event of the watcher into one of the interface.
fn convert(event: &WatchEvent) -> Event {
    let (kind, emulator) = match event {
        WatchEvent::Appeared { emulator } => (EventKind::Appeared, Some(emulator)),
        WatchEvent::Dropped { emulator, .. } => (EventKind::Dropped, Some(emulator)),
        WatchEvent::Refreshed { emulator, .. } => (EventKind::Refreshed, Some(emulator)),
        WatchEvent::Failed { emulator, .. } => (EventKind::Failed, Some(emulator)),
        _ => (EventKind::Notice, None),
    };
    let (probed, took) = match event {
        WatchEvent::Refreshed { probed, took, .. } => (Some(*probed), Some(took)),
        _ => (None, None),
    };
    let reason = match event {
        WatchEvent::Dropped { reason, .. } | WatchEvent::Failed { reason, .. } => {
            Some(reason.clone())
        }
        WatchEvent::Notice(notice) => Some(notice.to_string()),
        _ => None,
    };
    Event {
        kind,
        emulator: emulator.map(|path| path.to_string_lossy().into_owned()),
        reason,
        probed,
        milliseconds: took.map(|took| took.as_millis().try_into().unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_gets_the_number_of_missed_events_and_the_rest_in_order() {
        let publisher = Publisher::new();
        let mut subscription = publisher.subscribe();
        for number in 0..EVENT_CAPACITY + 10 {
            let (emulator, reason) = ("/emulator".into(), number.to_string());
            publisher.publish(&WatchEvent::Dropped { emulator, reason });
        }
        let (mut missed, mut numbers) = (0, Vec::<usize>::new());
        while numbers.len() < EVENT_CAPACITY {
            let next = subscription.next().await;
            assert!(next.events.len() <= EVENTS_PER_REPLY);
            missed += next.missed;
            numbers.extend(
                next.events.into_iter().filter_map(|event| event.reason?.parse::<usize>().ok()),
            );
        }
        assert_eq!(missed, 10);
        assert_eq!(numbers, (10..EVENT_CAPACITY + 10).collect::<Vec<usize>>());
    }
}
