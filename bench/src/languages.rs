//! The C library, and the module in Go and the package in Python, against the Rust library, in one run.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use capscache::{Cache, Groups, Query, Tri};

use crate::measure::{Side, in_turn};
use crate::processes::{built, run};
use crate::reading::Forms;
use crate::report::{Limit, Unit, Work};

const RUST: &str = "Rust";

/// Twenty queries that QEMU answers for every architecture.
const QUERIES: [&str; 20] = [
    "machine:none",
    "machine:q35",
    "machine:virt",
    "machine-deprecated:none",
    "version:>=8.2",
    "version:7",
    "device:loader",
    "device:virtio-blk-pci",
    "device:virtio-gpu-gl-pci",
    "device:no-such",
    "type:iothread",
    "type:none-machine",
    "command:query-version",
    "command:blockdev-add",
    "event:SHUTDOWN",
    "option:spice",
    "option:sandbox",
    "cpu-model:max",
    "schema:blockdev-add/arg-type/+file/aio/^io_uring",
    "gic:3",
];

/// The bars for a validated get in each language, by the time that it takes in Rust.
const HIT_BARS: [(&str, f64); 3] = [("C", 1.1), ("Go", 1.5), ("Python", 3.0)];

/// Measures a validated get, and an open with twenty answers, in each language.
pub(crate) fn calls(forms: &Forms, directory: &Path, rounds: usize) -> Result<[Work; 2]> {
    let mut hit = Work::new("languages-hit", "validated get of an open emulator", Unit::Seconds);
    let what = "open of cache and entry, and twenty queries parsed and answered";
    let mut answers = Work::new("languages-answers", what, Unit::Seconds);
    let mut programs = Vec::new();
    for (language, program) in [
        ("C", compile(directory)),
        ("Go", compile_go(directory)),
        ("Python", collect_python(directory)),
    ] {
        match program {
            Ok(mut command) => {
                command.args([forms.root.as_os_str(), forms.emulator.as_os_str()]);
                command.args(QUERIES.map(OsStr::new));
                programs.push((language, command));
            }
            Err(reason) => {
                hit.skipped.push(format!("{language}: {reason}"));
                answers.skipped.push(format!("{language}: {reason}"));
            }
        }
    }
    let cache = Cache::open(&forms.root)?;
    for (work, name) in [(&mut hit, "hit"), (&mut answers, "answers")] {
        let mut sides = vec![Side::new(RUST, || match name {
            "hit" => repeated(|| {
                drop(cache.get_with(&forms.emulator, Groups::CORE)?);
                Ok(())
            }),
            _ => repeated(|| open_and_answer(forms)),
        })];
        for (language, command) in &mut programs {
            let mut calls = Calls::start(command)?;
            sides.push(Side::new(*language, move || calls.time(name)));
        }
        work.sides = in_turn(rounds, sides)?;
    }
    for (language, limit) in HIT_BARS {
        hit.add_bar(language, RUST, Limit::AtMost(limit));
    }
    Ok([hit, answers])
}

/// Repeats work for 20 ms, as the other programs do.
fn repeated(mut work: impl FnMut() -> Result<()>) -> Result<Duration> {
    let (began, mut count) = (Instant::now(), 0);
    loop {
        work()?;
        count += 1;
        let elapsed = began.elapsed();
        if elapsed >= Duration::from_millis(20) {
            return Ok(elapsed / count);
        }
    }
}

fn open_and_answer(forms: &Forms) -> Result<()> {
    let cache = Cache::open(&forms.root)?;
    let entry = cache.entry(&forms.emulator)?.context("an entry")?;
    for query in QUERIES {
        let query: Query = query.parse()?;
        ensure!(entry.answer(&query) != Tri::Unknown, "{query} has no answer");
    }
    Ok(())
}

/// A file of this repository.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Returns an error where a program cannot be run here.
fn require(program: &str, argument: &str) -> Result<()> {
    run(Command::new(program).arg(argument)).with_context(|| format!("no {program} here"))
}

/// Builds the program in C, beside links to the library.
fn compile(directory: &Path) -> Result<Command> {
    let library = built("libcapscache_c.so")?;
    require("cc", "--version")?;
    for name in ["libcapscache.so", "libcapscache.so.0"] {
        symlink(&library, directory.join(name))?;
    }
    let program = directory.join("calls");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-o"]).arg(&program).arg(source("bench/src/calls.c")).arg("-I");
    compiler.arg(source("bindings/c/include")).arg("-L").arg(directory);
    let mut rpath = std::ffi::OsString::from("-Wl,-rpath,");
    rpath.push(directory);
    ensure!(compiler.arg("-lcapscache").arg(rpath).status()?.success(), "cc failed");
    Ok(Command::new(program))
}

/// Builds the program in Go, with the library beside that in C.
fn compile_go(directory: &Path) -> Result<Command> {
    built("libcapscache_c.so")?;
    require("go", "version")?;
    require("pkg-config", "--version")?;
    let found = format!(
        "Name: capscache\nDescription: The library of this build\nVersion: 0\nCflags: -I{}\nLibs: -lcapscache\n",
        source("bindings/c/include").display(),
    );
    std::fs::write(directory.join("capscache.pc"), found)?;
    let program = directory.join("calls-go");
    let mut go = Command::new("go");
    go.current_dir(source("bindings/go")).args(["build", "-o"]).arg(&program);
    go.arg("./internal/calls").env("PKG_CONFIG_PATH", directory).env("CGO_ENABLED", "1");
    // Not in the file above: Go's cache of builds keeps what pkg-config printed.
    go.env("CGO_LDFLAGS", format!("-L{0} -Wl,-rpath,{0}", directory.display()));
    ensure!(go.status()?.success(), "go build failed");
    Ok(Command::new(program))
}

/// Puts the files of the Python package beside its library, as the wheel has them.
fn collect_python(directory: &Path) -> Result<Command> {
    let library = built("libcapscache_python.so")?;
    require("python3", "--version")?;
    let package = directory.join("python/capscache");
    std::fs::create_dir_all(&package)?;
    for file in std::fs::read_dir(source("bindings/python/python/capscache"))? {
        let file = file?;
        symlink(file.path(), package.join(file.file_name()))?;
    }
    symlink(library, package.join("_native.abi3.so"))?;
    let mut python = Command::new("python3");
    python.arg("-B").arg(source("bindings/python/bench/calls.py"));
    python.env("PYTHONPATH", directory.join("python"));
    Ok(python)
}

/// A program in another language, which waits for work.
struct Calls {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Calls {
    fn start(command: &mut Command) -> Result<Calls> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("a pipe")?;
        let output = BufReader::new(child.stdout.take().context("a pipe")?);
        Ok(Calls { _child: child, input, output })
    }

    /// Returns the time of one call, and ends with the program.
    fn time(&mut self, work: &str) -> Result<Duration> {
        writeln!(self.input, "{work}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(Duration::from_nanos(line.trim().parse().context("the program failed")?))
    }
}
