//! Waits for a running emulator, kills it and reaps it.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{self, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::Exit;

/// The interval of polling for the end of a process where the kernel has no pidfd (before Linux 5.3).
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The time that dropping an emulator may block. One that was sent SIGKILL ends within a few milliseconds.
const DROP_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A handle on an emulator, by its supervisor. Dropping it kills all that the emulator started.
#[derive(Debug)]
pub(crate) struct Emulator {
    /// The supervisor, which ends with the exit status of the emulator, after all of its descendants.
    pub(super) pid: Pid,
    /// Readable when the process has ended. None if the kernel has no pidfd.
    pidfd: Option<AsyncFd<OwnedFd>>,
    /// The process at the other end of the monitor.
    peer: Option<OwnedFd>,
    /// Set when the process was reaped: from then on its number may be that of another process.
    exit: Option<Exit>,
    /// Closed when this is dropped, or this process ends: then the kernel kills the process group.
    _group_kill: PipeReader,
}

impl Emulator {
    pub(super) fn new(pid: Pid, group_kill: PipeReader) -> io::Result<Self> {
        let mut emulator =
            Self { pid, pidfd: None, peer: None, exit: None, _group_kill: group_kill };
        // Fails on old kernels, in some sandboxes, and when it has ended already and SIGCHLD is ignored. Without a
        // pidfd `ended` polls.
        if let Ok(pidfd) = process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            #[allow(
                deprecated,
                reason = "it is sound for an OwnedFd; what replaces it is unsafe and not in older tokio 1"
            )]
            let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
            emulator.pidfd = Some(pidfd);
        }
        Ok(emulator)
    }

    /// Sets the process at the other end of the monitor, so that it is killed even if another process killed the
    /// supervisor.
    pub(crate) fn set_peer(&mut self, peer: Pid) {
        self.peer = process::pidfd_open(peer, PidfdFlags::empty()).ok();
    }

    /// Waits until the process has ended; does not reap it. Cancelling loses nothing.
    pub(crate) async fn ended(&self) {
        if let Some(pidfd) = &self.pidfd
            && pidfd.readable().await.is_ok()
        {
            return;
        }
        let flags = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Ok(None) = process::waitid(WaitId::Pid(self.pid), flags) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Makes the supervisor kill all descendants, and kills the monitor's peer.
    pub(crate) fn kill(&self) {
        // Always before it is reaped: until then no other process can have the number. It fails if it has ended.
        if self.exit.is_none() {
            let _ = process::kill_process(self.pid, Signal::TERM);
            // An emulator may have stopped it.
            let _ = process::kill_process(self.pid, Signal::CONT);
        }
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
        if self.exit.is_none() {
            self.exit = match process::waitpid(Some(self.pid), WaitOptions::NOHANG) {
                Ok(None) => None,
                Ok(Some((_, status))) => Some(match status.terminating_signal() {
                    Some(signal) => Exit::Signal(signal),
                    None => status.exit_status().map_or(Exit::Unknown, Exit::Status),
                }),
                // ECHILD: SIGCHLD is ignored, or another part of the program waits for every child.
                Err(_) => Some(Exit::Unknown),
            };
        }
        self.exit
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.kill();
        if self.reap().is_some() {
            return;
        }
        if let Some(pidfd) = &self.pidfd {
            let _ = rustix::event::poll(
                &mut [PollFd::new(&pidfd.as_fd(), PollFlags::IN)],
                Some(&DROP_TIMEOUT),
            );
        }
        if self.reap().is_none() {
            // It hangs in the kernel. If no thread can be started it only stays a zombie.
            let pid = self.pid;
            let _ = std::thread::Builder::new().name("reaper".into()).spawn(move || {
                rustix::io::retry_on_intr(|| process::waitpid(Some(pid), WaitOptions::empty()))
            });
        }
    }
}
