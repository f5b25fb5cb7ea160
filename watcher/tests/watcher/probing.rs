//! Probing in the background: how many at a time, at what priority, and what is never run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use capscache::{Group, Groups};
use capscache_watcher::{Event, Options};

use crate::world::{AVR, World, rewarm};

/// What a wrapper does that waits until a file is there. It names the file by a pattern, since a file that
/// a script names is compared.
fn waits_for(gate: &Path) -> String {
    let gate = gate.display().to_string().replace("gate", "gat?");
    format!("while [ ! -e {gate} ]; do sleep 0.01; done")
}

#[test]
fn background_probes_give_way_to_others() {
    let world = World::new();
    let niceness = world.path("niceness");
    let script = format!("#!/bin/sh\nnice > {}\nexec {AVR} \"$@\"\n", niceness.display());
    let emulator = world.program("qemu", script);
    let own: i32 = rustix::process::getpriority_process(None).unwrap();
    let read = || fs::read_to_string(&niceness).unwrap().trim().parse::<i32>().unwrap();
    world.cache.get(&emulator).unwrap();
    assert_eq!(read(), own);
    let watching = world.watch(rewarm());
    world.upgrade("qemu");
    watching.refreshed(&emulator);
    assert_eq!(read(), own.max(10));
}

#[test]
fn no_more_emulators_are_probed_at_a_time_than_told() {
    let world = World::new();
    let names = ["a", "b", "c", "d", "e"].map(|name| format!("qemu-{name}"));
    let script = |name: &str| {
        let (log, gate) = (world.path("log"), world.path(&format!("gate-{name}")));
        let (log, wait) = (log.display().to_string(), waits_for(&gate));
        format!("#!/bin/sh\necho {name} >> {log}\n{wait}\nexec {AVR} \"$@\"\n")
    };
    for name in &names {
        fs::write(world.path(&format!("gate-{name}")), "").unwrap();
        world.cache.get(world.program(name, script(name))).unwrap();
    }
    let watching = world.watch(Options { jobs: 2, ..rewarm() });
    fs::remove_file(world.path("log")).unwrap();
    for name in &names {
        fs::remove_file(world.path(&format!("gate-{name}"))).unwrap();
        world.upgrade(name);
    }
    watching.until(|event| crate::world::is_dropped(event, &world.path(&names[4])));
    let started = || fs::read_to_string(world.path("log")).unwrap_or_default();
    for ended in 0..names.len() {
        let at_once = 2.min(names.len() - ended);
        while started().lines().count() < ended + at_once {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let running: Vec<String> = started().lines().skip(ended).map(str::to_owned).collect();
        assert_eq!(running.len(), at_once, "{running:?} at once");
        fs::write(world.path(&format!("gate-{}", running[0])), "").unwrap();
        watching.refreshed(&world.path(&running[0]));
        // What is left is waited for in the order in which it was begun.
        let order: Vec<_> = started().lines().map(str::to_owned).collect();
        assert_eq!(order[ended], running[0]);
    }
    assert_eq!(started().lines().count(), names.len());
}

#[test]
fn what_somebody_else_could_have_written_is_not_run_in_the_background() {
    let world = World::new();
    let emulator = world.wrapper("bin/qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    let directory = world.path("bin");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    world.upgrade("bin/qemu");
    let (told, reason) = watching.failed(&emulator);
    assert!(crate::world::is_dropped(&told[0], &emulator), "{told:?}");
    assert!(
        reason.starts_with(&format!("{} can be written by others", directory.display())),
        "{reason}"
    );
    assert_eq!(world.starts(&emulator), 1, "only what we asked for ourselves");

    // When nobody else can any more, it is, and that is noticed too.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    watching.refreshed(&emulator);
    assert_eq!(world.starts(&emulator), 2);
}

#[test]
fn what_a_wrapper_starts_may_not_be_somebody_elses_either() {
    let world = World::new();
    let target = world.program("shared/qemu", fs::read(AVR).unwrap());
    let emulator = world.wrapper("qemu", target.to_str().unwrap());
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    fs::set_permissions(&target, fs::Permissions::from_mode(0o757)).unwrap();
    world.upgrade("qemu");
    let (_, reason) = watching.failed(&emulator);
    assert!(
        reason.starts_with(&format!("{} can be written by others", target.display())),
        "{reason}"
    );
    assert_eq!(world.starts(&emulator), 1);
}

#[test]
fn an_emulator_that_fails_is_tried_again_when_what_it_depends_on_changes() {
    let world = World::new();
    let emulator = world.wrapper("qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    // As if a package manager were half way: the wrapper is new, what it starts is not there.
    let target = world.path("libexec/qemu");
    world.wrapper("qemu", target.to_str().unwrap());
    watching.dropped(&emulator);
    let (_, reason) = watching.failed(&emulator);
    assert!(reason.contains("libexec/qemu"), "{reason}");
    world.program("libexec/qemu", fs::read(AVR).unwrap());
    let (told, probed) = watching.refreshed(&emulator);
    assert_eq!((told.len(), probed), (1, true), "{told:?}");
    assert!(world.is_hit(&emulator));
}

#[test]
fn a_group_that_was_filled_is_filled_again() {
    let world = World::new();
    let emulator = world.wrapper("qemu", AVR);
    world.cache.get_with(&emulator, Groups::DEVICES).unwrap();
    let watching = world.watch(rewarm());
    world.upgrade("qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    let entry = world.cache.get(&emulator).unwrap();
    assert!(entry.groups().contains(Group::Devices));
    assert_eq!(world.starts(&emulator), 2, "for all groups at once");
}

#[test]
fn an_emulator_that_changes_while_it_is_probed_is_right_in_the_end() {
    let world = World::new();
    let gate = world.path("gate");
    fs::write(&gate, "").unwrap();
    let wait = waits_for(&gate);
    let count = world.path("count");
    let script = |target: &str| {
        let count = count.display();
        format!("#!/bin/sh\necho \"$0\" >> {count}\n{wait}\nexec {target} \"$@\"\n")
    };
    let emulator = world.program("qemu", script(AVR));
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    fs::remove_file(&gate).unwrap();
    world.upgrade("qemu");
    watching.dropped(&emulator);
    while world.starts(&emulator) < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // It is being probed, and waits.
    world.program("qemu", script(crate::world::RX));
    fs::write(&gate, "").unwrap();
    let is_rx = || matches!(world.cache.lookup(&emulator), Ok(capscache::Lookup::Hit(hit)) if hit.arch() == "rx");
    while !is_rx() {
        watching.refreshed(&emulator);
    }
}

#[test]
fn a_watcher_ends_without_waiting_for_probes() {
    let world = World::new();
    let gate = world.path("gate");
    fs::write(&gate, "").unwrap();
    let ended = world.path("ended");
    let script = format!(
        "#!/bin/sh\necho \"$0\" >> {}\n{}\necho >> {}\nexec {AVR} \"$@\"\n",
        world.path("count").display(),
        waits_for(&gate),
        ended.display()
    );
    let emulator = world.program("qemu", script);
    world.cache.get(&emulator).unwrap();
    fs::remove_file(&ended).unwrap();
    let watching = world.watch(rewarm());
    fs::remove_file(&gate).unwrap();
    world.upgrade("qemu");
    while world.starts(&emulator) < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(watching.watcher);
    assert!(!ended.exists(), "the probe was waited for");
    let rest: Vec<Event> = watching.events.iter().collect();
    assert!(!rest.iter().any(|event| matches!(event, Event::Refreshed { .. })), "{rest:?}");
    fs::write(&gate, "").unwrap();
    // Whoever asks now gets the result of the probe that went on.
    world.cache.get(&emulator).unwrap();
    assert_eq!(world.starts(&emulator), 2);
}
