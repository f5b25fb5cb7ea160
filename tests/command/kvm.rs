//! KVM appears and disappears: the answers that depend on it are probed again, and no others.

use std::process::Command;

use serde_json::Value;
use test_support::rights::{can_change_user, can_make_nodes, can_mount};
use test_support::{Run, has, run};

use crate::{Dir, kvm_works};

const NATIVE: &str = "qemu-system-x86_64";

/// Returns true if KVM can be taken away from a process here; reports a skip if not.
fn can_hide_kvm() -> bool {
    kvm_works() && can_mount() && can_make_nodes()
}

impl Dir {
    /// Runs a script where `/dev` is a copy without `kvm`, `$C` is the command and `$KVM` the node.
    fn with_own_dev(&self, script: &str) -> Run {
        let script = format!(
            "KVM=$(pwd)/kvm; cp -a /dev/kvm $KVM; mkdir -p dev; mount -t tmpfs dev dev; \
             for node in null zero full random urandom; do cp -a /dev/$node dev/; done; \
             ln -s /proc/self/fd dev/fd; mkdir dev/shm; mount --bind dev /dev; {script}"
        );
        let mut command = Command::new("unshare");
        self.prepare(&mut command);
        command.env("C", env!("CARGO_BIN_EXE_capscache"));
        run(command.args(["-m", "sh", "-euc", &script]))
    }

    /// Runs the command where `/dev` has no `kvm`.
    fn without_kvm(&self, arguments: &[&str]) -> Run {
        self.with_own_dev(&format!("exec $C {}", arguments.join(" ")))
    }

    /// The time that the last pass under an accelerator took: another time shows that it ran again.
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
fn kvm_that_disappears_and_returns_is_detected_at_once_and_only_kvm_is_probed_again() {
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
    assert_ne!(dir.pass_time("kvm"), kvm, "KVM was probed again");
}

#[test]
fn a_kvm_node_that_was_only_touched_costs_no_probe() {
    if !can_hide_kvm() {
        return;
    }
    let dir = Dir::new();
    let run = dir.with_own_dev(&format!(
        "cp -a $KVM /dev/kvm; $C warm {NATIVE}; $C inspect {NATIVE} report --json; \
         touch /dev/kvm; $C status {NATIVE}; $C inspect {NATIVE} report --json"
    ));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains(": valid"), "{}", run.stdout);
    let (before, after) = run.stdout.split_once(": valid").expect("both reports");
    let start = before.find('{').expect("JSON");
    let before = &before[start..before.rfind('}').expect("JSON") + 1];
    assert_eq!(before.trim(), after.trim());
}

#[test]
fn kvm_that_opens_and_fails_is_unknown_and_probed_again_when_it_works() {
    if !can_hide_kvm() {
        return;
    }
    let dir = Dir::new();
    // A node that every user may open, and that makes no machine: /dev/null stands for KVM that is busy,
    // which would take another hypervisor on the same processor.
    let run = dir.with_own_dev(&format!(
        "cp -a /dev/null /dev/kvm; $C query {NATIVE} cpu:max@kvm cpu:max@tcg || true; \
         $C status {NATIVE}; rm /dev/kvm; cp -a $KVM /dev/kvm; $C query {NATIVE} cpu:max@kvm"
    ));
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[..2], ["cpu:max@kvm\tunknown", "cpu:max@tcg\tyes"], "{run:?}");
    assert!(lines[2].ends_with(": valid"), "it holds for a minute: {run:?}");
    assert_eq!(lines[3..], ["cpu:max@kvm\tyes"], "{run:?}");
}

#[test]
fn kvm_that_changes_while_it_is_probed_again_is_probed_once_more() {
    if !can_hide_kvm() {
        return;
    }
    let dir = Dir::new();
    // The first pass under KVM that finds the file `once` changes the node.
    let run = dir.with_own_dev(&format!(
        "cat > wrapper <<'END'\n#!/bin/sh\ncd {here}\necho \"$*\" >> log\n\
         case \"$*\" in *accel=kvm*) rm once 2>/dev/null && chmod 600 /dev/kvm ;; esac\n\
         exec {NATIVE} \"$@\"\nEND\n\
         chmod 755 wrapper; C=\"$C --writable {here}\"; cp -a $KVM /dev/kvm; $C query ./wrapper cpu:max@kvm; rm /dev/kvm; \
         $C query ./wrapper cpu:max@kvm || true; cp -a $KVM /dev/kvm; touch once; : > log; \
         $C query ./wrapper cpu:max@kvm; grep -c accel= log; grep -c accel=kvm log; \
         $C status ./wrapper; $C status --thorough ./wrapper",
        here = dir.path("").display()
    ));
    let lines: Vec<&str> = run.stdout.lines().collect();
    let answers = ["cpu:max@kvm\tyes", "cpu:max@kvm\tno", "cpu:max@kvm\tyes"];
    assert_eq!(lines[..3], answers, "{run:?}");
    assert_eq!(lines[3..5], ["2", "2"], "KVM alone is probed, twice: {run:?}");
    assert!(lines[5..].iter().all(|line| line.ends_with(": valid")), "{run:?}");
    assert_eq!(lines.len(), 7, "{run:?}");
}

