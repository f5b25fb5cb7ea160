//! The start of a guest, from the creation of a process to the reply to `cont`: QEMU alone, this command, and libvirt.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use capscache::Cache;
use capscache_domain::Guest;
use capscache_run::{Root, Run};
use rustix::process::{Pid, Signal, kill_process};

use crate::measure::{Side, in_turn};
use crate::processes::{built, no_libvirt};
use crate::report::{Bar, Limit, Unit, Work};

const RAW: &str = "QEMU alone";
const WARM: &str = "capscache run, warm";
const COLD: &str = "capscache run, cold";
const THEIRS: &str = "virt-qemu-run, warm";
const THEIRS_COLD: &str = "virt-qemu-run, cold";

/// Settings with which libvirt needs no other daemons.
const QEMU_CONF: &str = "stdio_handler = \"file\"\nsecurity_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\n";

/// Measures starts of a guest without KVM.
pub(crate) fn guest(emulator: &Path, directory: &Path, rounds: usize) -> Result<Work> {
    let what = "a guest of pc with disk, network, console, balloon and rng under TCG: process to the reply to cont";
    let mut work = Work::new("start", what, Unit::Seconds);
    let directory = directory.join("start");
    fs::create_dir(&directory)?;
    let file = write_guest(emulator, &directory)?;
    let raw = raw_command(&file, emulator, &directory)?;
    let command = built("capscache")?;
    let warm = directory.join("warm");
    let mut sides = vec![
        Side::new(RAW, || start_raw(&raw)),
        Side::new(WARM, || start_ours(&command, &warm, &file)),
        Side::new(COLD, || {
            let root = tempfile::tempdir_in(&directory)?;
            start_ours(&command, root.path(), &file)
        }),
    ];
    work.skipped.extend(no_libvirt());
    if work.skipped.is_empty() {
        let theirs = directory.join("theirs");
        sides.push(Side::new(THEIRS, {
            let file = &file;
            move || start_theirs(&theirs, file)
        }));
        sides.push(Side::new(THEIRS_COLD, || {
            let root = tempfile::tempdir_in(&directory)?;
            fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            start_theirs(root.path(), &file)
        }));
    }
    work.sides = in_turn(rounds, sides)?;
    if let (Some(ours), Some(raw)) = (work.median(WARM), work.median(RAW)) {
        let what = format!("milliseconds of {WARM} - {RAW}");
        work.bars.push(Bar::new(what, (ours - raw) * 1000.0, Limit::AtMost(10.0)));
    }
    work.add_bar(THEIRS, WARM, Limit::AtLeast(4.0));
    Ok(work)
}

fn write_guest(emulator: &Path, directory: &Path) -> Result<PathBuf> {
    let disk = directory.join("disk.img");
    fs::File::create(&disk)?.set_len(64 << 20)?;
    let xml = format!(
        "<domain type='qemu'>
           <name>start</name>
           <uuid>1f0b6d4e-88c5-4b0e-9a29-5e1f6bb5d0c1</uuid>
           <memory unit='MiB'>512</memory>
           <vcpu>2</vcpu>
           <os><type arch='x86_64' machine='pc'>hvm</type></os>
           <features><acpi/></features>
           <devices>
             <emulator>{}</emulator>
             <disk type='file'><driver name='qemu' type='raw'/><source file='{}'/><target dev='vda'/></disk>
             <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>
             <serial type='pty'/>
             <memballoon model='virtio'/>
             <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
           </devices>
         </domain>",
        emulator.display(),
        disk.display()
    );
    let file = directory.join("guest.xml");
    fs::write(&file, xml)?;
    Ok(file)
}

