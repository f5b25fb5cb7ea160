//! The paths that an emulator can write to.

use super::*;
use crate::session::fake::write_program;

/// Writes in every way, in each of the given directories.
const WRITE: &str = r#"for at; do
    echo after > "$at/new"; mkdir "$at/directory"; ln -s x "$at/link"; mkfifo "$at/pipe"
    echo after > "$at/file"; mv "$at/file" "$at/moved"; truncate -s 1 "$at/kept"; rm "$at/gone"
done 2>/dev/null"#;

/// The directories of one test: only the last may be written to.
const PLACES: [&str; 3] = ["outside", "cache", "allowed"];

fn has_landlock() -> bool {
    let has = matches!(Sandbox::landlock(None, &[]), Sandbox::Landlock(_));
    if !has {
        println!("SKIPPED: there is no Landlock here, so an emulator writes where its user does");
    }
    has
}

/// Returns whether Landlock bounds signals: since Linux 6.12.
fn bounds_signals() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let bounds = (numbers.next(), numbers.next()) >= (Some(6), Some(12));
    if !bounds {
        println!("SKIPPED: Landlock does not bound signals in Linux {release}");
    }
    bounds
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Probes an emulator by a wrapper that runs `first`, and then writes to all paths.
fn probe_one_that_writes(first: &str) {
    let fake = Fake::qemu("query-kvm) cat \"$TMPDIR/new\" >&2; answer '{}';;");
    let at = |name: &str| fake.dir.path().join(name);
    for place in PLACES {
        fs::create_dir(at(place)).unwrap();
        for name in ["file", "gone", "kept"] {
            fs::write(at(place).join(name), "before").unwrap();
        }
    }
    let real = at("real");
    fs::rename(&fake.path, &real).unwrap();
    fs::create_dir(at("mine")).unwrap();
    let before = names(fake.dir.path());
    write_program(&at("write"), &format!("#!/bin/sh\n{WRITE}\n"));
    let script = format!(
        "#!/bin/sh\nd=${{0%/*}}\n{first}\n\"$d/write\" \"$d\" \"$d/outside\" \"$d/allowed\" \"$d/mine\" \
         \"$TMPDIR\" \"$TMPDIR/..\"\nexec \"$d/real\" \"$@\"\n"
    );
    write_program(&fake.path, &script);
    let (temporary, writable) = (Some(at("cache")), vec![at("allowed")]);
    let outcome = probed(&fake, Task { temporary, writable, ..Task::default() }).unwrap();
    assert_eq!(outcome.outputs, ["after\n"], "its temporary directory is its own");
    let mut all = [before, vec!["qemu-system-fake".into(), "write".into()]].concat();
    all.sort_unstable();
    assert_eq!(names(fake.dir.path()), all);
    for place in &PLACES[..2] {
        assert_eq!(names(&at(place)), ["file", "gone", "kept"]);
        for name in ["file", "gone", "kept"] {
            assert_eq!(fs::read_to_string(at(place).join(name)).unwrap(), "before");
        }
    }
    let written = ["directory", "kept", "link", "moved", "new", "pipe"];
    assert_eq!(names(&at("allowed")), written);
    assert_eq!(fs::read_to_string(at("allowed/moved")).unwrap(), "after\n");
    assert_eq!(fs::read_to_string(at("allowed/kept")).unwrap(), "b");
}

#[test]
fn an_emulator_writes_to_its_temporary_directory_and_allowed_paths_and_nowhere_else() {
    if has_landlock() {
        probe_one_that_writes("");
    }
}

#[test]
fn one_that_mounts_can_and_writes_nowhere_else_either() {
    let unshare = if rights::can_change_user() { "unshare -m" } else { "unshare -Urm" };
    let may = |words: &str| {
        let mut words = words.split(' ');
        let command = Command::new(words.next().unwrap()).args(words).arg("true").output();
        command.is_ok_and(|output| output.status.success())
    };
    if !may(unshare) || !may("unshare -Urm") {
        println!("SKIPPED: no namespaces can be made here");
        return;
    }
    if !has_landlock() {
        return;
    }
    // Where Landlock cannot bound signals, root could send them.
    let signal = if bounds_signals() { r#"kill -0 1 && : > "$d/allowed/signal""# } else { ":" };
    let script = format!(
        r#"[ "$INSIDE" ] || INSIDE=1 exec {unshare} "$0" "$@"
        mount --bind "$d/outside" "$d/mine" || exit 1
        {{
            for node in /dev/vda /dev/sda /dev/loop0; do
                [ -b $node ] && (: >>$node) && : > "$d/allowed/disk"
            done
            {signal}
            for at in / "$d/mine" "$d/cache" "$TMPDIR/.."; do
                mount -o remount,bind,rw "$at"; umount "$at/.."; mount --make-shared "$at"
            done
        }} 2>/dev/null"#
    );
    probe_one_that_writes(&script);
}

#[test]
fn one_that_is_confined_may_not_signal_its_prober() {
    if !has_landlock() {
        return;
    }
    if !bounds_signals() {
        return;
    }
    let fake = Fake::qemu("query-kvm) kill -0 $PPID 2>/dev/null; echo $? >&2; answer '{}';;");
    let outcome = probed(&fake, Task::default()).unwrap();
    assert_eq!(outcome.outputs, ["1\n"]);
}

#[test]
fn the_error_of_one_that_may_not_write_names_the_option_that_allows_it() {
    let fake = Fake::new(r#": > "$0.log" || exit 1"#);
    if !has_landlock() {
        return;
    }
    let error = probed(&fake, Task::default()).unwrap_err();
    assert!(error.contains("allow further paths with --writable (Options::writable)"), "{error}");
    let writable = vec![fake.dir.path().to_owned()];
    let error = probed(&fake, Task { writable, ..Task::default() }).unwrap_err();
    assert!(!error.contains("--writable") && fake.path.with_extension("log").exists(), "{error}");
}
