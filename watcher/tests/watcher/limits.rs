//! Where not everything is heard: limits of the kernel, and file systems that tell nothing.

use std::fs;
use std::time::Duration;

use capscache_watcher::{Event, Notice, Options};

use crate::world::{AVR, World, in_namespaces, rewarm};

const SWEEP: Duration = Duration::from_millis(500);

fn is_sweeping(event: &Event, because: &str) -> bool {
    matches!(event, Event::Notice(Notice::Sweeping { reason, every, directories })
        if reason.contains(because) && *every == SWEEP && *directories > 0)
}

#[test]
fn with_ten_watches_everything_is_fresh_in_the_end() {
    in_namespaces("-r", "limits::ten_watches");
}

#[test]
#[ignore = "runs in a user namespace of its own, whose limits are nobody else's"]
fn ten_watches() {
    // Limits of a namespace are below those of the one around it.
    fs::write("/proc/sys/user/max_inotify_watches", "10").unwrap();
    let world = World::new();
    let emulators: Vec<_> =
        (0..5).map(|n| world.wrapper(&format!("opt/{n}/bin/qemu"), AVR)).collect();
    for emulator in &emulators {
        world.cache.get(emulator).unwrap();
    }
    let (watching, told) = world.begin(Options { sweep_interval: SWEEP, ..rewarm() });
    let limit = "the limit of watches is reached: raise fs.inotify.max_user_watches";
    assert!(told.iter().any(|event| is_sweeping(event, limit)), "{told:?}");
    let Some(Event::Notice(Notice::Watching { directories, entries })) = told.last() else {
        unreachable!("it was waited for")
    };
    assert_eq!((*directories, *entries), (10, 5));

    for number in 0..5 {
        world.upgrade(&format!("opt/{number}/bin/qemu"));
    }
    for _ in &emulators {
        watching.until(|event| matches!(event, Event::Refreshed { probed: true, .. }));
    }
    assert!(emulators.iter().all(|emulator| world.is_hit(emulator)));
    assert!(emulators.iter().all(|emulator| world.starts(emulator) == 2));

    // When there is room again, that is used, and told.
    fs::write("/proc/sys/user/max_inotify_watches", "1000").unwrap();
    let told = watching.until(|event| matches!(event, Event::Notice(Notice::Watching { .. })));
    assert!(
        matches!(told.last(), Some(Event::Notice(Notice::Watching { directories, .. })) if *directories > 10),
        "{told:?}"
    );
}

#[test]
fn without_inotify_everything_is_fresh_in_the_end() {
    in_namespaces("-r", "limits::no_inotify");
}

#[test]
#[ignore = "runs in a user namespace of its own, whose limits are nobody else's"]
fn no_inotify() {
    fs::write("/proc/sys/user/max_inotify_instances", "0").unwrap();
    let world = World::new();
    let emulator = world.wrapper("qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let (watching, told) = world.begin(Options { sweep_interval: SWEEP, ..rewarm() });
    let none = |event: &Event| {
        matches!(event, Event::Notice(Notice::Watching { directories: 0, entries: 1 }))
    };
    assert!(is_sweeping(&told[0], "see fs.inotify.max_user_instances"), "{told:?}");
    assert!(none(&told[1]), "{told:?}");
    world.upgrade("qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);

    fs::write("/proc/sys/user/max_inotify_instances", "10").unwrap();
    watching.until(|event| {
        matches!(event, Event::Notice(Notice::Watching { directories, .. }) if *directories > 0)
    });
    world.upgrade("qemu");
    watching.dropped(&emulator);
}

#[test]
fn what_changes_behind_an_overlay_is_found_by_a_sweep() {
    in_namespaces("-rm", "limits::overlay");
}

#[test]
#[ignore = "mounts something, in a namespace of its own"]
fn overlay() {
    let world = World::new();
    for directory in ["lower/usr/bin", "lower/modules", "upper", "work", "merged"] {
        fs::create_dir_all(world.path(directory)).unwrap();
    }
    fs::copy(AVR, world.path("lower/usr/bin/qemu-system-avr")).unwrap();
    let modules = "usr/lib/x86_64-linux-gnu/qemu";
    fs::create_dir_all(world.path("lower").join(modules)).unwrap();
    let module = world.path("lower").join(modules).join("hw-nothing.so");
    fs::write(&module, "one").unwrap();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        world.path("lower").display(),
        world.path("upper").display(),
        world.path("work").display()
    );
    let merged = world.path("merged");
    crate::world::command("mount", &[&"-t", &"overlay", &"overlay", &"-o", &options, &merged]);
    let emulator = merged.join("usr/bin/qemu-system-avr");
    let entry = world.cache.get(&emulator).unwrap();
    let has_modules =
        |dependency: &capscache::Dependency| dependency.path() == merged.join(modules);
    assert!(entry.depends_on().iter().any(has_modules), "it looks for modules beside itself");

    let (watching, told) = world.begin(Options { sweep_interval: SWEEP, ..Options::default() });
    assert!(told.iter().any(|event| is_sweeping(event, "overlay")), "{told:?}");
    // No inode of the overlay has anything to do with it.
    fs::write(&module, "two").unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert!(reason.starts_with("the modules "), "{reason}");
    assert!(world.is_missing(&emulator));
}
