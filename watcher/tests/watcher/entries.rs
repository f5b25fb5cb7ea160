//! Emulators that change, and entries that come, go and change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use capscache_watcher::{Event, Notice, Options};

use crate::world::{AVR, World, command, is_dropped, open, rewarm};

#[test]
fn an_emulator_that_was_replaced_is_dropped_and_one_that_was_not_stays() {
    let world = World::new();
    let (changed, other) = (world.wrapper("qemu-a", AVR), world.wrapper("qemu-b", AVR));
    world.cache.get(&changed).unwrap();
    world.cache.get(&other).unwrap();
    let watching = world.watch(Options::default());
    world.upgrade("qemu-a");
    let (told, reason) = watching.dropped(&changed);
    assert_eq!(told.len(), 1);
    assert!(reason.starts_with(&format!("the emulator {} changed", changed.display())), "{reason}");
    assert!(world.is_missing(&changed) && world.is_hit(&other));
    assert_eq!(world.starts(&changed), 1, "nobody asked for a probe");
}

#[test]
fn an_emulator_that_was_only_touched_is_refreshed_and_not_probed() {
    let world = World::new();
    let emulator = world.wrapper("qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    let touched = fs::File::options().append(true).open(&emulator).unwrap();
    touched.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let (told, probed) = watching.refreshed(&emulator);
    assert_eq!((told.len(), probed), (1, false));

    // The same content in another file: a package that was installed again.
    world.program("qemu", fs::read(&emulator).unwrap());
    let (told, probed) = watching.refreshed(&emulator);
    assert_eq!((told.len(), probed), (1, false));
    assert_eq!(world.starts(&emulator), 1);
}

#[test]
fn an_emulator_that_changed_just_now_costs_the_first_lookup_no_look_at_its_content() {
    let world = World::new();
    let emulator = world.program("qemu-system-avr", fs::read(AVR).unwrap());
    let watching = world.watch(Options::default());
    world.cache.get(&emulator).unwrap();
    watching.refreshed(&emulator);
    let is_settled = || {
        let entries = world.cache.entries().unwrap();
        entries.iter().flatten().all(|entry| entry.inputs().all(|input| !input.to_owned().racy))
    };
    // Nobody but the watcher looks.
    while !is_settled() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(watching.events.try_iter().count(), 0, "that is no news");
}

#[test]
fn what_an_unchanged_wrapper_starts_is_watched_too() {
    let world = World::new();
    let target = world.program("libexec/qemu", fs::read(AVR).unwrap());
    let emulator = world.wrapper("qemu", target.to_str().unwrap());
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    world.upgrade("libexec/qemu");
    let (_, reason) = watching.dropped(&emulator);
    assert!(
        reason.starts_with(&format!("the executable {} changed", target.display())),
        "{reason}"
    );
    let (_, probed) = watching.refreshed(&emulator);
    assert!(probed && world.is_hit(&emulator));
}

#[test]
fn an_entry_that_somebody_else_makes_is_watched_from_then_on() {
    let world = World::new();
    let emulator = world.wrapper("qemu", AVR);
    let watching = world.watch(Options::default());
    // As another process would.
    open(world.cache.root()).get(&emulator).unwrap();
    let (told, probed) = watching.refreshed(&emulator);
    assert_eq!((told.len(), probed), (1, false));
    world.upgrade("qemu");
    watching.dropped(&emulator);
    open(world.cache.root()).get(&emulator).unwrap();
    watching.refreshed(&emulator);
    world.upgrade("qemu");
    watching.dropped(&emulator);
}

#[test]
fn an_entry_that_somebody_removes_is_told_and_made_again_where_that_is_wanted() {
    let world = World::new();
    let emulator = world.wrapper("qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(Options::default());
    open(world.cache.root()).invalidate(&emulator).unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert_eq!(reason, "the entry no longer exists");
    drop(watching);

    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    fs::remove_dir_all(world.cache.root()).unwrap();
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    assert!(world.is_hit(&emulator));
}

#[test]
fn a_damaged_entry_is_made_again() {
    let world = World::new();
    let emulator = world.wrapper("qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    let [entry] = &world.cache.list().unwrap()[..] else { panic!("not one entry") };
    let file = entry.as_ref().unwrap().file.clone();
    let damaged = world.path("damaged");
    fs::write(&damaged, "not an entry").unwrap();
    fs::rename(&damaged, file).unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert!(reason.contains("cannot be used"), "{reason}");
    let (_, probed) = watching.refreshed(&emulator);
    assert!(probed && world.is_hit(&emulator));
}

#[test]
fn what_is_stale_when_watching_begins_is_dropped_and_what_holds_is_no_news() {
    let world = World::new();
    let (changed, other) = (world.wrapper("qemu-a", AVR), world.wrapper("qemu-b", AVR));
    world.cache.get(&changed).unwrap();
    world.cache.get(&other).unwrap();
    world.upgrade("qemu-a");
    let (_watching, told) = world.begin(Options::default());
    assert!(is_dropped(&told[0], &changed), "{told:?}");
    assert!(
        matches!(told[..], [_, Event::Notice(Notice::Watching { entries: 1, directories })] if directories > 3),
        "{told:?}"
    );
}

#[test]
fn an_emulator_that_is_gone_is_dropped_and_probed_when_it_comes_back() {
    let world = World::new();
    let emulator = world.wrapper("bin/qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    fs::rename(&emulator, world.path("aside")).unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert!(reason.contains("found No such file or directory"), "{reason}");
    assert!(world.is_missing(&emulator));
    fs::rename(world.path("aside"), &emulator).unwrap();
    let (told, probed) = watching.refreshed(&emulator);
    assert_eq!((told.len(), probed), (1, true));
}

#[test]
fn a_new_emulator_in_a_search_directory_is_told_and_not_probed_unless_that_is_wanted() {
    let world = World::new();
    let search = world.path("bin");
    fs::create_dir(&search).unwrap();
    let options = Options { search: vec![search.clone()], ..Options::default() };
    let watching = world.watch(options.clone());
    let emulator = world.wrapper("bin/qemu-system-avr", AVR);
    assert_eq!(watching.appeared(&emulator).len(), 1, "and not while it was unpacked");
    assert_eq!(watching.rest(&search), []);
    assert_eq!(world.starts(&emulator), 0);
    drop(watching);

    let watching = world.watch(Options { rewarm: true, ..options });
    assert_eq!(world.starts(&emulator), 0, "it did not appear now, and nobody asked for it");
    let other = world.wrapper("bin/qemu-system-rx", AVR);
    watching.appeared(&other);
    let (_, probed) = watching.refreshed(&other);
    assert!(probed && world.is_hit(&other));
    assert_eq!(world.starts(&emulator), 0);

    // A file that becomes executable later.
    fs::write(search.join("qemu-system-avr2"), fs::read(&emulator).unwrap()).unwrap();
    assert_eq!(watching.rest(&search).len(), 0);
    command("chmod", &[&"755", &search.join("qemu-system-avr2")]);
    watching.appeared(&search.join("qemu-system-avr2"));
}

#[test]
fn an_emulator_that_may_not_be_looked_at_is_left_to_those_who_may() {
    if !test_support::rights::can_change_user() {
        return;
    }
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let world = World::new();
    let home = world.path("home");
    let emulator = world.wrapper("home/qemu", AVR);
    world.cache.get(&emulator).unwrap();
    mode(&world.path(""), 0o755);
    mode(&home, 0o700);
    let begin_as_nobody = || {
        let nobody = rustix::process::Uid::from_raw(65534);
        // Of this thread and those that it starts.
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        world.begin(Options::default())
    };
    let (watching, told) = std::thread::scope(|scope| scope.spawn(begin_as_nobody).join().unwrap());
    assert!(
        matches!(told[..], [Event::Notice(Notice::Watching { entries: 0, .. })]),
        "neither dropped nor looked for from time to time: {told:?}"
    );
    mode(&home, 0o755);
    let (told, probed) = watching.refreshed(&emulator);
    assert_eq!((told.len(), probed), (1, false));
    assert!(world.is_hit(&emulator));
}
