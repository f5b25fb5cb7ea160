//! Probing, compared with QEMU's own time and with libvirt's cold start.
//!
//! The limit is the time of the same commands piped raw into the emulators, as many at a time as there
//! are processors, the replies discarded.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, ensure};
use capscache::Cache;
use capscache::probe::{Options, probe};
use sha2::{Digest, Sha256};

use crate::measure::{Side, in_turn};
use crate::processes::{built, no_libvirt, run, virsh};
use crate::report::{Bar, Limit, Unit, Work};

const LIMIT: &str = "raw commands";
const OURS: &str = "capscache, cold";
const THEIRS: &str = "libvirt, cold";

/// The commands of one pass, and its accelerator.
struct Pass {
    accelerator: &'static str,
    commands: Vec<u8>,
    /// A text in the reply to the last command.
    end: String,
}

/// Measures one emulator, including all that libvirt does before it can answer.
pub(crate) fn one(emulator: &Path, directory: &Path, rounds: usize) -> Result<Work> {
    let what = format!("{} into an empty cache, all passes", emulator.display());
    let mut work = Work::new("cold-one", what, Unit::Seconds);
    let passes = recorded_passes(emulator)?;
    let mut sides = vec![
        Side::timed(LIMIT, || send_raw(emulator, &passes)),
        Side::timed(OURS, || {
            let root = tempfile::tempdir_in(directory)?;
            let caps = Cache::open(root.path())?.get(emulator)?;
            Ok((root, caps))
        }),
    ];
    work.skipped.extend(no_libvirt());
    if work.skipped.is_empty() {
        let path = only(emulator, directory)?;
        sides.push(Side::timed(THEIRS, move || {
            let root = tempfile::tempdir_in(directory)?;
            open_to_all(root.path())?;
            run(virsh(root.path(), &["version"]).env("PATH", &path))?;
            Ok(root)
        }));
    }
    work.sides = in_turn(rounds, sides)?;
    add_bars(&mut work);
    Ok(work)
}

/// Measures every emulator of this host.
pub(crate) fn all(emulators: &[PathBuf], directory: &Path, rounds: usize) -> Result<Work> {
    let jobs = std::thread::available_parallelism()?.get();
    let what = format!("all {} emulators into an empty cache, {jobs} at a time", emulators.len());
    let mut work = Work::new("cold-all", what, Unit::Seconds);
    let sessions = emulators
        .iter()
        .map(|emulator| Ok((emulator, recorded_passes(emulator)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut sides = vec![Side::timed(LIMIT, || {
        in_parallel(jobs, &sessions, |(emulator, passes)| send_raw(emulator, passes))
    })];
    match built("capscache") {
        Ok(command) => sides.push(Side::timed(OURS, move || {
            let root = tempfile::tempdir_in(directory)?;
            run(Command::new(&command).arg("--root").arg(root.path()).args(["warm", "--all"]))?;
            Ok(root)
        })),
        Err(error) => work.skipped.push(error.to_string()),
    }
    if let Some(why) = no_libvirt() {
        work.skipped.push(why);
    } else {
        sides.push(Side::timed(THEIRS, || {
            let root = tempfile::tempdir_in(directory)?;
            open_to_all(root.path())?;
            run(&mut virsh(root.path(), &["version"]))?;
            Ok(root)
        }));
    }
    work.sides = in_turn(rounds, sides)?;
    add_bars(&mut work);
    if let Some(ours) = work.median(OURS) {
        let hashing = hashing(emulators)?;
        let what = "seconds of one processor for SHA-256 of all executables / the whole".to_owned();
        work.bars.push(Bar::new(what, hashing / ours, Limit::AtMost(1.0)));
    }
    Ok(work)
}

fn add_bars(work: &mut Work) {
    work.add_bar(OURS, LIMIT, Limit::AtMost(1.3));
    work.add_bar(THEIRS, OURS, Limit::AtLeast(4.0));
}

/// The time for one processor to hash every executable once, in seconds.
fn hashing(emulators: &[PathBuf]) -> Result<f64> {
    let mut files: Vec<PathBuf> =
        emulators.iter().map(|emulator| emulator.canonicalize()).collect::<Result<_, _>>()?;
    files.sort();
    files.dedup();
    let began = std::time::Instant::now();
    for file in files {
        std::hint::black_box(Sha256::digest(std::fs::read(file)?));
    }
    Ok(began.elapsed().as_secs_f64())
}

/// A `PATH` with one emulator, as libvirt probes all that it finds.
fn only(emulator: &Path, directory: &Path) -> Result<String> {
    let bin = directory.join("one-emulator");
    std::fs::create_dir_all(&bin)?;
    let name = emulator.file_name().context("an emulator has a name")?;
    let link = bin.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(emulator, link)?;
    }
    for program in ["virsh", "tini"] {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|at| at.join(program)).find(|at| at.exists());
        let link = bin.join(program);
        if !link.exists() {
            std::os::unix::fs::symlink(found.context("it was found before")?, link)?;
        }
    }
    Ok(bin.to_string_lossy().into_owned())
}

/// Makes a directory readable by the user that libvirt runs emulators as.
fn open_to_all(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?)
}

