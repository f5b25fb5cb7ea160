//! Limits on the time and the data of a probe.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Bound on the answers of a whole probe, in bytes: they are kept, other messages are not. A full profile of QEMU 11.1 has
/// nine megabytes.
const ANSWER_BYTES: u64 = 24 << 20;

/// Limits on the time and the data of a probe, however broken the emulator is.
///
/// The defaults are far above what any known QEMU needs: a full profile of QEMU 11.1 takes under two seconds and
/// nine megabytes, its longest line is well below one megabyte.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The time that one process may take, counted from its start; 10 s by default.
    pub start: Duration,
    /// The time that a whole probe may take, restarts included; 60 s by default. It does not include the time in which the
    /// last emulator quits or is killed, up to five seconds.
    pub probe: Duration,
    /// The longest line of the monitor, in bytes without its line feed; 8 MiB by default.
    pub line_bytes: usize,
    /// The bytes that all processes of a whole probe may send over their monitors together; 64 MiB by default.
    pub total_bytes: u64,
    /// The number of restarts under one accelerator, to get around queries that kill the emulator; 32 by default.
    pub restarts: u32,
    /// The length of the end of an emulator's stdout and stderr that is kept, in bytes; 8 KiB by default.
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

impl Limits {
    /// The longest time that a limit can be; longer ones count as this.
    pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// Returns the limits with times of at most [`Limits::LONGEST`], which can be added to the present.
    #[must_use]
    pub fn bounded(self) -> Limits {
        let [start, probe] = [self.start, self.probe].map(|time| time.min(Limits::LONGEST));
        Limits { start, probe, ..self }
    }

    /// Sets [`Limits::start`](struct.Limits.html#structfield.start).
    pub fn start(mut self, start: Duration) -> Limits {
        self.start = start;
        self
    }

    /// Sets [`Limits::probe`](struct.Limits.html#structfield.probe).
    pub fn probe(mut self, probe: Duration) -> Limits {
        self.probe = probe;
        self
    }

    /// Sets [`Limits::line_bytes`](struct.Limits.html#structfield.line_bytes).
    pub fn line_bytes(mut self, line_bytes: usize) -> Limits {
        self.line_bytes = line_bytes;
        self
    }

    /// Sets [`Limits::total_bytes`](struct.Limits.html#structfield.total_bytes).
    pub fn total_bytes(mut self, total_bytes: u64) -> Limits {
        self.total_bytes = total_bytes;
        self
    }

    /// Sets [`Limits::restarts`](struct.Limits.html#structfield.restarts).
    pub fn restarts(mut self, restarts: u32) -> Limits {
        self.restarts = restarts;
        self
    }

    /// Sets [`Limits::tail_bytes`](struct.Limits.html#structfield.tail_bytes).
    pub fn tail_bytes(mut self, tail_bytes: usize) -> Limits {
        self.tail_bytes = tail_bytes;
        self
    }
}

/// The remaining time and data of one probe, which all its passes share.
#[derive(Debug)]
pub(crate) struct Budget<'l> {
    pub(crate) limits: &'l Limits,
    /// The deadline of the whole probe.
    pub(crate) deadline: Instant,
    /// The bytes that may still be sent.
    sendable: Cell<u64>,
    /// The bytes of these that may be answers.
    answerable: Cell<u64>,
}

/// The error of exceeding this number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded(pub(crate) u64);

impl<'l> Budget<'l> {
    /// Returns the budget of a probe that begins now.
    pub(crate) fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            deadline: Instant::now() + limits.probe,
            sendable: Cell::new(limits.total_bytes),
            answerable: Cell::new(ANSWER_BYTES),
        }
    }

    /// Subtracts bytes that the emulator sent.
    pub(crate) fn sent(&self, bytes: usize) -> Result<(), Exceeded> {
        subtract(&self.sendable, bytes).ok_or(Exceeded(self.limits.total_bytes))
    }

    /// Subtracts the bytes of an answer.
    pub(crate) fn answered(&self, bytes: usize) -> Result<(), Exceeded> {
        subtract(&self.answerable, bytes).ok_or(Exceeded(ANSWER_BYTES))
    }
}

fn subtract(from: &Cell<u64>, bytes: usize) -> Option<()> {
    let left = from.get().checked_sub(bytes as u64);
    from.set(left.unwrap_or(0));
    left.map(drop)
}
