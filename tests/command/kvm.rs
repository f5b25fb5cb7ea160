//! KVM comes and goes: what depends on it is asked again, and nothing else.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{Dir, Run, run};

const NATIVE: &str = "qemu-system-x86_64";

/// Whether this host lets us take KVM away from a process; says so where it does not.
fn can_hide_kvm() -> bool {
    let opens = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let may = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|s| s.success());
    let native = cfg!(target_arch = "x86_64");
    if !(opens && may && native) {
        println!("SKIPPED: needs x86_64, /dev/kvm and the right to make a mount namespace");
    }
    opens && may && native
}

impl Dir {
    /// Runs the command where `/dev` has no `kvm`.
    fn without_kvm(&self, arguments: &[&str]) -> Run {
        let dev = self.path("dev");
        let script = "mkdir -p \"$0\" && mount -t tmpfs dev \"$0\" && \
            for node in null zero full random urandom; do cp -a /dev/$node \"$0/\"; done && \
            ln -s /proc/self/fd \"$0/fd\" && mkdir \"$0/shm\" && mount --bind \"$0\" /dev && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).arg(dev).arg(env!("CARGO_BIN_EXE_capscache"));
        self.prepare(&mut command);
        run(command.args(arguments))
    }

    /// How long the last pass under an accelerator took: it tells whether it ran again.
    fn pass_time(&self, accelerator: &str) -> Option<u64> {
        let report = self.json(&["inspect", NATIVE, "report", "--json"]);
        let passes = report["passes"].as_array()?;
        let of_accelerator = passes.iter().find(|pass| pass["accelerator"] == accelerator);
        of_accelerator.and_then(|pass| pass["microseconds"].as_u64())
    }
}

fn input(run: &Run) -> Value {
    let status: Value = serde_json::from_str(&run.stdout).expect("JSON");
    status["reason"]["input"].clone()
}

#[test]
fn kvm_that_vanishes_and_comes_back_is_noticed_at_once_and_only_kvm_is_asked_again() {
    if !can_hide_kvm() {
        return;
    }
    let dir = Dir::new();
    dir.answer(&["warm", NATIVE]);
    let tcg = dir.pass_time("tcg");
    let kvm = dir.pass_time("kvm");
    assert!(tcg.is_some() && kvm.is_some());

    let gone = dir.without_kvm(&["status", NATIVE, "--json"]);
    assert_eq!((gone.code, input(&gone)), (Some(1), Value::from("kvm")), "{gone:?}");
    let query = dir.without_kvm(&["query", NATIVE, "machine:q35", "cpu:max@tcg", "cpu:max@kvm"]);
    assert_eq!(query.stdout, "machine:q35\tyes\ncpu:max@tcg\tyes\ncpu:max@kvm\tno\n", "{query:?}");

    let back = dir.run(&["status", NATIVE, "--json"]);
    assert_eq!((back.code, input(&back)), (Some(1), Value::from("kvm")), "{back:?}");
    assert_eq!(dir.run(&["query", NATIVE, "cpu:max@kvm"]).stdout, "cpu:max@kvm\tyes\n");
    assert_eq!(dir.pass_time("tcg"), tcg, "the binary did not change");
    assert_ne!(dir.pass_time("kvm"), kvm, "KVM was asked again");
}

#[test]
fn a_kvm_node_that_was_only_touched_asks_nothing_again() {
    if !can_hide_kvm() {
        return;
    }
    let dir = Dir::new();
    // A copy of /dev whose kvm node is ours to touch.
    let dev = dir.path("dev");
    let script = "mkdir -p \"$0\" && mount -t tmpfs dev \"$0\" && \
        for node in null zero full random urandom kvm; do cp -a /dev/$node \"$0/\"; done && \
        ln -s /proc/self/fd \"$0/fd\" && mkdir \"$0/shm\" && mount --bind \"$0\" /dev && \
        \"$1\" warm \"$2\" && \"$1\" inspect \"$2\" report --json && \
        touch /dev/kvm && \"$1\" status \"$2\" && \"$1\" inspect \"$2\" report --json";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&dev).arg(env!("CARGO_BIN_EXE_capscache"));
    dir.prepare(&mut command);
    let run = run(command.arg(NATIVE));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains(": valid"), "{}", run.stdout);
    let (before, after) = run.stdout.split_once(": valid").expect("both reports");
    let start = before.find('{').expect("JSON");
    let before = &before[start..before.rfind('}').expect("JSON") + 1];
    assert_eq!(before.trim(), after.trim());
}

#[test]
fn another_user_of_the_same_cache_runs_nothing_and_changes_nothing() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !Path::new("/usr/bin/setpriv").exists() || !can_hide_kvm() {
        println!("SKIPPED: needs root, to become somebody else with setpriv");
        return;
    }
    let dir = Dir::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(""), mode).expect("a mode");
    dir.answer(&["warm", NATIVE]);
    let before = dir.answer(&["export", NATIVE]);
    // The binary lies where only we may look; the other user gets a copy.
    let command_copy = dir.path("capscache");
    std::fs::copy(env!("CARGO_BIN_EXE_capscache"), &command_copy).expect("a copy");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&command_copy);
    dir.prepare(&mut command);
    let query = run(command.args(["query", NATIVE, "cpu:max@kvm", "--no-probe"]));
    assert_eq!(query.stdout, "cpu:max@kvm\tyes\n", "{query:?}");
    assert_eq!(dir.answer(&["export", NATIVE]), before);
}
