//! How long and how much an emulator may take.

use std::time::Duration;

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
    /// What all processes of one interview may send over their monitors, in bytes. 64 MiB.
    pub total_bytes: u64,
    /// How often an emulator is started again, in one interview, to get around queries that kill it. 16.
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
            restarts: 16,
            tail_bytes: 8 << 10,
        }
    }
}
