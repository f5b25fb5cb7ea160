//! The processes that serve devices of a guest: they listen at their sockets before QEMU starts, and end with it.

pub(super) mod bus;
pub(super) mod tpm;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};

use super::error::StartError;
use super::prepared::Prepared;
use crate::command::Command;
use crate::host::Helper;
use crate::process::log::Log;
use crate::process::{Before, Exit, Launch, Process, find_program};
use crate::resources::ResourceError;
use crate::root::{Directories, NameLock, RootError};
use crate::user::User;
use bus::Config;
use tpm::State;

/// The intervals between checks for a socket: the first, and the longest.
const INTERVALS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(16)];

/// The time that a process has to end when its guest has ended.
const END_TIMEOUT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A program with its arguments.
#[derive(Debug)]
pub(super) struct Program(Command);

/// A process that serves a device.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) program: Program,
    /// The socket at which it listens.
    pub(super) socket: PathBuf,
    /// True if it keeps the privileges of the caller.
    pub(super) is_privileged: bool,
    /// True if it ends by itself when the emulator ends.
    pub(super) ends_with_guest: bool,
    /// Programs that run to their end before it starts.
    pub(super) steps: Vec<Program>,
    /// The state of a TPM.
    pub(super) state: Option<State>,
    /// The configuration of a bus.
    pub(super) config: Option<Config>,
}

/// Processes that run. Dropping them ends them.
#[derive(Debug, Default)]
pub(super) struct Helpers(Vec<Process>);

/// The surroundings of the processes of a guest.
pub(super) struct Surroundings<'a> {
    pub(super) directories: &'a Directories,
    pub(super) prepared: &'a Prepared,
    pub(super) lock: &'a NameLock,
    pub(super) is_detached: bool,
}

impl Program {
    /// Finds a program.
    ///
    /// # Errors
    /// [`ResourceError::Host`] if it is not installed.
    pub(super) fn new(
        program: impl AsRef<Path>,
        args: Vec<String>,
    ) -> Result<Program, ResourceError> {
        let program = program.as_ref();
        let program = find_program(program).ok_or_else(|| ResourceError::missing(program))?;
        let kept = ["PATH", "HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"];
        let environment =
            kept.iter().filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?)));
        let locale = ("LC_ALL".to_owned(), "C".to_owned());
        let environment = environment.chain([locale]).collect();
        Ok(Program(Command { program, args, environment, ..Command::default() }))
    }
}

/// Returns the process of a helper.
pub(super) fn service(helper: &Helper, prepared: &Prepared) -> Result<Service, ResourceError> {
    let Helper { program, args, socket } = helper;
    let mut args = args.clone();
    let name = program.file_name().unwrap_or_default();
    let is_passt = name == "passt";
    if is_passt {
        args.extend(["--foreground", "--one-off"].map(str::to_owned));
        if prepared.user.is_none() && rustix::process::geteuid().is_root() {
            // Its default is an unprivileged user, which cannot create the socket.
            args.extend(["--runas", "0:0"].map(str::to_owned));
        }
    }
    Ok(Service {
        is_privileged: !is_passt,
        ends_with_guest: name != "qemu-pr-helper",
        ..Service::new(Program::new(program, args)?, socket)
    })
}

impl Service {
    /// Returns a process that runs as the emulator's user, and ends when the emulator ends.
    pub(super) fn new(program: Program, socket: &Path) -> Service {
        Service {
            program,
            socket: socket.to_owned(),
            is_privileged: false,
            ends_with_guest: true,
            steps: Vec::new(),
            state: None,
            config: None,
        }
    }

    /// Checks that the process ends without a runner.
    pub(super) fn check_detached(&self) -> Result<(), ResourceError> {
        match self.ends_with_guest {
            true => Ok(()),
            false => Err(ResourceError::Host {
                what: format!("{} needs a runner, which ends it", self.program.0.program.display()),
                remedy: "do not detach".to_owned(),
            }),
        }
    }

