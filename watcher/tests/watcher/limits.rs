//! Unreliable watches: limits of the kernel, and file systems that report no changes.

use std::fs;
use std::time::Duration;

use capscache_watcher::{Event, Notice, Options};

use crate::fixture::{AVR, Fixture, in_namespaces, rewarm};

const SWEEP: Duration = Duration::from_millis(500);

fn is_sweeping(event: &Event, because: &str) -> bool {
    matches!(event, Event::Notice(Notice::Sweeping { reason, every, directories })
        if reason.contains(because) && *every == SWEEP && *directories > 0)
}

#[test]
fn with_ten_watches_all_entries_are_fresh_in_the_end() {
    in_namespaces("-r", "limits::ten_watches");
}

#[test]
#[ignore = "runs in a user namespace of its own, which has limits of its own"]
fn ten_watches() {
    let Some(fixture) = Fixture::protected() else { return };
    // The limits of the parent namespace apply too.
    fs::write("/proc/sys/user/max_inotify_watches", "10").unwrap();
    let emulators: Vec<_> =
        (0..5).map(|n| fixture.wrapper(&format!("opt/{n}/bin/qemu"), AVR)).collect();
    for emulator in &emulators {
        fixture.cache.get(emulator).unwrap();
    }
    let (watching, events) = fixture.begin(rewarm().sweep_interval(SWEEP));
    let limit = "the limit of watches is reached; raise fs.inotify.max_user_watches";
    assert!(events.iter().any(|event| is_sweeping(event, limit)), "{events:?}");
    let Some(Event::Notice(Notice::Watching { directories, entries })) = events.last() else {
        unreachable!("it was waited for")
    };
    assert_eq!((*directories, *entries), (10, 5));

    for number in 0..5 {
        fixture.upgrade(&format!("opt/{number}/bin/qemu"));
    }
    for _ in &emulators {
        watching.until(|event| matches!(event, Event::Refreshed { probed: true, .. }));
    }
    assert!(emulators.iter().all(|emulator| fixture.is_hit(emulator)));
    assert!(emulators.iter().all(|emulator| fixture.starts(emulator) == 2));

    // When the limit is raised, more directories are watched, and that is reported.
    fs::write("/proc/sys/user/max_inotify_watches", "1000").unwrap();
    let events = watching.until(|event| matches!(event, Event::Notice(Notice::Watching { .. })));
    assert!(
        matches!(events.last(), Some(Event::Notice(Notice::Watching { directories, .. })) if *directories > 10),
        "{events:?}"
    );
}

#[test]
fn without_inotify_all_entries_are_fresh_in_the_end() {
    in_namespaces("-r", "limits::no_inotify");
}

#[test]
#[ignore = "runs in a user namespace of its own, which has limits of its own"]
fn no_inotify() {
    let Some(fixture) = Fixture::protected() else { return };
    fs::write("/proc/sys/user/max_inotify_instances", "0").unwrap();
    let emulator = fixture.wrapper("qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let (watching, events) = fixture.begin(rewarm().sweep_interval(SWEEP));
    let none = |event: &Event| {
        matches!(event, Event::Notice(Notice::Watching { directories: 0, entries: 1 }))
    };
    assert!(is_sweeping(&events[0], "raise fs.inotify.max_user_instances"), "{events:?}");
    assert!(none(&events[1]), "{events:?}");
    fixture.upgrade("qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);

    fs::write("/proc/sys/user/max_inotify_instances", "10").unwrap();
    watching.until(|event| {
        matches!(event, Event::Notice(Notice::Watching { directories, .. }) if *directories > 0)
    });
    fixture.upgrade("qemu");
    watching.dropped(&emulator);
}

#[test]
fn a_change_in_a_lower_layer_of_an_overlay_is_found_by_a_sweep() {
    in_namespaces("-rm", "limits::overlay");
}

#[test]
#[ignore = "mounts something, in a namespace of its own"]
fn overlay() {
    let fixture = Fixture::new();
    for directory in ["lower/usr/bin", "lower/modules", "upper", "work", "merged"] {
        fs::create_dir_all(fixture.path(directory)).unwrap();
    }
    fs::copy(AVR, fixture.path("lower/usr/bin/qemu-system-avr")).unwrap();
    let modules = "usr/lib/x86_64-linux-gnu/qemu";
    fs::create_dir_all(fixture.path("lower").join(modules)).unwrap();
    let module = fixture.path("lower").join(modules).join("hw-nothing.so");
    fs::write(&module, "one").unwrap();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        fixture.path("lower").display(),
        fixture.path("upper").display(),
        fixture.path("work").display()
    );
    let merged = fixture.path("merged");
    crate::fixture::command("mount", &[&"-t", &"overlay", &"overlay", &"-o", &options, &merged]);
    let emulator = merged.join("usr/bin/qemu-system-avr");
    let entry = fixture.cache.get(&emulator).unwrap();
    let has_modules =
        |dependency: &capscache::Dependency| dependency.path() == merged.join(modules);
    assert!(entry.depends_on().iter().any(has_modules), "it searches for modules beside itself");

    let (watching, events) = fixture.begin(Options::new().sweep_interval(SWEEP));
    assert!(events.iter().any(|event| is_sweeping(event, "overlay")), "{events:?}");
    // No inode of the overlay changes with it.
    fs::write(&module, "two").unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert!(reason.starts_with("the modules "), "{reason}");
    assert!(fixture.is_missing(&emulator));
}
