//! How long and how much an emulator may take.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long the answers of a whole probe may be together, in bytes: they are kept, what else is sent is not. A full
/// profile of QEMU 11.1 has nine megabytes.
const ANSWER_BYTES: u64 = 24 << 20;

/// What a probe lets an emulator cost, however broken it is.
///
/// The defaults are far above what any known QEMU needs: a full profile of QEMU 11.1 takes under two seconds and
/// nine megabytes, its longest line is well below one megabyte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long one process may run, counted from its start, before it is held to be silent. 10 s.
    pub start: Duration,
    /// How long a whole probe may take, restarts included. 60 s.
    pub probe: Duration,
    /// The longest line of the monitor, in bytes without its line feed. 8 MiB.
    pub line_bytes: usize,
    /// What all processes of a whole probe may send over their monitors together, in bytes. 64 MiB.
    pub total_bytes: u64,
    /// How often an emulator is started again under one accelerator, to get around queries that kill it. 32.
    pub restarts: u32,
    /// How much of the end of an emulator's stdout and stderr is kept, in bytes. 8 KiB.
    pub tail_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(10),
            probe: Duration::from_secs(60),
            line_bytes: 8 << 20,
            total_bytes: 64 << 20,
            restarts: 32,
            tail_bytes: 8 << 10,
        }
    }
}

/// The limits of one probe that is under way: all its passes share one deadline and one allowance.
#[derive(Debug)]
pub(crate) struct Terms<'l> {
    pub(crate) limits: &'l Limits,
    /// When the whole probe must be done.
    pub(crate) deadline: Instant,
    /// What may still be sent, in bytes.
    sendable: Cell<u64>,
    /// How much of that may be answers.
    answerable: Cell<u64>,
}

/// More was sent than this many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded(pub(crate) u64);

impl<'l> Terms<'l> {
    /// For a probe that begins now.
    pub(crate) fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            deadline: Instant::now() + limits.probe,
            sendable: Cell::new(limits.total_bytes),
            answerable: Cell::new(ANSWER_BYTES),
        }
    }

    /// Takes what was sent from what may be sent.
    pub(crate) fn sent(&self, bytes: usize) -> Result<(), Exceeded> {
        take(&self.sendable, bytes).ok_or(Exceeded(self.limits.total_bytes))
    }

    /// Takes an answer from what may be answered.
    pub(crate) fn answered(&self, bytes: usize) -> Result<(), Exceeded> {
        take(&self.answerable, bytes).ok_or(Exceeded(ANSWER_BYTES))
    }
}

fn take(from: &Cell<u64>, bytes: usize) -> Option<()> {
    let left = from.get().checked_sub(bytes as u64);
    from.set(left.unwrap_or(0));
    left.map(drop)
}
