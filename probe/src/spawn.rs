//! Starts the process of an emulator, and ends it.

#![expect(unsafe_code, reason = "std has no safe way to prepare a process between fork and exec")]

mod child;
mod emulator;
pub(crate) mod sandbox;
mod supervisor;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString, OsString};
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use capscache_process::exec::{become_user, pointers};
use capscache_process::signals::all_signals;
use capscache_process::{Failure, Stage, fork, reap_failed};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process;

use self::child::{MONITOR, Plan, become_emulator};
use self::sandbox::Sandbox;
use crate::error::StartError;
use crate::security::SecurityModules;
use crate::user::User;

pub(crate) use self::emulator::Emulator;

/// The chardev option of the monitor. QEMU names it when the descriptor is not open.
pub(crate) const MONITOR_OPTION: &str = "socket,id=qmp,fd=3";

/// The device node of KVM.
pub(crate) const KVM: &CStr = c"/dev/kvm";

/// The program to run, and its surroundings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    pub(crate) emulator: &'a Path,
    pub(crate) accelerator: &'a str,
    /// The user to run it as; the caller's by default.
    pub(crate) user: Option<&'a User>,
    /// Its directory for temporary files.
    pub(crate) scratch: &'a Path,
    /// Further variables of its environment, which replace those of the same name.
    pub(crate) environment: &'a [(OsString, OsString)],
    /// The sandbox that confines its writes.
    pub(crate) sandbox: &'a Sandbox,
}

/// A process that was started, and the prober's ends of its descriptors.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) emulator: Emulator,
    /// The prober's end of the monitor: non-blocking, and every message comes with its sender's credentials.
    pub(crate) monitor: UnixStream,
    /// The emulator's stdout and stderr.
    pub(crate) output: PipeReader,
}

/// Starts an emulator with nothing but a monitor, and waits until it was executed.
///
/// It has an empty environment (but for `PATH`, a locale and `TMPDIR`), no descriptors beyond the monitor and the
/// three standard ones, default signals, no way to gain privileges, no core file, few and small files, processor time
/// for as long as `patience`, no terminal, writes only where its sandbox allows it, and is the leader of its own session
/// and process group. As another user it has no network either.
///
/// It is the child of a supervisor, which ends when it does, and not before all of its descendants have ended. All of
/// them are killed when the calling *thread* ends, so this must be called from a thread that lives as long as the
/// emulator; it must also be inside a tokio runtime with I/O enabled. If another process kills the supervisor, the
/// emulator dies with it. For its descendants there is its stdin: a pipe that it cannot read, whose other end stays open
/// until the calling *process* ends or drops the emulator; then the kernel kills the process group.
///
/// # Errors
///
/// All variants of [`StartError`] that are about making a process; none of a process that ran.
pub(crate) fn spawn(launch: &Launch<'_>, patience: Duration) -> Result<Spawned, StartError> {
    let path = launch.emulator;
    let failed = |step| move |source| StartError::Spawn { path: path.to_owned(), step, source };
    let user_failed =
        |user: &User, source| StartError::User { path: path.to_owned(), uid: user.uid, source };
    let open = || -> io::Result<_> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // Before the child exists: a message sent earlier would come without its sender's credentials.
        rustix::net::sockopt::set_socket_passcred(&ours, true)?;
        Ok((ours, theirs, io::pipe()?, io::pipe()?, io::pipe()?))
    };
    let (monitor, theirs, (output, written), (report, reported), (group_kill, stdin)) =
        open().map_err(failed("open descriptors"))?;
    let lift = |fd: OwnedFd| above_monitor(fd).map_err(failed("open descriptors"));
    let user = launch.user.map(|user| user.identity().map_err(|e| user_failed(user, e)));
    let plan = Plan {
        arguments: c_strings(arguments(launch)).map_err(failed("pass arguments"))?,
        environment: c_strings(environment(launch)).map_err(failed("pass the environment"))?,
        user: user.transpose()?,
        sandbox: launch.sandbox,
        stdin: lift(stdin.into())?,
        output: lift(written.into())?,
        monitor: lift(theirs.into())?,
        report: lift(reported.into())?,
        cpu_seconds: patience.as_secs().saturating_add(1),
    };

    let arguments = pointers(&plan.arguments);
    let environment = pointers(&plan.environment);
    let all = all_signals();
    let become_emulator = |supervisor| {
        let Err(failure) = become_emulator(&plan, supervisor, &arguments, &environment, &all);
        failure
    };
    let (prober, report_to) = (process::getpid(), &plan.report);
    let supervise = || Some(supervisor::supervise(prober, report_to, become_emulator));
    // JUSTIFICATION: posix_spawn(3) can set neither a parent death signal nor no_new_privs.
    // SAFETY: supervisor and emulator allocate nothing.
    let pid = unsafe { fork(report_to, supervise) }.map_err(failed("fork"))?;
    // Closes the child's ends, so that the report ends when the child executes the emulator or fails to.
    drop(plan);
    let reported = read_report(report);
    if let Ok(Some((stage, errno))) = reported {
        reap_failed(pid);
        return Err(match (stage, launch.user) {
            (Stage::Execute, _) => not_executed(launch, errno),
            (Stage::User, Some(user)) => user_failed(user, errno),
            (Stage::Sandbox, _) => StartError::Sandbox { path: path.to_owned(), source: errno },
            _ => failed("prepare the process")(errno),
        });
    }
    // From here on dropping the emulator kills it.
    let emulator = Emulator::new(pid, group_kill).map_err(failed("watch the process"))?;
    reported.map_err(failed("read the report of the child"))?;
    Ok(Spawned { emulator, monitor, output })
}