#[test]
fn kvm_that_is_forbidden_is_unknown_until_it_is_allowed() {
    if !(can_hide_kvm() && can_change_user() && has("setpriv")) {
        return;
    }
    let dir = Dir::new();
    let run = dir.with_own_dev(&format!(
        "other() {{ setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"; }}; \
         cp -a $KVM /dev/kvm; chmod 600 /dev/kvm; mkdir root; chown 65534 root; cp $C c; \
         other ./c query {NATIVE} cpu:max@kvm cpu:max@tcg || true; \
         other ./c inspect {NATIVE} report --json | grep -c cannot.be.opened; \
         chmod 666 /dev/kvm; other ./c status {NATIVE} --json || true; \
         other ./c query {NATIVE} cpu:max@kvm"
    ));
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[..3], ["cpu:max@kvm\tunknown", "cpu:max@tcg\tyes", "1"], "{run:?}");
    assert!(lines[3..].contains(&r#"    "input": "kvm","#), "{run:?}");
    assert_eq!(lines.last(), Some(&"cpu:max@kvm\tyes"), "{run:?}");
}

#[test]
fn another_user_of_the_same_cache_runs_nothing_and_changes_nothing() {
    if !(can_hide_kvm() && can_change_user() && has("setpriv")) {
        return;
    }
    let dir = Dir::new();
    dir.answer(&["warm", NATIVE]);
    let before = dir.answer(&["export", NATIVE]);
    // The binary is in a directory that only this user may search; the other user gets a copy.
    let command_copy = dir.path("capscache");
    std::fs::copy(env!("CARGO_BIN_EXE_capscache"), &command_copy).expect("a copy");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&command_copy);
        dir.prepare(&mut command);
        run(command.args(arguments))
    };
    let query = as_nobody(&["query", NATIVE, "cpu:max@kvm", "--no-probe"]);
    assert_eq!(query.stdout, "cpu:max@kvm\tyes\n", "{query:?}");
    // The replies of KVM are in the cache too: this user could not query it.
    let to_libvirt = ["export", NATIVE, "--format", "libvirt-xml", "--no-probe"];
    let xml = as_nobody(&to_libvirt).stdout;
    assert!(xml.contains("<cpudata arch='x86'>"), "{xml:.200}");
    assert!(xml == dir.answer(&to_libvirt));
    assert_eq!(dir.answer(&["export", NATIVE]), before);
}

#[test]
fn a_check_of_kvm_by_one_user_hides_no_change_from_the_other() {
    if !(can_hide_kvm() && can_change_user() && has("setpriv")) {
        return;
    }
    let dir = Dir::new();
    // Both may write to the root, root makes the first lookup, and the other user owns the root.
    let run = dir.with_own_dev(&format!(
        "prober() {{ setpriv --reuid=65534 --regid=65534 $GROUPS_ARE ./c \"$@\"; }}; \
         mount -t tmpfs none /sys/module/kvm/parameters; nested=/sys/module/kvm/parameters/nested; \
         echo Y > $nested; cp -a $KVM /dev/kvm; chmod 660 /dev/kvm; chgrp 12345 /dev/kvm; \
         mkdir root; chown 65534 root; cp $C c; \
         state() {{ grep -E '\"(state|input)\"' || true; }}; \
         GROUPS_ARE=--groups=12345; prober warm {NATIVE} >&2; \
         touch /dev/kvm; $C --trust-owner 65534 status {NATIVE} --json | state; \
         GROUPS_ARE=--clear-groups; prober status {NATIVE} --json | state; \
         GROUPS_ARE=--groups=12345; prober status {NATIVE} --json | state; \
         echo N > $nested; touch /dev/kvm; \
         $C --trust-owner 65534 status {NATIVE} --json | state; prober status {NATIVE} --json | state"
    ));
    let valid = r#"  "state": "valid""#;
    let stale = [r#"  "state": "stale","#, r#"    "input": "kvm","#];
    let lines: Vec<&str> = run.stdout.lines().collect();
    let states: Vec<&str> = lines.iter().map(|line| line.trim_end_matches(',')).collect();
    let stale = stale.map(|line| line.trim_end_matches(','));
    let expected = [&[valid][..], &stale, &[valid], &stale, &stale].concat();
    assert_eq!(states, expected, "{run:?}");
}
