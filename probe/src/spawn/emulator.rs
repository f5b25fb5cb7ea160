//! Waits for a running emulator, kills it and reaps it.

use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::time::Duration;

use capscache_process::Child;
use rustix::event::Timespec;
use rustix::process::{self, Pid, PidfdFlags, Signal};

use crate::error::Exit;

/// The time that dropping an emulator may block. One that was sent SIGKILL ends within a few milliseconds.
const DROP_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A handle on an emulator, by its supervisor. Dropping it kills all that the emulator started.
#[derive(Debug)]
pub(crate) struct Emulator {
    /// The supervisor, which ends with the exit status of the emulator, after all of its descendants.
    supervisor: Child,
    /// The process at the other end of the monitor.
    peer: Option<OwnedFd>,
    /// Closed when this is dropped, or this process ends: then the kernel kills the process group.
    _group_kill: PipeReader,
}

impl Emulator {
    pub(super) fn new(pid: Pid, group_kill: PipeReader) -> io::Result<Self> {
        let mut emulator =
            Self { supervisor: Child::new(pid), peer: None, _group_kill: group_kill };
        emulator.supervisor.watch()?;
        Ok(emulator)
    }

    /// The number of the supervisor.
    #[cfg(test)]
    pub(super) fn pid(&self) -> Pid {
        self.supervisor.pid()
    }

    /// Sets the process at the other end of the monitor, so that it is killed even if another process killed the
    /// supervisor.
    pub(crate) fn set_peer(&mut self, peer: Pid) {
        self.peer = process::pidfd_open(peer, PidfdFlags::empty()).ok();
    }

    /// Waits until the process has ended; does not reap it. Cancelling loses nothing.
    pub(crate) async fn ended(&self) {
        self.supervisor.ended().await;
    }

    /// Makes the supervisor kill all descendants, and kills the monitor's peer.
    pub(crate) fn kill(&self) {
        self.supervisor.signal(Signal::TERM);
        // An emulator may have stopped it.
        self.supervisor.signal(Signal::CONT);
        if let Some(peer) = &self.peer {
            let _ = process::pidfd_send_signal(peer, Signal::KILL);
        }
    }

    /// Kills what is left and returns how the process that was started ended, or `None` if it does not end
    /// within `patience`, which only the kernel can bring about; then it is reaped when this is dropped.
    pub(crate) async fn end(&mut self, patience: Duration) -> Option<Exit> {
        self.kill();
        let _ = tokio::time::timeout(patience, self.ended()).await;
        self.reap()
    }

    /// Reaps the process. Returns how it ended, or `None` if it still runs.
    fn reap(&mut self) -> Option<Exit> {
        let status = self.supervisor.reap()?;
        Some(status.map_or(Exit::Unknown, |status| match status.terminating_signal() {
            Some(signal) => Exit::Signal(signal),
            None => status.exit_status().map_or(Exit::Unknown, Exit::Status),
        }))
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.kill();
        if self.reap().is_some() {
            return;
        }
        self.supervisor.wait(&DROP_TIMEOUT);
        if self.reap().is_none() {
            self.supervisor.reap_later();
        }
    }
}
