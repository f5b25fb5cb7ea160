//! Emulators that change, and entries that come, go and change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use capscache_watcher::{Event, Notice, Options};

use crate::fixture::{AVR, Fixture, command, is_dropped, open, rewarm};

#[test]
fn the_entry_of_a_replaced_emulator_is_dropped_and_others_stay() {
    let fixture = Fixture::new();
    let (changed, other) = (fixture.wrapper("qemu-a", AVR), fixture.wrapper("qemu-b", AVR));
    fixture.cache.get(&changed).unwrap();
    fixture.cache.get(&other).unwrap();
    let watching = fixture.watch(Options::default());
    fixture.upgrade("qemu-a");
    let (events, reason) = watching.dropped(&changed);
    assert_eq!(events.len(), 1);
    assert!(reason.starts_with(&format!("the emulator {} changed", changed.display())), "{reason}");
    assert!(fixture.is_missing(&changed) && fixture.is_hit(&other));
    assert_eq!(fixture.starts(&changed), 1, "probing in the background is off");
}

#[test]
fn an_emulator_that_was_only_touched_is_refreshed_and_not_probed() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    let touched = fs::File::options().append(true).open(&emulator).unwrap();
    touched.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let (events, probed) = watching.refreshed(&emulator);
    assert_eq!((events.len(), probed), (1, false));

    // The same content in another file: a package is installed again.
    fixture.program("qemu", fs::read(&emulator).unwrap());
    let (events, probed) = watching.refreshed(&emulator);
    assert_eq!((events.len(), probed), (1, false));
    assert_eq!(fixture.starts(&emulator), 1);
}

#[test]
fn the_content_of_an_emulator_that_changed_just_now_is_hashed_by_the_watcher_before_any_lookup() {
    let fixture = Fixture::new();
    let emulator = fixture.program("qemu-system-avr", fs::read(AVR).unwrap());
    let watching = fixture.watch(Options::default());
    fixture.cache.get(&emulator).unwrap();
    watching.refreshed(&emulator);
    let is_settled = || {
        let entries = fixture.cache.entries().unwrap();
        entries.iter().flatten().all(|entry| entry.inputs().all(|input| !input.to_owned().racy))
    };
    // Only the watcher checks entries.
    while !is_settled() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(watching.events.try_iter().count(), 0, "that is not an event");
}

#[test]
fn the_target_of_an_unchanged_wrapper_is_watched_too() {
    let Some(fixture) = Fixture::protected() else { return };
    let target = fixture.program("libexec/qemu", fs::read(AVR).unwrap());
    let emulator = fixture.wrapper("qemu", target.to_str().unwrap());
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    fixture.upgrade("libexec/qemu");
    let (_, reason) = watching.dropped(&emulator);
    assert!(
        reason.starts_with(&format!("the executable {} changed", target.display())),
        "{reason}"
    );
    let (_, probed) = watching.refreshed(&emulator);
    assert!(probed && fixture.is_hit(&emulator));
}

#[test]
fn an_entry_that_another_process_makes_is_watched_from_then_on() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let watching = fixture.watch(Options::default());
    // As another process would.
    open(fixture.cache.root()).get(&emulator).unwrap();
    let (events, probed) = watching.refreshed(&emulator);
    assert_eq!((events.len(), probed), (1, false));
    fixture.upgrade("qemu");
    watching.dropped(&emulator);
    open(fixture.cache.root()).get(&emulator).unwrap();
    watching.refreshed(&emulator);
    fixture.upgrade("qemu");
    watching.dropped(&emulator);
}

#[test]
fn a_removed_entry_is_reported_and_made_again_with_rewarm() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(Options::default());
    open(fixture.cache.root()).invalidate(&emulator).unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert_eq!(reason, "the entry no longer exists");
    drop(watching);

    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    fs::remove_dir_all(fixture.cache.root()).unwrap();
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    assert!(fixture.is_hit(&emulator));
}

