//! Probing in the background: the number at a time, the priority, and files that are never run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use capscache::{Group, Groups};
use capscache_watcher::Event;

use crate::fixture::{AVR, Fixture, rewarm};

/// Returns commands of a wrapper that wait until a file exists. They name the file by a pattern, since a
/// file that a script names is compared.
fn waits_for(gate: &Path) -> String {
    let gate = gate.display().to_string().replace("gate", "gat?");
    format!("while [ ! -e {gate} ]; do sleep 0.01; done")
}

#[test]
fn background_probes_run_at_low_priority() {
    let Some(fixture) = Fixture::protected() else { return };
    let niceness = fixture.path("niceness");
    let script = format!("#!/bin/sh\nnice > {}\nexec {AVR} \"$@\"\n", niceness.display());
    let emulator = fixture.program("qemu", script);
    let own: i32 = rustix::process::getpriority_process(None).unwrap();
    let read = || fs::read_to_string(&niceness).unwrap().trim().parse::<i32>().unwrap();
    fixture.cache.get(&emulator).unwrap();
    assert_eq!(read(), own);
    let watching = fixture.watch(rewarm());
    fixture.upgrade("qemu");
    watching.refreshed(&emulator);
    assert_eq!(read(), own.max(10));
}

#[test]
fn no_more_emulators_are_probed_at_a_time_than_the_option_allows() {
    let Some(fixture) = Fixture::protected() else { return };
    let names = ["a", "b", "c", "d", "e"].map(|name| format!("qemu-{name}"));
    let script = |name: &str| {
        let (log, gate) = (fixture.path("log"), fixture.path(&format!("gate-{name}")));
        let (log, wait) = (log.display().to_string(), waits_for(&gate));
        format!("#!/bin/sh\necho {name} >> {log}\n{wait}\nexec {AVR} \"$@\"\n")
    };
    for name in &names {
        fs::write(fixture.path(&format!("gate-{name}")), "").unwrap();
        fixture.cache.get(fixture.program(name, script(name))).unwrap();
    }
    let watching = fixture.watch(rewarm().jobs(2));
    fs::remove_file(fixture.path("log")).unwrap();
    for name in &names {
        fs::remove_file(fixture.path(&format!("gate-{name}"))).unwrap();
        fixture.upgrade(name);
    }
    watching.until(|event| crate::fixture::is_dropped(event, &fixture.path(&names[4])));
    let started = || fs::read_to_string(fixture.path("log")).unwrap_or_default();
    for ended in 0..names.len() {
        let at_once = 2.min(names.len() - ended);
        while started().lines().count() < ended + at_once {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let running: Vec<String> = started().lines().skip(ended).map(str::to_owned).collect();
        assert_eq!(running.len(), at_once, "{running:?} at once");
        fs::write(fixture.path(&format!("gate-{}", running[0])), "").unwrap();
        watching.refreshed(&fixture.path(&running[0]));
        // The remaining ones are released in the order of their starts.
        let order: Vec<_> = started().lines().map(str::to_owned).collect();
        assert_eq!(order[ended], running[0]);
    }
    assert_eq!(started().lines().count(), names.len());
}

#[test]
fn a_file_that_another_user_could_have_written_is_not_run_in_the_background() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("bin/qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    let directory = fixture.path("bin");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    fixture.upgrade("bin/qemu");
    let (events, reason) = watching.failed(&emulator);
    assert!(crate::fixture::is_dropped(&events[0], &emulator), "{events:?}");
    assert!(
        reason.contains(&format!(": {} can be written by others", directory.display())),
        "{reason}"
    );
    assert_eq!(fixture.starts(&emulator), 1, "only by the probe of this test");

    // When no other user can write it any more, that is noticed, and it is run.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    watching.refreshed(&emulator);
    assert_eq!(fixture.starts(&emulator), 2);
}

#[test]
fn the_target_of_a_wrapper_may_not_be_writable_by_other_users_either() {
    let Some(fixture) = Fixture::protected() else { return };
    let target = fixture.program("shared/qemu", fs::read(AVR).unwrap());
    let emulator = fixture.wrapper("qemu", target.to_str().unwrap());
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    fs::set_permissions(&target, fs::Permissions::from_mode(0o757)).unwrap();
    fixture.upgrade("qemu");
    let (_, reason) = watching.failed(&emulator);
    assert!(
        reason.contains(&format!(": {} can be written by others", target.display())),
        "{reason}"
    );
    assert_eq!(fixture.starts(&emulator), 1);
}

#[test]
fn an_emulator_that_fails_is_tried_again_when_what_it_depends_on_changes() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    // A package manager half way through: the wrapper is new, its target does not exist yet.
    let target = fixture.path("libexec/qemu");
    fixture.wrapper("qemu", target.to_str().unwrap());
    watching.dropped(&emulator);
    let (_, reason) = watching.failed(&emulator);
    assert!(reason.contains("libexec/qemu"), "{reason}");
    // One change: each would be a reason to try it.
    fixture.program("staging/qemu", fs::read(AVR).unwrap());
    fs::rename(fixture.path("staging"), fixture.path("libexec")).unwrap();
    let (events, probed) = watching.refreshed(&emulator);
    assert_eq!((events.len(), probed), (1, true), "{events:?}");
    assert!(fixture.is_hit(&emulator));
}

