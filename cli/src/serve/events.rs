//! What happens, told to everybody who watches.

use capscache_watcher::Event as Watched;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tracing::{info, warn};

use crate::interface::{self, Event, Happening};
use crate::output;

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
    pub(super) fn tell(&self, watched: &Watched) {
        let line = watched.to_string();
        let line = output::printable(output::without_number(&line));
        match watched {
            Watched::Failed { .. } => warn!("{line}"),
            _ => info!("{line}"),
        }
        // It is no error that nobody watches.
        let _ = self.0.send(event(watched));
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

/// What the watcher says, as the interface says it.
fn event(watched: &Watched) -> Event {
    let (kind, emulator) = match watched {
        Watched::Appeared { emulator } => (Happening::Appeared, Some(emulator)),
        Watched::Dropped { emulator, .. } => (Happening::Dropped, Some(emulator)),
        Watched::Refreshed { emulator, .. } => (Happening::Refreshed, Some(emulator)),
        Watched::Failed { emulator, .. } => (Happening::Failed, Some(emulator)),
        _ => (Happening::Notice, None),
    };
    let (probed, took) = match watched {
        Watched::Refreshed { probed, took, .. } => (Some(*probed), Some(took)),
        _ => (None, None),
    };
    let reason = match watched {
        Watched::Dropped { reason, .. } | Watched::Failed { reason, .. } => Some(reason.clone()),
        Watched::Notice(notice) => Some(notice.to_string()),
        _ => None,
    };
    Event {
        kind,
        emulator: emulator.map(|path| path.to_string_lossy().into_owned()),
        reason: reason.map(|reason| output::without_number(&reason).to_owned()),
        probed,
        milliseconds: took.map(|took| took.as_millis().try_into().unwrap_or(u64::MAX)),
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
            let (emulator, reason) = ("/emulator".into(), number.to_string());
            events.tell(&Watched::Dropped { emulator, reason });
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
