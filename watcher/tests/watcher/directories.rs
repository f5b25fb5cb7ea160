//! Directories that come, go, are renamed or are led to by other links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use capscache_watcher::{Event, Notice, Options};

use crate::world::{AVR, RX, World, rewarm};

fn lost(told: &[Event]) -> Vec<PathBuf> {
    let directories = told.iter().filter_map(|event| match event {
        Event::Notice(Notice::Lost { directories }) => Some(directories.clone()),
        _ => None,
    });
    directories.flatten().collect()
}

#[test]
fn a_search_directory_that_does_not_exist_yet_is_awaited() {
    let world = World::new();
    let directory = world.path("opt/qemu/bin");
    let options = Options { search: vec![directory.clone()], ..rewarm() };
    let watching = world.watch(options);
    // Each step has to be seen to see the next one; the last ones happen at once.
    fs::create_dir(world.path("opt")).unwrap();
    let emulator = world.wrapper("opt/qemu/bin/qemu-system-avr", AVR);
    watching.appeared(&emulator);
    let (_, probed) = watching.refreshed(&emulator);
    assert!(probed && world.is_hit(&emulator));
}

#[test]
fn a_directory_of_modules_that_does_not_exist_yet_is_awaited() {
    let world = World::new();
    let emulator = world.program("usr/bin/qemu-system-avr", fs::read(AVR).unwrap());
    let entry = world.cache.get(&emulator).unwrap();
    let modules = entry.depends_on().into_iter().find_map(|dependency| match dependency {
        capscache::Dependency::Directory(path) if path.starts_with(world.path("usr")) => Some(path),
        _ => None,
    });
    let modules = modules.expect("it looks for modules beside itself");
    assert!(!modules.exists());
    let watching = world.watch(Options::default());
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("hw-nothing.so"), "").unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert!(reason.starts_with(&format!("the modules {} changed", modules.display())), "{reason}");
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_watched_again() {
    let world = World::new();
    let emulator = world.wrapper("opt/qemu/bin/qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    fs::remove_dir_all(world.path("opt")).unwrap();
    let (told, _) = watching.dropped(&emulator);
    let lost = lost(&told);
    assert!(
        lost.contains(&world.path("opt/qemu/bin")) && lost.contains(&world.path("opt")),
        "{lost:?}"
    );

    world.wrapper("opt/qemu/bin/qemu", RX);
    let (_, probed) = watching.refreshed(&emulator);
    assert!(probed);
    assert_eq!(world.cache.lookup(&emulator).map(arch).unwrap(), "rx");
    world.upgrade("opt/qemu/bin/qemu");
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
fn a_parent_that_is_renamed_takes_the_emulator_with_it() {
    let world = World::new();
    let emulator = world.wrapper("opt/qemu/bin/qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    fs::rename(world.path("opt"), world.path("old")).unwrap();
    let (told, _) = watching.dropped(&emulator);
    assert_eq!(lost(&told), [world.path("opt")]);

    // Another directory under the name, whose inode is another one.
    world.wrapper("opt/qemu/bin/qemu", RX);
    watching.refreshed(&emulator);
    assert_eq!(world.cache.lookup(&emulator).map(arch).unwrap(), "rx");
    // What happens in the old one concerns nobody any more; in the new one it does.
    fs::write(world.path("old/qemu/bin/qemu"), "#!/bin/sh\n").unwrap();
    world.upgrade("opt/qemu/bin/qemu");
    let (told, _) = watching.dropped(&emulator);
    assert_eq!(told.len(), 1, "{told:?}");
    watching.refreshed(&emulator);

    // There and back at once.
    fs::rename(world.path("opt"), world.path("away")).unwrap();
    fs::rename(world.path("away"), world.path("opt")).unwrap();
    world.upgrade("opt/qemu/bin/qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    world.upgrade("opt/qemu/bin/qemu");
    watching.dropped(&emulator);
}

#[test]
fn a_link_on_the_way_that_leads_elsewhere_is_noticed() {
    let world = World::new();
    world.wrapper("v1/bin/qemu", AVR);
    world.wrapper("v2/bin/qemu", RX);
    symlink("v1", world.path("current")).unwrap();
    symlink(world.path("current/bin"), world.path("bin")).unwrap();
    let emulator = world.path("bin/qemu");
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    symlink("v2", world.path("next")).unwrap();
    fs::rename(world.path("next"), world.path("current")).unwrap();
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    assert_eq!(world.cache.lookup(&emulator).map(arch).unwrap(), "rx");

    // From now on the other directory counts.
    world.upgrade("v2/bin/qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
}