#[test]
fn a_group_that_was_filled_is_filled_again() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("qemu", AVR);
    fixture.cache.get_with(&emulator, Groups::DEVICES).unwrap();
    let watching = fixture.watch(rewarm());
    fixture.upgrade("qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    let entry = fixture.cache.get(&emulator).unwrap();
    assert!(entry.groups().contains(Group::Devices));
    assert_eq!(fixture.starts(&emulator), 2, "for all groups at once");
}

#[test]
fn an_emulator_that_changes_while_it_is_probed_is_probed_again() {
    let Some(fixture) = Fixture::protected() else { return };
    let gate = fixture.path("gate");
    fs::write(&gate, "").unwrap();
    let wait = waits_for(&gate);
    let count = fixture.path("count");
    let script = |target: &str| {
        let count = count.display();
        format!("#!/bin/sh\necho \"$0\" >> {count}\n{wait}\nexec {target} \"$@\"\n")
    };
    let emulator = fixture.program("qemu", script(AVR));
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    fs::remove_file(&gate).unwrap();
    fixture.upgrade("qemu");
    watching.dropped(&emulator);
    while fixture.starts(&emulator) < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // It is being probed, and waits.
    fixture.program("qemu", script(crate::fixture::RX));
    fs::write(&gate, "").unwrap();
    let is_rx = || matches!(fixture.cache.lookup(&emulator), Ok(capscache::Lookup::Hit(hit)) if hit.arch() == "rx");
    while !is_rx() {
        watching.refreshed(&emulator);
    }
}

#[test]
fn a_watcher_ends_without_waiting_for_probes() {
    let Some(fixture) = Fixture::protected() else { return };
    let gate = fixture.path("gate");
    fs::write(&gate, "").unwrap();
    let ended = fixture.path("ended");
    let script = format!(
        "#!/bin/sh\necho \"$0\" >> {}\n{}\necho >> {}\nexec {AVR} \"$@\"\n",
        fixture.path("count").display(),
        waits_for(&gate),
        ended.display()
    );
    let emulator = fixture.program("qemu", script);
    fixture.cache.get(&emulator).unwrap();
    fs::remove_file(&ended).unwrap();
    let watching = fixture.watch(rewarm());
    fs::remove_file(&gate).unwrap();
    fixture.upgrade("qemu");
    while fixture.starts(&emulator) < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(watching.watcher);
    assert!(!ended.exists(), "the probe was waited for");
    let rest: Vec<Event> = watching.events.iter().collect();
    assert!(!rest.iter().any(|event| matches!(event, Event::Refreshed { .. })), "{rest:?}");
    fs::write(&gate, "").unwrap();
    // A lookup now gets the result of the probe that went on.
    fixture.cache.get(&emulator).unwrap();
    assert_eq!(fixture.starts(&emulator), 2);
}
