//! A guest without a runner.

use std::path::{Path, PathBuf};

use super::timing::Timing;
use crate::scope::Placement;

/// A guest that runs and that nothing watches.
#[derive(Clone, Debug)]
pub struct Detached {
    pub(super) pid: i32,
    pub(super) monitor: PathBuf,
    pub(super) timing: Timing,
    pub(super) placement: Placement,
}

impl Detached {
    /// The number of the emulator's process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The socket of the monitor, to which one program at a time can connect.
    pub fn monitor(&self) -> &Path {
        &self.monitor
    }

    /// The time that each step of the start took.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The control group of the guest.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }
}
