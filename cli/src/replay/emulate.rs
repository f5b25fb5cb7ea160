//! A recorded emulator that runs: `--serve` at an address, `--emulate` as QEMU does with its arguments.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use capscache::Escaped;
use capscache::probe::{Answers, Recording, Reply};
use serde_json::Value;

use super::address::Address;
use super::monitor::Monitor;
use super::options::Options;
use crate::args;
use crate::input;
use crate::output;

/// Line of a daemon for the process that started it: clients can connect.
const READY: &str = "ready\n";

/// The program of this process, even if its file was replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Answers at an address, under the best accelerator that was recorded.
pub(super) fn serve(args: &args::Replay, address: &args::Monitor) -> Result<ExitCode> {
    let address = match address {
        args::Monitor::Stdio => Address::Stdio,
        args::Monitor::Unix(path) => Address::Listen(path.clone()),
    };
    let recording = read(args)?;
    let accelerators = ["kvm", "hvf", "tcg"].map(str::to_owned);
    let monitor = monitor(args, recording.under(&accelerators)?)?;
    address.open()?.serve(&monitor)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs like QEMU with these arguments.
pub(super) fn run(args: &args::Replay) -> Result<ExitCode> {
    let options = Options::parse(&args.arguments)?;
    let recording = read(args)?;
    let answers = recording.under(&options.accelerators)?;
    if options.version {
        output::print_document(&version(answers)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(address) = &options.monitor else {
        bail!("cannot emulate QEMU without a monitor; start it with -qmp unix:PATH,server=on");
    };
    let monitor = monitor(args, answers)?;
    if options.daemonize {
        ensure!(args.file.as_os_str() != "-", "cannot daemonize with a recording from stdin");
        let socket = address.open()?.into_socket();
        let (socket, is_server) = socket.context("cannot daemonize with a monitor on stdio")?;
        return start_daemon(args, &options, socket, is_server);
    }
    let endpoint = address.open()?;
    // Removed when the emulator ends.
    let pidfile = options.pidfile.as_deref().map(PidFile::write).transpose()?;
    if args.daemon {
        become_daemon()?;
    }
    endpoint.serve(&monitor)?;
    drop(pidfile);
    Ok(ExitCode::SUCCESS)
}

fn read(args: &args::Replay) -> Result<Recording> {
    let text = input::transcript(&args.file)?;
    Recording::read(&text, super::first(args))
        .with_context(|| format!("cannot replay {}", Escaped::new(&args.file)))
}

fn monitor<'r>(args: &args::Replay, answers: Answers<'r>) -> Result<Monitor<'r>> {
    let open = |path: &std::path::PathBuf| {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.with_context(|| format!("cannot write to {}", Escaped::new(path)))
    };
    Ok(Monitor { answers, unanswered: args.unanswered.as_ref().map(open).transpose()? })
}

/// Returns the line that `qemu-system-ARCH -version` begins with.
fn version(answers: Answers<'_>) -> Result<String> {
    let Reply::Return(json) = answers.answer("query-version", None).reply else {
        bail!("the recording has no version");
    };
    let answer: Value = serde_json::from_str(&json)?;
    let part = |name| answer["qemu"][name].as_u64().unwrap_or_default();
    let package = answer["package"].as_str().unwrap_or_default().trim();
    let package = match package.trim_matches(['(', ')']) {
        "" => String::new(),
        package => format!(" ({})", Escaped::new(package)),
    };
    let [major, minor, micro] = ["major", "minor", "micro"].map(part);
    Ok(format!("QEMU emulator version {major}.{minor}.{micro}{package}\n"))
}

/// Starts this program again, as a daemon that has the socket as its stdin, and waits until it is ready.
fn start_daemon(
    args: &args::Replay,
    options: &Options,
    socket: OwnedFd,
    is_server: bool,
) -> Result<ExitCode> {
    let mut command = Command::new(THIS_PROGRAM);
    command.arg("replay").arg(std::path::absolute(&args.file)?).args(["--emulate", "--daemon"]);
    if args.accelerator.is_some() {
        command.args(["--accelerator", "hvf"]);
    }
    if let Some(file) = &args.unanswered {
        command.arg("--unanswered").arg(std::path::absolute(file)?);
    }
    let server = if is_server { "on" } else { "off" };
    let device = format!("socket,id=monitor,fd=0,server={server}");
    command.args(["--", "-chardev", &device, "-qmp", "chardev:monitor"]);
    command.arg("-machine").arg(format!("none,accel={}", options.accelerators.join(":")));
    if let Some(file) = &options.pidfile {
        command.arg("-pidfile").arg(std::path::absolute(file)?);
    }
    let mut daemon = command
        .stdin(Stdio::from(socket))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the daemon")?;
    let mut line = String::new();
    if let Some(mut stdout) = daemon.stdout.take() {
        stdout.read_to_string(&mut line).context("cannot wait for the daemon")?;
    }
    // Otherwise it has written its error to the same stderr.
    Ok(if line == READY { ExitCode::SUCCESS } else { ExitCode::from(output::FAILED) })
}

/// Leaves the session, directory and output of the starting process, and reports to it.
fn become_daemon() -> Result<()> {
    const CANNOT: &str = "cannot become a daemon";
    rustix::process::setsid().context(CANNOT)?;
    std::env::set_current_dir("/").context(CANNOT)?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").context(CANNOT)?;
    io::stdout().write_all(READY.as_bytes()).and_then(|()| io::stdout().flush()).context(CANNOT)?;
    rustix::stdio::dup2_stdin(&null).context(CANNOT)?;
    rustix::stdio::dup2_stderr(&null).context(CANNOT)?;
    // The last: then the starting process goes on.
    rustix::stdio::dup2_stdout(&null).context(CANNOT)?;
    Ok(())
}

/// A file with the number of this process; dropping it removes the file.
struct PidFile<'p>(&'p Path);

impl PidFile<'_> {
    fn write(path: &Path) -> Result<PidFile<'_>> {
        let open = || -> io::Result<File> {
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
        };
        open()
            .and_then(|mut file| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
            .with_context(|| format!("cannot write the pidfile {}", Escaped::new(path)))?;
        Ok(PidFile(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        // Only a leftover, and its directory may be gone already.
        let _ = fs::remove_file(self.0);
    }
}