/// The queries of a probe, from its transcript.
fn recorded_passes(emulator: &Path) -> Result<Vec<Pass>> {
    let options = Options::new().record(true);
    let transcript = probe(emulator, &options)?.transcript.unwrap_or_default();
    let mut passes: Vec<Pass> = Vec::new();
    for line in transcript.lines() {
        let item: serde_json::Value = serde_json::from_str(line)?;
        if let Some(accelerator) = item["pass"]["accelerator"].as_str() {
            let accelerator = if accelerator == "kvm" { "kvm" } else { "tcg:qtest" };
            let commands = b"{\"execute\":\"qmp_capabilities\"}\n".to_vec();
            passes.push(Pass { accelerator, commands, end: String::new() });
        } else if let (Some(pass), Some(id)) = (passes.last_mut(), item.get("id"))
            && item.get("execute").is_some()
        {
            pass.commands.extend_from_slice(serde_json::to_string(&item)?.as_bytes());
            pass.commands.push(b'\n');
            pass.end = format!("\"id\": {id}}}");
        }
    }
    Ok(passes)
}

fn send_raw(emulator: &Path, passes: &[Pass]) -> Result<()> {
    std::thread::scope(|scope| {
        let running: Vec<_> =
            passes.iter().map(|pass| scope.spawn(move || send_pass(emulator, pass))).collect();
        running
            .into_iter()
            .try_for_each(|pass| pass.join().map_err(|_| anyhow!("a pass panicked"))?)
    })
}

fn send_pass(emulator: &Path, pass: &Pass) -> Result<()> {
    let mut process = Command::new(emulator)
        .args(["-S", "-no-user-config", "-nodefaults", "-display", "none", "-machine"])
        .arg(format!("none,accel={}", pass.accelerator))
        .args(["-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    process.stdin.as_mut().context("no stdin")?.write_all(&pass.commands)?;
    let mut replies = process.stdout.take().context("no stdout")?;
    let (mut buffer, mut tail) = (vec![0; 256 * 1024], Vec::new());
    while !String::from_utf8_lossy(&tail).contains(&pass.end) {
        let read = replies.read(&mut buffer)?;
        ensure!(read > 0, "{} ended before its last reply", emulator.display());
        let kept = tail.len().saturating_sub(64);
        tail.drain(..kept);
        tail.extend_from_slice(&buffer[read.saturating_sub(64)..read]);
    }
    process.kill()?;
    process.wait()?;
    Ok(())
}

fn in_parallel<T: Sync>(
    jobs: usize,
    work: &[T],
    one: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let rest = Mutex::new(work.iter());
    let next = || rest.lock().map_or(None, |mut rest| rest.next());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(item) = next() {
                        one(item)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
    })
}