    /// The name of the process in that of its log.
    fn name(&self) -> String {
        self.socket.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Starts the process and waits until it listens.
    async fn start(&self, around: &Surroundings<'_>) -> Result<Process, StartError> {
        let prepared = around.prepared;
        let name = format!("{}-{}", prepared.name, self.name());
        let log = Log::open(around.directories.log.as_fd(), &name);
        let log = log.map_err(RootError::io("open a log in", prepared.root.path()))?;
        let user = prepared.user.as_ref().filter(|_| !self.is_privileged);
        self.state.as_ref().map_or(Ok(()), State::create)?;
        for step in &self.steps {
            let mut process = step.start(&log, user, None).await?;
            process.ended().await;
            let exit = process.reap().unwrap_or(Exit::Unknown);
            if exit != Exit::Status(0) {
                return Err(step.failed(exit, &log));
            }
        }
        // One that is not tied to this process can be found by the next start of the guest.
        let lock = around.is_detached.then(|| around.lock.for_emulator()).transpose();
        let lock = lock.map_err(RootError::io("use the lock in", prepared.root.path()))?;
        let mut process = self.program.start(&log, user, lock).await?;
        tokio::select! {
            () = process.ended() => {}
            () = listens(&self.socket) => {
                self.give_socket(prepared.user.as_ref())?;
                return Ok(process);
            }
        }
        let exit = process.reap().unwrap_or(Exit::Unknown);
        Err(self.program.failed(exit, &log))
    }

    /// Gives the socket of a privileged process to the emulator's user.
    fn give_socket(&self, user: Option<&User>) -> Result<(), ResourceError> {
        match user.filter(|_| self.is_privileged) {
            Some(user) => give_socket(&self.socket, user)
                .map_err(ResourceError::io("change the owner of", &self.socket)),
            None => Ok(()),
        }
    }
}

impl Program {
    async fn start(
        &self,
        log: &Log,
        user: Option<&User>,
        lock: Option<OwnedFd>,
    ) -> Result<Process, StartError> {
        let output =
            log.descriptor().map_err(ResourceError::io("use the log of", &self.0.program))?;
        let descriptors = Vec::new();
        let launch = Launch {
            command: &self.0,
            descriptors,
            is_detached: lock.is_some(),
            lock,
            output,
            user,
            before: Before::default(),
        };
        Ok(Process::start(launch).await?)
    }

    fn failed(&self, exit: Exit, log: &Log) -> StartError {
        StartError::Exited { program: self.0.program.clone(), exit, output: log.tail() }
    }
}

/// Gives a socket to a user. It is in a directory of that user, who may have put something else there.
fn give_socket(path: &Path, user: &User) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a socket"));
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    Ok(rustix::fs::chownat(&socket, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
}

/// Starts processes, one after the other.
pub(super) async fn start(
    services: &[Service],
    around: &Surroundings<'_>,
) -> Result<Helpers, StartError> {
    let mut helpers = Helpers::default();
    // Before the deadline of the whole start, whose error would name the emulator.
    let limit = around.prepared.deadlines.start / 2;
    for service in services {
        let started = tokio::time::timeout(limit, service.start(around)).await;
        let late = |_| StartError::TimedOut {
            program: service.program.0.program.clone(),
            step: "helpers",
            limit,
            output: String::new(),
        };
        helpers.0.push(started.map_err(late)??);
    }
    Ok(helpers)
}

/// Waits until a socket listens. Nothing connects to it: some processes serve only one connection.
async fn listens(socket: &Path) {
    let [mut interval, longest] = INTERVALS;
    while !is_listening(socket) {
        tokio::time::sleep(interval).await;
        interval = (interval * 2).min(longest);
    }
}

fn is_listening(socket: &Path) -> bool {
    // Flags 00010000: it accepts connections.
    let sockets = fs::read("/proc/thread-self/net/unix").unwrap_or_default();
    let text = String::from_utf8_lossy(&sockets);
    let path = socket.to_string_lossy();
    text.lines().any(|line| {
        let is_listening = line.split(' ').nth(3) == Some("00010000");
        is_listening && line.strip_suffix(&*path).is_some_and(|rest| rest.ends_with(' '))
    })
}

/// Adds the children of processes, and theirs (`/proc/PID/task/PID/children`, proc_pid_task(5)).
fn with_children(mut pids: Vec<i32>) -> Vec<i32> {
    let mut next = 0;
    while let Some(pid) = pids.get(next) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        pids.extend(children.split_whitespace().filter_map(|number| number.parse::<i32>().ok()));
        next += 1;
    }
    pids
}

impl Helpers {
    /// The numbers of the processes and of their children: the daemon of virtiofs serves in a child of its own.
    pub(super) fn pids(&self) -> Vec<i32> {
        with_children(self.0.iter().map(Process::pid).collect())
    }

    /// Lets the processes outlive this handle.
    pub(super) fn detach(&mut self) {
        self.0.iter_mut().for_each(Process::detach);
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        // Most have ended with the emulator.
        self.0.iter_mut().for_each(|process| process.end(&END_TIMEOUT));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_children_of_a_process_belong_to_it() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (pid, child) = (shell.id().cast_signed(), line.trim().parse::<i32>().unwrap());
        if fs::exists(format!("/proc/{pid}/task/{pid}/children")).unwrap() {
            assert_eq!(with_children(vec![pid]), [pid, child]);
        } else {
            println!("SKIPPED: this kernel does not list the children of processes");
        }
        for pid in [child, pid] {
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid).unwrap(),
                rustix::process::Signal::KILL,
            )
            .unwrap();
        }
        shell.wait().unwrap();
    }
}