/// Returns the command line of the guest, with its monitor on stdin and stdout.
fn raw_command(file: &Path, emulator: &Path, directory: &Path) -> Result<(PathBuf, Vec<String>)> {
    let guest = Guest::from_xml(&fs::read_to_string(file)?)?;
    let root = Root::new(directory.join("raw"))?;
    let entry = Cache::open(directory.join("cache"))?.get(emulator)?;
    let prepared = Run::new(guest, root).prepare(&entry)?;
    let command = prepared.command();
    let mut args = command.args.clone();
    for argument in &mut args {
        if argument.starts_with("socket,id=charmonitor,") {
            *argument = "stdio,id=charmonitor".to_owned();
        }
        if let Some((_, key)) = argument.split_once("\"file\":\"")
            && argument.contains("masterKey0")
        {
            let key = PathBuf::from(key.trim_end_matches("\"}"));
            fs::create_dir_all(key.parent().context("a file is in a directory")?)?;
            fs::write(key, [7; 32])?;
        }
    }
    Ok((command.program.clone(), args))
}

/// Starts a process, and returns the time until `is_running` returns.
fn timed(
    command: &mut Command,
    is_running: impl FnOnce(&mut Child) -> Result<()>,
    end: impl FnOnce(&mut Child) -> Result<()>,
) -> Result<Duration> {
    let began = Instant::now();
    let mut process = command.spawn()?;
    let outcome = is_running(&mut process).map(|()| began.elapsed());
    if outcome.is_err() {
        process.kill()?;
    } else {
        end(&mut process)?;
    }
    process.wait()?;
    outcome
}

fn start_raw((program, args): &(PathBuf, Vec<String>)) -> Result<Duration> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let is_running = |process: &mut Child| {
        let mut commands = process.stdin.take().context("no stdin")?;
        let mut replies = BufReader::new(process.stdout.take().context("no stdout")?);
        wait_for(&mut replies, "{\"QMP\"")?;
        for command in ["qmp_capabilities", "cont"] {
            writeln!(commands, "{{\"execute\": \"{command}\"}}")?;
            wait_for(&mut replies, "{\"return\"")?;
        }
        Ok(())
    };
    timed(&mut command, is_running, |process| Ok(process.kill()?))
}

fn start_ours(command: &Path, root: &Path, guest: &Path) -> Result<Duration> {
    let mut command = Command::new(command);
    command.arg("--root").arg(root).arg("run").arg(guest);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut output = None;
    let is_running = |process: &mut Child| {
        let lines = output.insert(BufReader::new(process.stdout.take().context("no stdout")?));
        wait_for(lines, "RUNNING")
    };
    // The second signal ends QEMU; one that is pending is not counted twice.
    timed(&mut command, is_running, |process| {
        signal(process, Signal::INT)?;
        signal(process, Signal::TERM)
    })
}

fn start_theirs(root: &Path, guest: &Path) -> Result<Duration> {
    let etc = root.join("etc");
    if !etc.exists() {
        fs::create_dir_all(&etc)?;
        fs::write(etc.join("qemu.conf"), QEMU_CONF)?;
    }
    let mut command = Command::new("tini");
    command.args(["-s", "--", "virt-qemu-run", "-v"]);
    command.arg(format!("--root={}", root.display())).arg(guest);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut output = None;
    let is_running = |process: &mut Child| {
        let lines = output.insert(BufReader::new(process.stderr.take().context("no stderr")?));
        wait_for_part(lines, "guest running")
    };
    timed(&mut command, is_running, |process| signal(process, Signal::INT))
}

fn signal(process: &Child, signal: Signal) -> Result<()> {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).context("no process")?;
    Ok(kill_process(pid, signal)?)
}

/// Reads lines until one starts with a text.
fn wait_for(lines: &mut BufReader<impl Read>, start: &str) -> Result<()> {
    wait(lines, |line| line.starts_with(start))
}

/// Reads lines until one contains a text.
fn wait_for_part(lines: &mut BufReader<impl Read>, part: &str) -> Result<()> {
    wait(lines, |line| line.contains(part))
}

fn wait(lines: &mut BufReader<impl Read>, is_it: impl Fn(&str) -> bool) -> Result<()> {
    let (mut line, mut all) = (String::new(), String::new());
    while !is_it(&line) {
        all.push_str(&line);
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            bail!("the process ended before the guest ran: {all}");
        }
        ensure!(all.len() < 1 << 20, "the guest does not run: {all}");
    }
    Ok(())
}
