//! A guest that can be started.

use std::time::Duration;

use capscache_domain::Guest;

use super::actions::Actions;
use super::timing::Timing;
use crate::command::Command;
use crate::root::{Ports, Root};
use crate::scope::Scope;
use crate::secret::store::MasterKey;
use crate::user::User;

/// The time that a start and a shutdown may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// The time from the creation of the process to the running guest.
    pub start: Duration,
    /// The time that a guest has to shut down on request. Then its emulator is ended.
    pub shutdown: Duration,
}

impl Default for Deadlines {
    /// 30 s for the start, 60 s for the shutdown.
    fn default() -> Deadlines {
        Deadlines { start: Duration::from_secs(30), shutdown: Duration::from_secs(60) }
    }
}

/// A guest that can be started once: completed, with its command line and its master key.
pub struct Prepared {
    pub(super) guest: Guest,
    pub(super) command: Command,
    pub(super) root: Root,
    pub(super) name: String,
    pub(super) user: Option<User>,
    pub(super) scope: Scope,
    pub(super) key: MasterKey,
    pub(super) actions: Actions,
    pub(super) deadlines: Deadlines,
    #[expect(dead_code, reason = "they are reserved until this is dropped")]
    pub(super) ports: Ports,
    pub(super) timing: Timing,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Prepared {
    /// The guest with all that was added to it: UUID, MAC addresses, devices, addresses.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// The command line.
    pub fn command(&self) -> &Command {
        &self.command
    }
}
