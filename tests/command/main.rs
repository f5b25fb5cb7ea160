//! Tests of the command, end to end: its own process, real emulators, a root of its own.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod answers;
mod bad_input;
mod disasters;
mod firmware;
mod kvm;
mod libvirt;
mod manners;
mod outside;
mod reasons;
mod shortage;
mod transcripts;
mod upkeep;
mod watch;

#[path = "../shared/rights.rs"]
mod can;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory of one test, with the root of its cache in it.
struct Dir(TempDir);

/// What a run of the command left.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// The command, with nothing of the caller's environment but `PATH`.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capscache"));
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CAPSCACHE_ROOT", self.root())
            .current_dir(self.0.path())
            .stdin(Stdio::null());
    }

    /// Runs the command to its end.
    fn run(&self, arguments: &[&str]) -> Run {
        run(self.command().args(arguments))
    }

    /// Runs the command, which has to succeed and say nothing on stderr; its answer.
    fn answer(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}: {run:?}");
        run.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.answer(arguments)).expect("JSON")
    }

    /// The states of all entries by the emulator's path.
    fn listed(&self, emulator: &str) -> Option<Value> {
        let list = self.json(&["list", "--json"]);
        let entries = list.as_array().expect("an array");
        entries.iter().find(|entry| entry["emulator"] == emulator).cloned()
    }

    /// An executable file.
    fn program(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        text(&path)
    }

    /// A script that becomes an emulator.
    fn wrapper(&self, name: &str, target: &str) -> String {
        self.program(name, format!("#!/bin/sh\nexec {target} \"$@\"\n"))
    }
}

impl Run {
    /// The one line that a failure is told in.
    fn complaint(&self) -> &str {
        let line = self.stderr.strip_suffix('\n').expect("a whole line on stderr");
        assert!(!line.contains('\n'), "more than one line: {line}");
        line.strip_prefix("capscache: ").expect("the name of the command in front")
    }
}

fn run(command: &mut Command) -> Run {
    let output = command.output().expect("the command starts");
    let utf8 = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code(), stdout: utf8(output.stdout), stderr: utf8(output.stderr) }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// The path of an emulator that must be installed.
fn emulator(target: &str) -> String {
    let path = format!("/usr/bin/qemu-system-{target}");
    assert!(Path::new(&path).exists(), "there is no {path}: `make test` installs what is missing");
    path
}

/// A small emulator, so that tests are quick.
fn avr() -> String {
    emulator("avr")
}

fn x86_64() -> String {
    emulator("x86_64")
}

/// Whether the x86_64 emulator runs under KVM here; says so where it does not.
fn kvm_works() -> bool {
    let opens = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let works = opens && std::env::consts::ARCH == "x86_64";
    if !works {
        println!("SKIPPED: no KVM for x86_64 here, so nothing was asked under it");
    }
    works
}