/// Returns whether `user` may open a file for reading and writing. Only a process of that user can find out, since there
/// are access lists and security modules.
pub(crate) fn opens_as(user: &User, path: &CStr) -> io::Result<bool> {
    let user = user.identity()?;
    let (report, reported) = io::pipe()?;
    let reported = OwnedFd::from(reported);
    let attempt = || -> Result<(), Failure> {
        become_user(&user).map_err(|errno| (Stage::User, errno))?;
        let opened = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        opened.map(drop).map_err(|errno| (Stage::Prepare, errno))
    };
    // JUSTIFICATION: only a process of the user can open the file as that user.
    // SAFETY: it makes system calls and nothing else.
    let pid = unsafe { fork(&reported, || attempt().err()) }?;
    drop(reported);
    let failure = read_report(report);
    reap_failed(pid);
    match failure? {
        None => Ok(true),
        Some((Stage::User, error)) => Err(error),
        Some(_) => Ok(false),
    }
}

/// Waits until a child has executed a program or ended, and returns its failure, if it failed.
fn read_report(mut report: PipeReader) -> io::Result<Option<(Stage, io::Error)>> {
    let mut failure = Vec::new();
    report.read_to_end(&mut failure)?;
    Ok(Stage::decode(&failure).map(|(stage, errno)| (stage, errno.into())))
}

fn arguments(launch: &Launch<'_>) -> Vec<OsString> {
    let mut arguments = vec![launch.emulator.into()];
    arguments.extend(["-S", "-no-user-config", "-nodefaults", "-display", "none"].map(Into::into));
    arguments.extend(["-machine".into(), format!("none,accel={}", launch.accelerator).into()]);
    arguments.extend(["-chardev", MONITOR_OPTION].map(Into::into));
    // Not -mon, which QEMU 11.1 calls deprecated on stderr.
    arguments.extend(["-qmp", "chardev:qmp"].map(Into::into));
    arguments
}

/// Returns the environment: `PATH` is for wrappers, the locale makes messages the same everywhere.
fn environment(launch: &Launch<'_>) -> Vec<OsString> {
    let mut path = OsString::from("PATH=");
    path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
    let mut scratch = OsString::from("TMPDIR=");
    scratch.push(launch.scratch);
    let mut variables = vec!["LC_ALL=C".into(), path, scratch];
    for (name, value) in launch.environment {
        let mut variable = name.clone();
        variable.push("=");
        variables.retain(|given: &OsString| !given.as_bytes().starts_with(variable.as_bytes()));
        variable.push(value);
        variables.push(variable);
    }
    variables
}

fn c_strings(strings: Vec<OsString>) -> io::Result<Vec<CString>> {
    strings.into_iter().map(|string| Ok(CString::new(string.into_vec())?)).collect()
}

/// Moves a descriptor above those that the child overwrites with the emulator's own ones.
fn above_monitor(fd: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, MONITOR + 1)?)
}

fn not_executed(launch: &Launch<'_>, error: io::Error) -> StartError {
    let path = launch.emulator.to_owned();
    let uid = launch.user.map(|user| user.uid);
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT) if path.exists() => StartError::NoInterpreter { path },
        Some(Errno::NOENT | Errno::NOTDIR) => StartError::NotFound { path },
        Some(Errno::ACCESS | Errno::PERM) if path.is_dir() => StartError::IsDirectory { path },
        Some(Errno::ACCESS) => {
            StartError::NotExecutable { path, uid, security: SecurityModules::active() }
        }
        Some(Errno::PERM) => {
            StartError::NotPermitted { path, uid, security: SecurityModules::active() }
        }
        Some(Errno::NOEXEC) => StartError::WrongFormat { path },
        _ => StartError::NotExecuted { path, error },
    }
}
