//! What happens, told to everybody who watches.

use std::path::Path;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tracing::info;

use crate::interface::{self, Event, Happening};

/// Events that are kept for those who read slowly: the rest they miss, and are told how many.
const KEPT: usize = 1024;

/// Events that are sent in one message at most.
const TOGETHER: usize = 64;

/// Where events come from. All watchers share what is kept.
#[derive(Clone, Debug)]
pub(super) struct Events(broadcast::Sender<Event>);

/// One who watches.
#[derive(Debug)]
pub(super) struct Watching(broadcast::Receiver<Event>);

impl Events {
    pub(super) fn new() -> Events {
        Events(broadcast::Sender::new(KEPT))
    }

    /// Tells those who watch, and the log.
    pub(super) fn tell(&self, event: Event) {
        let Event { kind, emulator, reason, probed, milliseconds } = &event;
        let emulator = emulator.as_deref().unwrap_or("");
        let reason = reason.as_deref().unwrap_or("");
        match kind {
            Happening::Appeared => info!("{emulator} appeared"),
            Happening::Dropped => info!("{emulator} dropped: {reason}"),
            Happening::Refreshed => {
                let how = if *probed == Some(true) { "probed" } else { "looked at" };
                info!("{emulator} fresh again, {how} in {} ms", milliseconds.unwrap_or(0));
            }
            Happening::Failed => info!("{emulator} failed: {reason}"),
            Happening::Notice => info!("{reason}"),
        }
        // It is no error that nobody watches.
        let _ = self.0.send(event);
    }

    pub(super) fn watch(&self) -> Watching {
        Watching(self.0.subscribe())
    }
}

impl Watching {
    /// Waits for what happens next: all that is there, and how much was missed before.
    pub(super) async fn next(&mut self) -> interface::Events {
        let mut found = interface::Events { events: Vec::new(), missed: 0 };
        match self.0.recv().await {
            Ok(event) => found.events.push(event),
            Err(RecvError::Lagged(missed)) => found.missed = missed,
            // The service has a sender as long as it serves anybody.
            Err(RecvError::Closed) => std::future::pending().await,
        }
        while found.events.len() < TOGETHER {
            match self.0.try_recv() {
                Ok(event) => found.events.push(event),
                Err(TryRecvError::Lagged(missed)) => found.missed += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        found
    }
}

impl Event {
    fn of(kind: Happening, emulator: &Path) -> Event {
        Event {
            kind,
            emulator: Some(emulator.to_string_lossy().into_owned()),
            reason: None,
            probed: None,
            milliseconds: None,
        }
    }

    pub(super) fn dropped(emulator: &Path, reason: String) -> Event {
        Event { reason: Some(reason), ..Event::of(Happening::Dropped, emulator) }
    }

    pub(super) fn refreshed(emulator: &Path, probed: bool, milliseconds: u64) -> Event {
        Event {
            probed: Some(probed),
            milliseconds: Some(milliseconds),
            ..Event::of(Happening::Refreshed, emulator)
        }
    }

    pub(super) fn failed(emulator: &Path, reason: String) -> Event {
        Event { reason: Some(reason), ..Event::of(Happening::Failed, emulator) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_reads_too_slowly_is_told_how_much_was_missed_and_gets_the_rest_in_order() {
        let events = Events::new();
        let mut watching = events.watch();
        for number in 0..KEPT + 10 {
            events.tell(Event::dropped(Path::new("/emulator"), number.to_string()));
        }
        let (mut missed, mut numbers) = (0, Vec::<usize>::new());
        while numbers.len() < KEPT {
            let next = watching.next().await;
            assert!(next.events.len() <= TOGETHER);
            missed += next.missed;
            numbers.extend(
                next.events.into_iter().filter_map(|event| event.reason?.parse::<usize>().ok()),
            );
        }
        assert_eq!(missed, 10);
        assert_eq!(numbers, (10..KEPT + 10).collect::<Vec<usize>>());
    }
}
