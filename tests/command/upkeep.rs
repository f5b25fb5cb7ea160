//! `warm`, `list`, `status`, `invalidate`, `verify`: the entries of the cache.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serde_json::Value;
use snapbox::str;

use crate::{Dir, avr, emulator, text, x86_64};

#[test]
fn warm_probes_missing_entries_and_then_finds_them_cached() {
    let dir = Dir::new();
    let warm = ["warm", &avr()];
    dir.assert_snapshot(
        &dir.session(&[&warm, &warm]),
        str![[r#"
$ capscache warm /usr/bin/qemu-system-avr
qemu-system-avr  [..]avr          tcg        probed in [..] s
1 emulator in [..] s: 1 probed
$ capscache warm /usr/bin/qemu-system-avr
qemu-system-avr  [..]avr          tcg        cached
1 emulator in [..] s: 1 cached

"#]],
    );
}

#[test]
fn warm_fills_every_group_on_request_and_names_quarantined_queries() {
    let dir = Dir::new();
    dir.answer(&["warm", &avr()]);
    let full = dir.answer(&["warm", "--full", &avr()]);
    assert!(full.contains("probed in"), "{full}");
    let entry = dir.listed(&avr()).expect("an entry");
    assert_eq!(entry["groups"], serde_json::json!(["core", "devices", "objects", "cpu-models"]));
    let export = dir.json(&["export", &avr()]);
    let quarantined = export["quarantined"].as_array().expect("an array");
    let count = full.lines().filter(|line| line.trim_start().starts_with("quarantined: ")).count();
    assert_eq!(count, quarantined.len());
}

#[test]
fn links_to_one_file_share_one_probe() {
    let dir = Dir::new();
    let link = dir.path("qemu-link");
    symlink(avr(), &link).expect("a link");
    dir.assert_snapshot(
        &dir.session(&[&["warm", &text(&link), &avr()]]),
        str![[r#"
$ capscache warm [DIR]/qemu-link /usr/bin/qemu-system-avr
qemu-system-avr  [..]avr          tcg        probed in [..] s
qemu-link        [..]avr          tcg        same file as qemu-system-avr
2 emulators in [..] s: 1 probed, 1 the same file as another

"#]],
    );
    let entry = dir.listed(&text(&link)).expect("an entry of its own");
    assert_eq!(entry["executable"], avr());
}

#[test]
fn a_failure_among_others_is_reported_and_the_others_are_warmed() {
    let dir = Dir::new();
    dir.assert_snapshot(
        &dir.session(&[&["warm", "--jobs", "1", "/bin/true", &avr()]]),
        str![[r#"
$ capscache warm --jobs 1 /bin/true /usr/bin/qemu-system-avr
true             FAILED
qemu-system-avr  [..]avr          tcg        probed in [..] s
2 emulators in [..] s: 1 probed, 1 failed
! capscache: cannot start /bin/true: it sent no QMP greeting: exited with status 0
exit code: 1

"#]],
    );
    assert_eq!(dir.listed(&avr()).expect("an entry")["state"], "valid");
}

#[test]
fn warm_known_probes_replaced_emulators_with_the_groups_that_they_had_and_no_others() {
    let dir = Dir::new();
    let wrapper = dir.wrapper("qemu-system-mine", &avr());
    dir.answer(&["warm", "--full", &wrapper]);
    let mut file = fs::OpenOptions::new().append(true).open(&wrapper).expect("the wrapper");
    file.write_all(b"# edited\n").expect("a write");
    drop(file);
    let known = dir.answer(&["warm", "--known"]);
    assert!(known.starts_with("qemu-system-mine ") && known.contains("probed in"), "{known}");
    let entry = dir.listed(&wrapper).expect("an entry");
    assert_eq!(entry["state"], "valid");
    assert_eq!(entry["groups"], serde_json::json!(["core", "devices", "objects", "cpu-models"]));
    assert!(dir.listed(&avr()).is_none());
    fs::remove_file(&wrapper).expect("a removal");
    assert_eq!(dir.answer(&["warm", "--known"]), "no emulator has an entry\n");
}

#[test]
fn warm_finds_emulators_in_further_directories() {
    let dir = Dir::new();
    fs::create_dir(dir.path("opt")).expect("a directory");
    let wrapper = dir.wrapper("opt/qemu-system-mine", &avr());
    let mut command = dir.command();
    // PATH is empty, so that only the given directory and /usr/libexec are searched.
    command.env("PATH", "/none").args(["warm", "--all", "--jobs", "1", "--search"]);
    let run = crate::run(command.arg(dir.path("opt")));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    assert_eq!(dir.listed(&wrapper).expect("an entry")["arch"], "avr");
}

#[test]
fn a_list_has_each_entry_and_its_state() {
    let dir = Dir::new();
    let wrapper = dir.wrapper("qemu-system-mine", &avr());
    dir.answer(&["warm", &wrapper, &avr()]);
    fs::remove_file(&wrapper).expect("a removal");
    let gone = dir.listed(&wrapper).expect("an entry");
    assert_eq!(gone["state"], "stale");
    assert_eq!(gone["reason"]["found"], "No such file or directory");
    let there = dir.listed(&avr()).expect("an entry");
    assert_eq!((&there["state"], &there["arch"]), (&"valid".into(), &"avr".into()));
    assert_eq!(there["accelerators"], serde_json::json!(["tcg"]));
    let file = fs::metadata(there["file"].as_str().expect("a path")).expect("a file");
    assert_eq!(there["size"], file.len());
    let table = dir.answer(&["list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("EMULATOR "), "{table}");
    assert_eq!(lines.len(), 3);
    let state = lines[0].find("STATE").expect("a column");
    let mut states: Vec<&str> = lines[1..].iter().map(|line| &line[state..]).collect();
    states.sort_unstable();
    assert_eq!(states, ["stale", "valid"]);
}

#[test]
fn an_edited_wrapper_is_stale_with_a_reason() {
    let dir = Dir::new();
    let wrapper = dir.wrapper("qemu-system-mine", &x86_64());
    let export = dir.json(&["export", &wrapper]);
    assert_eq!(export["executable"], x86_64());
    assert_eq!(dir.answer(&["status", &wrapper]), format!("{wrapper}: valid\n"));

    dir.wrapper("qemu-system-mine", &avr());
    let stale = dir.run(&["status", &wrapper]);
    assert_eq!((stale.code, stale.stderr.as_str()), (Some(1), ""));
    let begin = format!("{wrapper}: stale: the emulator {wrapper} changed: recorded SHA-256 ");
    assert!(stale.stdout.starts_with(&begin), "{stale:?}");
    let why = dir.run(&["why", "--json", &wrapper]);
    assert_eq!(why.code, Some(1));
    let why: serde_json::Value = serde_json::from_str(&why.stdout).expect("JSON");
    assert_eq!((&why["state"], &why["emulator"]), (&"stale".into(), &wrapper.as_str().into()));
    assert_eq!(why["reason"]["input"], "emulator");
    assert_eq!(why["reason"]["path"], wrapper);
    assert_ne!(why["reason"]["recorded"], why["reason"]["found"]);

    assert_eq!(dir.answer(&["query", &wrapper, "machine:uno"]), "machine:uno\tyes\n");
    assert_eq!(dir.answer(&["status", &wrapper]), format!("{wrapper}: valid\n"));
}

#[test]
fn an_emulator_that_was_never_probed_is_missing() {
    let dir = Dir::new();
    let shown = dir.session(&[&["status", &avr()], &["status", "--json", &avr()]]);
    dir.assert_snapshot(&shown, str![[r#"
$ capscache status /usr/bin/qemu-system-avr
/usr/bin/qemu-system-avr: missing: there is no entry; run `capscache warm /usr/bin/qemu-system-avr` to create it
exit code: 3
$ capscache status --json /usr/bin/qemu-system-avr
{
  "emulator": "/usr/bin/qemu-system-avr",
  "state": "missing",
  "reason": null
}
exit code: 3

"#]]);
}

#[test]
fn an_invalidated_entry_is_gone() {
    let dir = Dir::new();
    let (a, b) = (avr(), emulator("rx"));
    dir.answer(&["warm", &a, &b]);
    let shown = dir.session(&[
        &["invalidate", &a],
        &["invalidate", &a],
        &["status", &a],
        &["status", &b],
        &["invalidate", "--all"],
        &["status", &b],
    ]);
    dir.assert_snapshot(&shown, str![[r#"
$ capscache invalidate /usr/bin/qemu-system-avr
/usr/bin/qemu-system-avr: dropped
$ capscache invalidate /usr/bin/qemu-system-avr
/usr/bin/qemu-system-avr: there was no entry
$ capscache status /usr/bin/qemu-system-avr
/usr/bin/qemu-system-avr: missing: there is no entry; run `capscache warm /usr/bin/qemu-system-avr` to create it
exit code: 3
$ capscache status /usr/bin/qemu-system-rx
/usr/bin/qemu-system-rx: valid
$ capscache invalidate --all
dropped 1 entry
$ capscache status /usr/bin/qemu-system-rx
/usr/bin/qemu-system-rx: missing: there is no entry; run `capscache warm /usr/bin/qemu-system-rx` to create it
exit code: 3

"#]]);
}

#[test]
fn verify_names_an_entry_that_was_damaged() {
    let dir = Dir::new();
    let (a, b) = (avr(), emulator("rx"));
    dir.answer(&["warm", &a, &b]);
    assert_eq!(dir.answer(&["verify"]), "2 entries: 2 good, 0 damaged\n");
    let entry = dir.listed(&b).expect("an entry");
    let file = entry["file"].as_str().expect("a path");
    let middle = SeekFrom::Start(fs::metadata(file).expect("a file").len() / 2);
    let mut handle = fs::File::options().write(true).open(file).expect("a file");
    handle.seek(middle).and_then(|_| handle.write_all(b"damage")).expect("a write");
    for arguments in [&["verify"][..], &["verify", &a, &b]] {
        let run = dir.run(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{run:?}");
        assert!(run.stdout.starts_with(&format!("damaged: {file}: ")), "{run:?}");
        assert!(run.stdout.ends_with("2 entries: 1 good, 1 damaged\n"), "{run:?}");
    }
    assert_eq!(dir.answer(&["verify", &a]), "1 entry: 1 good, 0 damaged\n");
}

#[test]
fn an_entry_that_cannot_be_read_stops_neither_verify_nor_gc() {
    let dir = Dir::new();
    let gone = dir.wrapper("qemu-system-gone", &emulator("rx"));
    dir.answer(&["warm", &avr(), &gone]);
    let entry = dir.listed(&avr()).expect("an entry");
    let release = Path::new(entry["file"].as_str().expect("a path")).parent().expect("a directory");
    // Names before and after all others: the rest is processed in any order.
    let names = ["0.caps", "zz.caps", "0.failed"].map(|name| release.join(name));
    for name in &names {
        symlink("/dev/null", name).expect("a link");
    }
    let verify = dir.run(&["verify"]);
    assert_eq!((verify.code, verify.stderr.as_str()), (Some(1), ""));
    assert!(verify.stdout.ends_with("4 entries: 2 good, 2 damaged\n"), "{verify:?}");
    let is_named = |name: &Path| verify.stdout.contains(&format!("damaged: {}: ", name.display()));
    assert!(is_named(&names[0]) && is_named(&names[1]), "{verify:?}");
    // The emulator that is named has a link for an entry.
    let file = dir.listed(&gone).expect("an entry")["file"].as_str().expect("a path").to_owned();
    let aside = dir.path("aside");
    fs::rename(&file, &aside).expect("a rename");
    symlink(&aside, &file).expect("a link");
    let run = dir.run(&["verify", &gone, &avr()]);
    assert!(run.stdout.ends_with("2 entries: 1 good, 1 damaged\n"), "{run:?}");
    fs::rename(&aside, &file).expect("a rename");

    fs::remove_file(&gone).expect("a file");
    let gc = dir.run(&["gc"]);
    assert_eq!(gc.code, Some(0));
    assert_eq!(gc.stdout, format!("dropped: {gone}, which is gone\n"));
    let left = |name: &Path| gc.stderr.contains(&format!("cannot remove {}: ", name.display()));
    assert!(names.iter().all(|name| left(name)), "{gc:?}");
    assert_eq!(gc.stderr.lines().count(), names.len(), "{gc:?}");
}

#[test]
fn an_entry_that_cannot_be_opened_is_reported_once_and_replaced() {
    let dir = Dir::new();
    dir.answer(&["warm", &avr()]);
    let entry = dir.listed(&avr()).expect("an entry");
    let file = entry["file"].as_str().expect("a path");
    // Written beside and renamed, as no file is ever changed in place.
    let half = fs::read(file).expect("a file");
    fs::write(dir.path("half"), &half[..half.len() / 2]).expect("a file");
    fs::rename(dir.path("half"), file).expect("a rename");

    let status = dir.run(&["status", &avr()]);
    assert_eq!(status.code, Some(1));
    assert!(status.stdout.contains(": damaged: "), "{status:?}");
    assert_eq!(dir.run(&["verify"]).code, Some(1));
    assert!(dir.answer(&["list"]).contains("damaged: "));
    let query = dir.run(&["query", &avr(), "machine:uno"]);
    assert_eq!((query.code, query.stdout.as_str()), (Some(0), "machine:uno\tyes\n"));
    assert!(query.complaint().ends_with("probing again"), "{query:?}");
    assert_eq!(dir.answer(&["query", &avr(), "machine:uno"]), "machine:uno\tyes\n");
}

#[test]
fn a_failure_is_remembered_shown_by_status_and_tried_again_by_warm() {
    let dir = Dir::new();
    let count = dir.path("count");
    let script =
        format!("#!/bin/sh\necho run >> {}\necho no luck today >&2\nexit 1\n", text(&count));
    let broken = dir.program("qemu-system-broken", script);
    let runs = || std::fs::read_to_string(&count).expect("it ran").lines().count();
    let within = text(dir.directory());
    let query = ["--writable", &within, "query", &broken, "machine:none"];
    assert_eq!(dir.run(&query).code, Some(2));
    let once = runs();
    let again = dir.run(&query);
    let complaint = again.complaint();
    assert!(complaint.contains("no luck today") && complaint.contains("ago; retry in"));
    assert!(
        complaint.ends_with(&format!("run `capscache warm {broken}` to retry now")),
        "{complaint}"
    );
    let status = dir.run(&["status", &broken]);
    assert_eq!(status.code, Some(1));
    assert!(status.stdout.starts_with(&format!("{broken}: failed: ")), "{}", status.stdout);
    let json: Value = serde_json::from_str(&dir.run(&["why", &broken, "--json"]).stdout).unwrap();
    assert_eq!(json["state"], "failed");
    assert!(json["reason"]["reason"].as_str().unwrap().contains("no luck today"), "{json}");
    assert!(json["reason"]["retry-in"].as_u64().unwrap() <= 60, "{json}");
    assert_eq!(runs(), once, "no caller waited for another failure");
    assert_eq!(dir.run(&["--writable", &within, "warm", &broken]).code, Some(1));
    assert_eq!(runs(), 2 * once);
    let query = [&["--failure-ttl", "0"], &query[..]].concat();
    assert_eq!(dir.run(&query).code, Some(2));
    assert_eq!(runs(), 3 * once);
}

#[test]
fn gc_drops_and_names_entries_of_emulators_that_are_gone() {
    let dir = Dir::new();
    let gone = dir.wrapper("qemu-system-gone", &avr());
    dir.answer(&["warm", &gone, &avr()]);
    assert_eq!(dir.answer(&["gc"]), "nothing to remove\n");
    std::fs::remove_file(&gone).unwrap();
    assert_eq!(dir.answer(&["gc"]), format!("dropped: {gone}, which is gone\n"));
    assert!(dir.listed(&gone).is_none() && dir.listed(&avr()).is_some());
}

#[test]
fn an_entry_that_only_a_thorough_lookup_finds_stale_is_probed_by_warm() {
    if !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: the modules of QEMU for x86_64 are needed");
        return;
    }
    let dir = Dir::new();
    let modules = dir.path("lib/x86_64-linux-gnu/qemu");
    std::fs::create_dir_all(&modules).unwrap();
    std::fs::create_dir(dir.path("bin")).unwrap();
    let emulator = dir.program("bin/qemu-system-x86_64", std::fs::read(x86_64()).unwrap());
    // It starts with an accelerator only, where /dev/kvm cannot be opened.
    for name in ["audio-oss.so", "accel-tcg-x86_64.so"] {
        let installed = Path::new("/usr/lib/x86_64-linux-gnu/qemu").join(name);
        std::fs::copy(installed, modules.join(name)).unwrap();
    }
    let module = modules.join("audio-oss.so");
    dir.answer(&["warm", &emulator]);
    let content = std::fs::read(&module).unwrap();
    std::fs::write(&module, [&content[..], b"\0"].concat()).unwrap();
    assert_eq!(dir.run(&["status", &emulator, "--thorough"]).code, Some(1));
    assert!(dir.answer(&["warm", &emulator]).contains("probed"));
    assert_eq!(dir.run(&["status", &emulator, "--thorough"]).code, Some(0));
}

#[test]
fn a_valid_entry_of_a_fallback_is_used_without_a_probe() {
    let dir = Dir::new();
    let image = text(&dir.path("image"));
    dir.answer(&["--root", &image, "warm", &avr()]);
    let answer = dir.answer(&["--fallback", &image, "query", &avr(), "machine:uno", "--no-probe"]);
    assert_eq!(answer, "machine:uno\tyes\n");
    assert_eq!(dir.run(&["query", &avr(), "machine:uno", "--no-probe"]).code, Some(2));
}

#[test]
fn root_writes_to_the_cache_of_another_user_as_that_user() {
    const OWNER: u32 = 12345;
    if !test_support::rights::can_change_user() {
        return;
    }
    let dir = Dir::new();
    fs::create_dir(dir.root()).unwrap();
    std::os::unix::fs::chown(dir.root(), Some(OWNER), Some(OWNER)).unwrap();
    let owners = || {
        let mut owners = Vec::new();
        let mut directories = vec![dir.root()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let (path, status) = entry.map(|entry| (entry.path(), entry.metadata())).unwrap();
                let status = status.unwrap();
                owners.push(status.uid());
                directories.extend(status.is_dir().then_some(path));
            }
        }
        owners
    };
    // Not unless it is trusted by name.
    let run = dir.run(&["warm", &avr()]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.complaint().contains("it belongs to the user 12345"), "{run:?}");
    assert_eq!(owners(), [0; 0]);
    let trusting = ["--trust-owner", "12345"];
    dir.answer(&[&trusting[..], &["warm", &avr()]].concat());
    let run = dir.run(&[&trusting[..], &["--verbose", "query", &avr(), "machine:uno"]].concat());
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "machine:uno\tyes\n"), "{run:?}");
    let notice = "it belongs to the user 12345: switching to that user";
    assert!(run.stderr.contains(notice), "{run:?}");
    let found = owners();
    assert!(found.len() >= 3 && found.iter().all(|owner| *owner == OWNER), "{found:?}");
    dir.answer(&[&trusting[..], &["invalidate", &avr()]].concat());
    dir.answer(&[&trusting[..], &["gc"]].concat());
    assert!(owners().iter().all(|owner| *owner == OWNER), "{:?}", owners());
}
