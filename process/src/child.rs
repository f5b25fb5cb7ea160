//! A child, by which its parent waits for it, kills it and reaps it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{
    self, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The interval of polling for the end of a process where the kernel has no pidfd (before Linux 5.3).
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A handle on a child. Dropping it neither kills nor reaps the child.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    /// Readable when the process has ended. None if the kernel has no pidfd.
    pidfd: Option<AsyncFd<OwnedFd>>,
    /// Set when the process was reaped: from then on its number may be that of another process.
    status: Option<Option<WaitStatus>>,
}

impl Child {
    /// Takes a child that was forked, without a handle on its end.
    pub fn new(pid: Pid) -> Child {
        Child { pid, pidfd: None, status: None }
    }

    /// Opens the handle on its end. Must be called in a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// An error of the runtime. Kernels that have no pidfd are none: the end is polled for then.
    pub fn watch(&mut self) -> io::Result<()> {
        // Fails on old kernels, in some sandboxes, and when it has ended already and SIGCHLD is ignored.
        if let Ok(pidfd) = process::pidfd_open(self.pid, PidfdFlags::NONBLOCK) {
            #[allow(
                deprecated,
                reason = "it is sound for an OwnedFd; what replaces it is unsafe and not in older tokio 1"
            )]
            let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
            self.pidfd = Some(pidfd);
        }
        Ok(())
    }

    /// The number of the process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the process has ended; does not reap it. Cancelling loses nothing.
    pub async fn ended(&self) {
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

    /// Waits until the process has ended, and blocks the thread; for `patience` at most. Returns at once if the kernel has
    /// no pidfd.
    pub fn wait(&self, patience: &Timespec) {
        if let Some(pidfd) = &self.pidfd {
            let pidfd = pidfd.as_fd();
            let _ = rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(patience));
        }
    }

    /// Reaps the process on a thread of its own, when it ends: one that was killed and hangs in the kernel. If no thread can
    /// be started, it stays a zombie.
    pub fn reap_later(&self) {
        let pid = self.pid;
        if self.status.is_none() {
            let _ = std::thread::Builder::new().name("reaper".into()).spawn(move || {
                rustix::io::retry_on_intr(|| process::waitpid(Some(pid), WaitOptions::empty()))
            });
        }
    }

    /// Sends a signal, if it was not reaped: until then no other process can have its number. It fails if the process has
    /// ended.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            let _ = process::kill_process(self.pid, signal);
        }
    }

    /// Reaps the process. Returns how it ended, or `None` if it still runs. The status is `None` if the process was not
    /// there to reap: SIGCHLD is ignored, or another part of the program waits for every child.
    pub fn reap(&mut self) -> Option<Option<WaitStatus>> {
        if self.status.is_none() {
            self.status = match process::waitpid(Some(self.pid), WaitOptions::NOHANG) {
                Ok(None) => None,
                Ok(Some((_, status))) => Some(Some(status)),
                Err(_) => Some(None),
            };
        }
        self.status
    }
}
