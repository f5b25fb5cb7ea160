//! The command uses the service where its user may not write to the root.

use std::os::unix::process::CommandExt;
use std::path::Path;

use serde_json::{Value, json};
use test_support::rights::can_change_user;
use test_support::{Run, text};

use crate::{Dir, NOBODY, as_user, avr, emulator};

/// Runs the command as a user who may not write to the root.
fn run(dir: &Dir, arguments: &[&str]) -> Run {
    test_support::run(dir.command().args(arguments).uid(NOBODY))
}

/// Returns true if another user can run the command here; reports a skip if not.
fn others_can_run_it() -> bool {
    let binary = Path::new(env!("CARGO_BIN_EXE_capscache"));
    if !can_change_user() {
        return false;
    }
    let can = as_user(NOBODY, || std::fs::File::open(binary).is_ok());
    if !can {
        println!("SKIPPED: only root can run {}", binary.display());
    }
    can
}

#[test]
fn a_user_who_may_not_write_to_the_root_is_answered_by_the_service() {
    if !test_support::rights::is_run_protected() {
        return;
    }
    if !others_can_run_it() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let avr = avr();
    let query = run(&dir, &["query", &avr, "machine:uno", "property:loader.cpu-num"]);
    assert_eq!(query.stdout, "machine:uno\tyes\nproperty:loader.cpu-num\tyes\n", "{query:?}");
    assert_eq!((query.code, query.stderr.as_str()), (Some(0), ""));
    let entries = service.call("List", json!({}))["entries"].take();
    assert_eq!(entries[0]["groups"], json!(["core", "devices"]), "the service keeps the answers");

    let verbose = run(&dir, &["-v", "query", &avr, "machine:none"]);
    let line = format!(
        "capscache: {} is not writable: using the service at {}\n",
        dir.root().display(),
        dir.socket().display()
    );
    assert_eq!((verbose.stdout.as_str(), verbose.stderr), ("machine:none\tyes\n", line));

    let here = |arguments: &[&str]| {
        String::from_utf8(dir.command().args(arguments).output().unwrap().stdout).unwrap()
    };
    for arguments in [
        &["export", &avr][..],
        &["inspect", &avr],
        &["list"],
        &["list", "--json"],
        &["status", &avr],
        &["status", "--json", &emulator("rx")],
        &["diff", &avr, &avr],
    ] {
        let there = run(&dir, arguments);
        assert_eq!((there.stdout, there.stderr.as_str()), (here(arguments), ""), "{arguments:?}");
    }
}

#[test]
fn a_refusal_of_the_service_is_reported_with_its_reason() {
    if !others_can_run_it() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    service.call("Get", json!({"emulator": avr()}));
    let dropped = run(&dir, &["invalidate", &avr()]);
    assert_eq!(dropped.code, Some(2));
    assert_eq!(
        dropped.stderr,
        "capscache: cannot complete the call: not permitted: only root and the service's own user drop entries\n"
    );
    let wrapper = dir.wrapper("qemu-system-mine", &avr());
    let run_by_user = run(&dir, &["query", &wrapper, "machine:uno"]);
    assert_eq!(run_by_user.code, Some(2));
    assert!(
        run_by_user.stderr.contains("is not known, and not among the emulators"),
        "{run_by_user:?}"
    );
    let unprobed = run(&dir, &["query", "--no-probe", &emulator("rx"), "machine:none"]);
    assert_eq!(unprobed.code, Some(2));
    assert!(
        unprobed.stderr.contains("cannot use the service's entry: it is missing"),
        "{unprobed:?}"
    );
}

#[test]
fn warming_through_the_service_creates_missing_entries() {
    if !others_can_run_it() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let warmed = run(&dir, &["warm", &avr()]);
    assert_eq!((warmed.code, warmed.stderr.as_str()), (Some(0), ""), "{warmed:?}");
    assert!(warmed.stdout.ends_with(": 1 probed\n"), "{warmed:?}");
    assert!(run(&dir, &["warm", &avr()]).stdout.ends_with(": 1 cached\n"));
    let again: Value =
        serde_json::from_str(&run(&dir, &["warm", "--json", &avr()]).stdout).unwrap();
    assert_eq!((&again[0]["result"], &again[0]["arch"]), (&json!("cached"), &json!("avr")));
    let overview: Value = serde_json::from_str(&run(&dir, &["--json"]).stdout).unwrap();
    assert_eq!(overview["cache"]["by-service"], true);
    assert_eq!(overview["service"]["state"], "running");
    assert_eq!(overview["service"]["root"], text(&dir.root()));
    assert_eq!(service.call("Status", json!({"emulator": avr()}))["state"], "valid");
}

#[test]
fn a_service_for_another_root_is_not_used_and_a_missing_one_is_reported() {
    if !others_can_run_it() {
        return;
    }
    let dir = Dir::new();
    std::fs::create_dir(dir.root()).unwrap();
    let absent = run(&dir, &["-v", "status", "--json", &avr()]);
    assert!(absent.stderr.contains("capscache: cannot use the service: cannot connect to "));
    let status: Value = serde_json::from_str(&absent.stdout).unwrap();
    assert_eq!(status["state"], "missing");

    let other = dir.path("other");
    let service = dir.serve(&["--root", other.to_str().unwrap()]);
    service.call("Get", json!({"emulator": avr()}));
    let run_by_user = run(&dir, &["-v", "status", "--json", &avr()]);
    let line = format!("the service serves another cache, {}", other.display());
    assert!(run_by_user.stderr.contains(&line), "{run_by_user:?}");
    let status: Value = serde_json::from_str(&run_by_user.stdout).unwrap();
    assert_eq!(status["state"], "missing");
}

#[test]
fn a_user_who_may_write_to_the_root_does_not_use_the_service() {
    let dir = Dir::new();
    let _service = dir.serve(&[]);
    let status = dir.command().args(["-v", "status", &avr()]).output().unwrap();
    let line = format!("capscache: the cache is in {}\n", dir.root().display());
    assert_eq!(String::from_utf8(status.stderr).unwrap(), line);
}
