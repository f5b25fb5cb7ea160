//! Lines on stdout that are written by a thread of their own: a reader that stalls must not keep signals from being
//! handled.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

/// The number of lines that are kept for a reader that is slow.
const KEPT_LINES: usize = 1024;

/// The time that a slow reader has for the last lines.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines on stdout.
pub(super) struct Lines {
    lines: SyncSender<String>,
    /// Ready when all lines are written.
    finished: oneshot::Receiver<()>,
    dropped: u64,
}

impl Lines {
    /// Starts the thread.
    pub(super) fn new() -> io::Result<Lines> {
        let (lines, queue) = sync_channel::<String>(KEPT_LINES);
        let (finish, finished) = oneshot::channel();
        std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            let mut stdout = io::stdout();
            for line in queue {
                // A reader that has gone does not end the guest.
                let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
            }
            // It fails if nothing waits any more.
            let _ = finish.send(());
        })?;
        Ok(Lines { lines, finished, dropped: 0 })
    }

    /// Queues a line; drops it if too many wait.
    pub(super) fn print(&mut self, line: String) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped += 1;
        }
    }

    /// Waits until all lines are written, for some time at most.
    pub(super) async fn finish(self) {
        let Lines { lines, finished, dropped } = self;
        drop(lines);
        let is_late = tokio::time::timeout(FINISH_TIMEOUT, finished).await.is_err();
        if is_late || dropped > 0 {
            crate::output::warn(format_args!("not all events were printed: stdout is not read"));
        }
    }
}
