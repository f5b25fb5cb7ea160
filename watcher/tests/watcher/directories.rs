//! Directories that are created, removed, renamed or reached through other links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use capscache_watcher::{Event, Notice, Options};

use crate::fixture::{AVR, Fixture, RX, rewarm};

fn lost(events: &[Event]) -> Vec<PathBuf> {
    let directories = events.iter().filter_map(|event| match event {
        Event::Notice(Notice::Lost { directories }) => Some(directories.clone()),
        _ => None,
    });
    directories.flatten().collect()
}

#[test]
fn a_search_directory_that_is_created_later_is_noticed() {
    let Some(fixture) = Fixture::protected() else { return };
    let directory = fixture.path("opt/qemu/bin");
    let options = rewarm().search([directory.clone()]);
    let watching = fixture.watch(options);
    // Each directory has to be watched to notice the next one; the last ones are created at once.
    fs::create_dir(fixture.path("opt")).unwrap();
    let emulator = fixture.wrapper("opt/qemu/bin/qemu-system-avr", AVR);
    watching.appeared(&emulator);
    let (_, probed) = watching.refreshed(&emulator);
    assert!(probed && fixture.is_hit(&emulator));
}

#[test]
fn a_directory_of_modules_that_is_created_later_is_noticed() {
    let fixture = Fixture::new();
    let emulator = fixture.program("usr/bin/qemu-system-avr", fs::read(AVR).unwrap());
    let entry = fixture.cache.get(&emulator).unwrap();
    let modules = entry.depends_on().into_iter().find_map(|dependency| match dependency {
        capscache::Dependency::Directory(path) if path.starts_with(fixture.path("usr")) => {
            Some(path)
        }
        _ => None,
    });
    let modules = modules.expect("it searches for modules beside itself");
    assert!(!modules.exists());
    let watching = fixture.watch(Options::default());
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("hw-nothing.so"), "").unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert!(reason.starts_with(&format!("the modules {} changed", modules.display())), "{reason}");
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_watched_again() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("opt/qemu/bin/qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    fs::remove_dir_all(fixture.path("opt")).unwrap();
    let (mut events, _) = watching.dropped(&emulator);
    let expected = ["opt/qemu/bin", "opt"].map(|name| fixture.path(name));
    // The removal takes a time, and may be reported in parts.
    while !expected.iter().all(|directory| lost(&events).contains(directory)) {
        events.extend(watching.until(|event| matches!(event, Event::Notice(Notice::Lost { .. }))));
    }

    fixture.wrapper("opt/qemu/bin/qemu", RX);
    let (_, probed) = watching.refreshed(&emulator);
    assert!(probed);
    assert_eq!(fixture.cache.lookup(&emulator).map(arch).unwrap(), "rx");
    fixture.upgrade("opt/qemu/bin/qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
}

fn arch(lookup: capscache::Lookup) -> String {
    match lookup {
        capscache::Lookup::Hit(hit) => hit.arch().to_owned(),
        other => panic!("no hit but {other:?}"),
    }
}

#[test]
fn renaming_a_parent_directory_drops_the_emulator() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("opt/qemu/bin/qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    fs::rename(fixture.path("opt"), fixture.path("old")).unwrap();
    let (events, _) = watching.dropped(&emulator);
    assert_eq!(lost(&events), [fixture.path("opt")]);

    // Another directory under the name, whose inode is another one.
    fixture.wrapper("opt/qemu/bin/qemu", RX);
    watching.refreshed(&emulator);
    assert_eq!(fixture.cache.lookup(&emulator).map(arch).unwrap(), "rx");
    // A change in the old one is not an event any more; one in the new one is.
    fs::write(fixture.path("old/qemu/bin/qemu"), "#!/bin/sh\n").unwrap();
    fixture.upgrade("opt/qemu/bin/qemu");
    let (events, _) = watching.dropped(&emulator);
    assert_eq!(events.len(), 1, "{events:?}");
    watching.refreshed(&emulator);

    // There and back at once.
    fs::rename(fixture.path("opt"), fixture.path("away")).unwrap();
    fs::rename(fixture.path("away"), fixture.path("opt")).unwrap();
    fixture.upgrade("opt/qemu/bin/qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    fixture.upgrade("opt/qemu/bin/qemu");
    watching.dropped(&emulator);
}

#[test]
fn another_target_of_a_link_on_the_route_is_noticed() {
    let Some(fixture) = Fixture::protected() else { return };
    fixture.wrapper("v1/bin/qemu", AVR);
    fixture.wrapper("v2/bin/qemu", RX);
    symlink("v1", fixture.path("current")).unwrap();
    symlink(fixture.path("current/bin"), fixture.path("bin")).unwrap();
    let emulator = fixture.path("bin/qemu");
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    symlink("v2", fixture.path("next")).unwrap();
    fs::rename(fixture.path("next"), fixture.path("current")).unwrap();
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    assert_eq!(fixture.cache.lookup(&emulator).map(arch).unwrap(), "rx");

    // From now on the other directory is watched.
    fixture.upgrade("v2/bin/qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
}
