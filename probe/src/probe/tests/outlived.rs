//! No process that an emulator started outlives the probe.

use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::session::fake::write_program;

/// Probes an emulator that starts a program in the background by `start`, and checks that none of its processes is left
/// right afterwards.
fn nothing_is_left_of(program: &str, start: &str) {
    let fake = Fake::qemu_that_first("", &format!("query-kvm) {start}; answer '{{}}';;"));
    let writable = vec![fake.dir.path().to_owned()];
    write_program(&fake.dir.path().join("qemu-system-fake.child"), program);
    let task = Task { emulator: fake.path.clone(), writable, ..Task::default() };
    let began = Instant::now();
    let outcome = Prober::start(&task, &[], tempfile::tempdir().unwrap()).wait().unwrap();
    assert!(!fake.runs(), "a process is left");
    assert_eq!(outcome.quarantined, []);
    assert!(fake.dir.path().join("ran").exists(), "it did not run: {outcome:?}");
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
}

/// Waits until the program runs.
const UNTIL_IT_RUNS: &str = "until [ -e \"${0%/*}/ran\" ]; do :; done";

#[test]
fn one_that_leaves_a_session_of_its_own() {
    nothing_is_left_of(
        "#!/bin/sh\ntrap '' TERM HUP INT\n: > \"${0%/*}/ran\"\nwhile :; do sleep 1000; done\n",
        &format!("(setsid \"$0.child\" 3>&- &); {UNTIL_IT_RUNS}"),
    );
}

#[test]
fn one_whose_child_starts_itself_again_and_ends() {
    nothing_is_left_of(
        "#!/bin/sh\n: > \"${0%/*}/ran\"\nsetsid \"$0\" &\n",
        &format!("(setsid \"$0.child\" 3>&- &); {UNTIL_IT_RUNS}"),
    );
}

#[test]
fn one_whose_child_forks_as_fast_as_it_can() {
    if !Path::new("/usr/bin/perl").exists() {
        println!("SKIPPED: there is no perl to fork fast");
        return;
    }
    nothing_is_left_of(
        "#!/usr/bin/perl\n($d = $0) =~ s{[^/]*$}{}; open(F, '>', \"${d}ran\");\n\
         while (time < $^T + 100) { exit if fork; setpgrp; }\n",
        &format!("(setsid \"$0.child\" 3>&- &); {UNTIL_IT_RUNS}"),
    );
}

#[test]
fn one_whose_prober_is_killed_leaves_no_session_of_its_own_either() {
    let fake = Fake::new("(setsid sh -c ': > \"$0.ran\"; sleep 1000' \"$0\" &) ; exec sleep 1000");
    let writable = vec![fake.dir.path().to_owned()];
    let task = Task { emulator: fake.path.clone(), writable, ..Task::default() };
    let mut prober = Prober::start(&task, &[], tempfile::tempdir().unwrap());
    let ran = fake.dir.path().join("qemu-system-fake.ran");
    wait_until("it runs", || ran.exists());
    prober.child.kill().unwrap();
    assert_eq!(prober.child.wait().unwrap().signal(), Some(libc::SIGKILL));
    fake.assert_gone();
}