#[test]
fn a_damaged_entry_is_made_again() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    let [entry] = &fixture.cache.list().unwrap()[..] else { panic!("not one entry") };
    let file = entry.as_ref().unwrap().file.clone();
    let damaged = fixture.path("damaged");
    fs::write(&damaged, "not an entry").unwrap();
    fs::rename(&damaged, file).unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert!(reason.contains("cannot use"), "{reason}");
    let (_, probed) = watching.refreshed(&emulator);
    assert!(probed && fixture.is_hit(&emulator));
}

#[test]
fn stale_entries_are_dropped_at_the_start_and_valid_ones_are_not_reported() {
    let fixture = Fixture::new();
    let (changed, other) = (fixture.wrapper("qemu-a", AVR), fixture.wrapper("qemu-b", AVR));
    fixture.cache.get(&changed).unwrap();
    fixture.cache.get(&other).unwrap();
    fixture.upgrade("qemu-a");
    let (_watching, events) = fixture.begin(Options::default());
    assert!(is_dropped(&events[0], &changed), "{events:?}");
    assert!(
        matches!(events[..], [_, Event::Notice(Notice::Watching { entries: 1, directories })] if directories > 3),
        "{events:?}"
    );
}

#[test]
fn an_emulator_that_is_removed_is_dropped_and_probed_when_it_is_put_back() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("bin/qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    fs::rename(&emulator, fixture.path("aside")).unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert!(reason.contains("found No such file or directory"), "{reason}");
    assert!(fixture.is_missing(&emulator));
    fs::rename(fixture.path("aside"), &emulator).unwrap();
    let (events, probed) = watching.refreshed(&emulator);
    assert_eq!((events.len(), probed), (1, true));
}

#[test]
fn a_new_emulator_in_a_search_directory_is_reported_and_probed_only_with_rewarm() {
    let Some(fixture) = Fixture::protected() else { return };
    let search = fixture.path("bin");
    fs::create_dir(&search).unwrap();
    let options = Options::new().search([search.clone()]);
    let watching = fixture.watch(options.clone());
    let emulator = fixture.wrapper("bin/qemu-system-avr", AVR);
    assert_eq!(watching.appeared(&emulator).len(), 1, "and not while it was unpacked");
    assert_eq!(watching.rest(&search, false), []);
    assert_eq!(fixture.starts(&emulator), 0);
    drop(watching);

    let watching = fixture.watch(options.rewarm(true));
    assert_eq!(fixture.starts(&emulator), 0, "it existed before the watcher started");
    let other = fixture.wrapper("bin/qemu-system-rx", AVR);
    watching.appeared(&other);
    let (_, probed) = watching.refreshed(&other);
    assert!(probed && fixture.is_hit(&other));
    assert_eq!(fixture.starts(&emulator), 0);

    // A file that becomes executable later.
    fs::write(search.join("qemu-system-avr2"), fs::read(&emulator).unwrap()).unwrap();
    assert_eq!(watching.rest(&search, true).len(), 0);
    command("chmod", &[&"755", &search.join("qemu-system-avr2")]);
    watching.appeared(&search.join("qemu-system-avr2"));
}

#[test]
fn an_emulator_that_this_user_cannot_stat_is_neither_dropped_nor_probed() {
    if !test_support::rights::can_change_user() {
        return;
    }
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let fixture = Fixture::new();
    let home = fixture.path("home");
    let emulator = fixture.wrapper("home/qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    mode(&fixture.path(""), 0o755);
    mode(&home, 0o700);
    let begin_as_nobody = || {
        let nobody = rustix::process::Uid::from_raw(65534);
        // For this thread and those that it starts.
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        fixture.begin(Options::default())
    };
    let (watching, events) =
        std::thread::scope(|scope| scope.spawn(begin_as_nobody).join().unwrap());
    assert!(
        matches!(events[..], [Event::Notice(Notice::Watching { entries: 0, .. })]),
        "neither dropped nor swept: {events:?}"
    );
    mode(&home, 0o755);
    let (events, probed) = watching.refreshed(&emulator);
    assert_eq!((events.len(), probed), (1, false));
    assert!(fixture.is_hit(&emulator));
}
