//! How far a probe is from what QEMU itself takes: the same commands piped raw into the emulators,
//! the answers thrown away, in turn with probes into an empty cache.
//!
//! `cargo build --release && cargo run --release -p capscache --example limit -- --all` (the whole command)
//! `cargo run --release -p capscache --example limit -- /usr/bin/qemu-system-x86_64`

use std::error::Error;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use capscache::{Cache, ProbeOptions, find_emulators, probe};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The commands of one pass, and how QEMU is told its accelerator.
struct Pass {
    accelerator: &'static str,
    commands: Vec<u8>,
    /// What the reply to the last command holds.
    end: String,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = arguments.iter().any(|argument| argument == "--all");
    let emulators = match all {
        true => find_emulators(&[]),
        false => arguments.iter().map(PathBuf::from).collect(),
    };
    let (rounds, jobs) =
        if all { (5, std::thread::available_parallelism()?.get()) } else { (21, 1) };
    let conversations =
        emulators.iter().map(|path| conversation(path)).collect::<Result<Vec<_>>>()?;

    let (mut raw, mut probed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        in_parallel(jobs, &conversations, |(path, passes)| ask_raw(path, passes))?;
        raw.push(began.elapsed());

        let root = tempfile::tempdir()?;
        let began = Instant::now();
        if all {
            warm_all(root.path())?;
        } else {
            let cache = Cache::open(root.path())?;
            in_parallel(jobs, &emulators, |path| Ok(cache.get(path).map(drop)?))?;
        }
        probed.push(began.elapsed());
    }
    let (raw, probed) = (median(raw), median(probed));
    println!("emulators {}, jobs {jobs}, medians of {rounds} rounds in turn", emulators.len());
    println!("raw commands, answers thrown away: {:8.1} ms", millis(raw));
    println!("probe into an empty cache:         {:8.1} ms", millis(probed));
    println!("ratio: {:.2}", probed.as_secs_f64() / raw.as_secs_f64());
    Ok(())
}

/// The whole command, from the same build.
fn warm_all(root: &Path) -> Result<()> {
    let example = std::env::current_exe()?;
    let command = example.parent().and_then(Path::parent).ok_or("no target")?.join("capscache");
    let status = Command::new(&command)
        .arg("--root")
        .arg(root)
        .args(["warm", "--all"])
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("{}: {error}: build it first", command.display()))?;
    if status.success() { Ok(()) } else { Err("an emulator failed".into()) }
}

/// What a probe asks, from a transcript of one.
fn conversation(path: &Path) -> Result<(PathBuf, Vec<Pass>)> {
    let options = ProbeOptions { record: true, ..ProbeOptions::default() };
    let transcript = probe(path, &options)?.transcript.unwrap_or_default();
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
    Ok((path.to_owned(), passes))
}

fn ask_raw(path: &Path, passes: &[Pass]) -> Result<()> {
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            passes.iter().map(|pass| scope.spawn(move || ask_pass(path, pass))).collect();
        asked.into_iter().try_for_each(|pass| pass.join().map_err(|_| "a pass panicked")?)
    })
}

fn ask_pass(path: &Path, pass: &Pass) -> Result<()> {
    let mut emulator = Command::new(path)
        .args(["-S", "-no-user-config", "-nodefaults", "-display", "none", "-machine"])
        .arg(format!("none,accel={}", pass.accelerator))
        .args(["-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    emulator.stdin.as_mut().ok_or("no stdin")?.write_all(&pass.commands)?;
    let mut answers = emulator.stdout.take().ok_or("no stdout")?;
    let (mut buffer, mut tail) = (vec![0; 256 * 1024], Vec::new());
    while !String::from_utf8_lossy(&tail).contains(&pass.end) {
        let read = answers.read(&mut buffer)?;
        if read == 0 {
            return Err(format!("{} ended before its last answer", path.display()).into());
        }
        let kept = tail.len().saturating_sub(64);
        tail.drain(..kept);
        tail.extend_from_slice(&buffer[read.saturating_sub(64)..read]);
    }
    emulator.kill()?;
    emulator.wait()?;
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
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
