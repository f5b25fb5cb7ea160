//! The C library, and the module in Go on it, against the Rust library, in one run.

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

/// Measures a validated get, and an open with twenty answers, through each library.
pub(crate) fn calls(forms: &Forms, directory: &Path, rounds: usize) -> Result<[Work; 2]> {
    let mut hit = Work::new("c-hit", "validated get of an open emulator", Unit::Seconds);
    let what = "open of cache and entry, and twenty queries parsed and answered";
    let mut answers = Work::new("c-answers", what, Unit::Seconds);
    let library = match built("libcapscache_c.so") {
        Ok(library) => library,
        Err(reason) => {
            hit.skipped.push(reason.to_string());
            answers.skipped.push(reason.to_string());
            return Ok([hit, answers]);
        }
    };
    let program = compile(&library, directory)?;
    let go = compile_go(directory)?;
    let cache = Cache::open(&forms.root)?;
    for (work, name, limit) in [(&mut hit, "hit", 1.1), (&mut answers, "answers", 1.2)] {
        let mut calls = Calls::start(&program, forms)?;
        let mut go_calls = go.as_deref().map(|go| Calls::start(go, forms)).transpose()?;
        let (rust, c) = ("Rust", "C");
        let mut sides = vec![
            Side::new(rust, || match name {
                "hit" => repeated(|| {
                    drop(cache.get_with(&forms.emulator, Groups::CORE)?);
                    Ok(())
                }),
                _ => repeated(|| open_and_answer(forms)),
            }),
            Side::new(c, || calls.time(name)),
        ];
        match &mut go_calls {
            Some(calls) => sides.push(Side::new("Go", || calls.time(name))),
            None => work.skipped.push("module in Go: no go or no pkg-config here".to_owned()),
        }
        work.sides = in_turn(rounds, sides)?;
        work.add_bar(c, rust, Limit::AtMost(limit));
        if go.is_some() && name == "hit" {
            work.add_bar("Go", rust, Limit::AtMost(1.5));
        }
    }
    Ok([hit, answers])
}

/// Repeats work for 20 ms, as the program in C does.
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

fn compile(library: &Path, directory: &Path) -> Result<PathBuf> {
    for name in ["libcapscache.so", "libcapscache.so.0"] {
        symlink(library, directory.join(name))?;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = directory.join("calls");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-o"]).arg(&program).arg(source.join("src/calls.c")).arg("-I");
    compiler.arg(source.join("../bindings/c/include")).arg("-L").arg(directory);
    let mut rpath = std::ffi::OsString::from("-Wl,-rpath,");
    rpath.push(directory);
    ensure!(compiler.arg("-lcapscache").arg(rpath).status()?.success(), "cc failed");
    Ok(program)
}

/// Builds the program in Go, with the library beside that in C. `None` where there is no Go.
fn compile_go(directory: &Path) -> Result<Option<PathBuf>> {
    let has = |program: &str, argument: &str| run(Command::new(program).arg(argument)).is_ok();
    if !has("go", "version") || !has("pkg-config", "--version") {
        return Ok(None);
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = format!(
        "Name: capscache\nDescription: The library of this build\nVersion: 0\nCflags: -I{}\nLibs: -lcapscache\n",
        repository.join("bindings/c/include").display(),
    );
    std::fs::write(directory.join("capscache.pc"), found)?;
    let program = directory.join("calls-go");
    let mut go = Command::new("go");
    go.current_dir(repository.join("bindings/go")).args(["build", "-o"]).arg(&program);
    go.arg("./internal/calls").env("PKG_CONFIG_PATH", directory).env("CGO_ENABLED", "1");
    // Not in the file above: Go's cache of builds keeps what pkg-config printed.
    go.env("CGO_LDFLAGS", format!("-L{0} -Wl,-rpath,{0}", directory.display()));
    ensure!(go.status()?.success(), "go build failed");
    Ok(Some(program))
}

/// A program in C or Go, which waits for work.
struct Calls {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Calls {
    fn start(program: &Path, forms: &Forms) -> Result<Calls> {
        let mut command = Command::new(program);
        command.args([forms.root.as_os_str(), forms.emulator.as_os_str()]);
        command.args(QUERIES.map(OsStr::new));
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
        Ok(Duration::from_nanos(line.trim().parse().context("the program in C or Go failed")?))
    }
}
