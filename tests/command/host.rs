//! The overview and `doctor`: the state of this host.

use std::fs;

use serde_json::{Value, json};

use crate::{Dir, avr, text};

/// Links the emulator of AVR into a directory and makes it the only one on `PATH`.
fn only_avr(dir: &Dir) -> String {
    let bin = dir.path("bin");
    fs::create_dir(&bin).expect("a directory");
    std::os::unix::fs::symlink(avr(), bin.join("qemu-system-avr")).expect("a link");
    text(&bin)
}

/// Returns whether emulators are found beside those on `PATH`, and reports a skip then.
fn libexec_has_emulators() -> bool {
    let files = fs::read_dir("/usr/libexec").into_iter().flatten().flatten();
    let mut names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let has = names.any(|name| name.starts_with("qemu-system-") || name == "qemu-kvm");
    if has {
        println!("SKIPPED: /usr/libexec has emulators, which are counted too");
    }
    has
}

/// Runs the command with this `PATH`.
fn with_path(dir: &Dir, path: &str, arguments: &[&str]) -> crate::Run {
    let mut command = dir.command();
    crate::run(command.env("PATH", path).args(arguments))
}

/// Returns the value of a line of the overview.
fn value(overview: &str, name: &str) -> String {
    let line = overview.lines().find_map(|line| line.trim_start().strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is missing in:\n{overview}")).trim().to_owned()
}

#[test]
fn without_a_command_an_overview_shows_the_host_and_what_to_do_next() {
    let dir = Dir::new();
    let bin = only_avr(&dir);
    if libexec_has_emulators() {
        return;
    }
    let overview = || {
        let run = with_path(&dir, &bin, &[]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        run.stdout
    };
    let before = overview();
    let root = text(&dir.root());
    assert_eq!(value(&before, "cache"), format!("{root} (does not exist yet)"));
    assert_eq!(value(&before, "emulators"), "1 found, 1 missing");
    assert_eq!(value(&before, "service"), "not running");
    assert!(before.contains("  capscache warm --all "), "{before}");
    assert!(before.contains("  capscache inspect qemu-system-avr "), "{before}");
    assert!(before.contains("  capscache doctor "), "{before}");
    assert!(!dir.root().exists(), "nothing is probed and nothing is written");

    assert_eq!(with_path(&dir, &bin, &["warm", "--all"]).code, Some(0));
    let after = overview();
    assert_eq!(value(&after, "cache"), root);
    assert_eq!(value(&after, "emulators"), "1 found, 1 valid");
    assert!(!after.contains("warm --all"), "{after}");
}

#[test]
fn programs_get_the_overview_as_a_document() {
    let dir = Dir::new();
    let bin = only_avr(&dir);
    let overview = |root: &str| -> Value {
        let run = with_path(&dir, &bin, &["--root", root, "--json"]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        serde_json::from_str(&run.stdout).expect("JSON")
    };
    let root = text(&dir.root());
    let shown = overview(&root);
    assert_eq!(
        shown["cache"],
        json!({"root": root, "exists": false, "by-service": false, "reason": null})
    );
    let emulators = shown["emulators"].as_array().expect("emulators");
    let avr =
        json!({"emulator": format!("{bin}/qemu-system-avr"), "state": "missing", "reason": null});
    assert!(emulators.contains(&avr), "{shown}");
    assert_eq!(shown["service"]["state"], "not-running");
    assert_eq!(shown["service"]["socket"], text(&dir.socket()));
    assert!(shown["watchers"].is_array(), "{shown}");
    fs::write(dir.root(), "a file").expect("a file");
    let unusable = overview(&root);
    assert_eq!(unusable["emulators"], Value::Null);
    let reason = unusable["cache"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("cannot use ") && reason.contains("Not a directory"), "{reason}");
}

#[test]
fn an_overview_of_a_host_without_emulators_or_of_an_unusable_root_is_not_an_error() {
    let dir = Dir::new();
    fs::create_dir(dir.path("empty")).expect("a directory");
    let none = with_path(&dir, &text(&dir.path("empty")), &[]);
    assert_eq!(none.code, Some(0), "{none:?}");
    if !libexec_has_emulators() {
        assert_eq!(value(&none.stdout, "emulators"), "none found on PATH and in /usr/libexec");
    }
    fs::write(dir.root(), "a file").expect("a file");
    let unusable = dir.run(&[]);
    assert_eq!((unusable.code, unusable.stderr.as_str()), (Some(0), ""), "{unusable:?}");
    let shown = value(&unusable.stdout, "emulators");
    assert!(shown.starts_with("cannot use "), "{shown}");
    assert!(shown.ends_with("Not a directory; give another one with --root DIR"), "{shown}");
}

#[test]
fn an_overview_starts_no_process() {
    let dir = Dir::new();
    let Some((run, calls)) = crate::manners::traced(&dir, &[]) else { return };
    assert_eq!(run.code, Some(0));
    crate::manners::assert_no_process(&calls);
}

/// Returns the checks of a part, of those that `doctor` prints as JSON.
fn checks<'a>(report: &'a Value, part: &str) -> Vec<&'a Value> {
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().filter(|check| check["part"] == part).collect()
}

fn doctor(dir: &Dir, path: &str) -> (Option<i32>, Value) {
    let run = with_path(dir, path, &["doctor", "--json"]);
    assert_eq!(run.stderr, "", "{run:?}");
    (run.code, serde_json::from_str(&run.stdout).expect("JSON"))
}

#[test]
fn doctor_reports_each_part_and_exits_with_one_only_if_a_check_failed() {
    let dir = Dir::new();
    let bin = only_avr(&dir);
    let (code, report) = doctor(&dir, &bin);
    for part in ["kvm", "root", "watcher", "service", "libvirt", "emulators"] {
        assert!(!checks(&report, part).is_empty(), "{part}: {report}");
    }
    let states: Vec<_> = report["checks"].as_array().expect("checks").iter().collect();
    let has_failed = states.iter().any(|check| check["state"] == "failure");
    assert_eq!(code, Some(i32::from(has_failed)), "{report}");
    assert_eq!(report["state"] == "failure", has_failed);
    for check in states {
        assert!(check["state"] == "ok" || check["remedy"].is_string(), "{check}");
    }
    let waiting = checks(&report, "emulators")[1];
    assert_eq!(waiting["state"], "warning");
    assert_eq!(waiting["remedy"], "`capscache warm --all` probes them now");
    assert!(!dir.root().exists(), "nothing is written");
}

#[test]
fn doctor_reports_a_probe_that_failed_and_a_root_that_others_could_write() {
    let dir = Dir::new();
    let bin = only_avr(&dir);
    dir.program("bin/qemu-system-broken", "#!/bin/sh\necho it is broken >&2\nexit 1\n");
    assert_eq!(with_path(&dir, &bin, &["warm", "--all"]).code, Some(1));
    let (code, report) = doctor(&dir, &bin);
    assert_eq!((code, &report["state"]), (Some(1), &"failure".into()));
    let broken = checks(&report, "emulators")[1];
    let found = broken["found"].as_str().expect("text");
    assert!(found.starts_with("cannot probe ") && found.contains("it is broken"), "{found}");
    let remedy = broken["remedy"].as_str().expect("text");
    assert!(remedy.ends_with("qemu-system-broken` probes it again"), "{remedy}");

    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(dir.root(), mode).expect("a mode");
    };
    mode(0o777);
    let (code, report) = doctor(&dir, &bin);
    let shown = with_path(&dir, &bin, &["doctor"]);
    mode(0o755);
    assert_eq!(code, Some(1));
    let access = checks(&report, "root").into_iter().find(|check| check["state"] == "failure");
    let found = access.expect("a failure")["found"].as_str().expect("text");
    assert!(found.starts_with("cannot trust ") && found.ends_with("write to it"), "{found}");
    assert_eq!(shown.code, Some(1));
    let line = shown.stdout.lines().find(|line| line.starts_with("failure  root"));
    assert!(line.is_some_and(|line| line.ends_with(found)), "{}", shown.stdout);
}
