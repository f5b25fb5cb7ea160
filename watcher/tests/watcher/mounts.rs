//! File systems that are mounted and unmounted, in namespaces of their own; and `/dev/kvm`.

use std::fs;
use std::path::Path;

use capscache::{Accelerator, Capabilities, Lookup};
use capscache_watcher::{Event, Notice, Options};

use crate::world::{AVR, RX, World, command, in_namespaces, is_dropped, rewarm};

#[test]
fn what_is_mounted_and_unmounted_over_an_emulator_is_noticed() {
    in_namespaces("-rm", "mounts::mounted_and_unmounted");
}

#[test]
#[ignore = "mounts something, in a namespace of its own"]
fn mounted_and_unmounted() {
    let world = World::new();
    let emulator = world.wrapper("opt/bin/qemu", AVR);
    let other = world.wrapper("other/qemu", RX);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    let is_mounted = |event: &Event| *event == Event::Notice(Notice::Mounted);

    // A directory, and then a file: neither is an event in what was there before.
    command("mount", &[&"--bind", &world.path("other"), &world.path("opt/bin")]);
    let (told, _) = watching.dropped(&emulator);
    assert!(told.iter().any(is_mounted), "{told:?}");
    watching.refreshed(&emulator);
    assert_eq!(arch(&world, &emulator), "rx");
    // Events come from what is mounted there now.
    world.upgrade("other/qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);

    command("umount", &[&world.path("opt/bin")]);
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    assert_eq!(arch(&world, &emulator), "avr");
    world.upgrade("opt/bin/qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);

    command("mount", &[&"--bind", &other, &emulator]);
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    assert_eq!(arch(&world, &emulator), "rx");
}

fn arch(world: &World, emulator: &Path) -> String {
    hit(world, emulator).arch().to_owned()
}

fn hit(world: &World, emulator: &Path) -> Capabilities {
    match world.cache.lookup(emulator) {
        Ok(Lookup::Hit(hit)) => hit,
        other => panic!("no hit but {other:?}"),
    }
}

#[test]
fn a_file_system_that_goes_takes_its_emulators_with_it() {
    in_namespaces("-rm", "mounts::gone");
}

#[test]
#[ignore = "mounts something, in a namespace of its own"]
fn gone() {
    let world = World::new();
    let point = world.path("opt");
    fs::create_dir(&point).unwrap();
    command("mount", &[&"-t", &"tmpfs", &"-o", &"mode=755", &"opt", &point]);
    let emulator = world.wrapper("opt/bin/qemu", AVR);
    world.cache.get(&emulator).unwrap();
    let watching = world.watch(rewarm());
    command("umount", &[&point]);
    let (told, reason) = watching.dropped(&emulator);
    assert!(reason.contains("found No such file or directory"), "{reason}");
    // Whichever comes first: that mounts changed, or that the directories are gone with theirs.
    let is_notice =
        |event: &Event| matches!(event, Event::Notice(Notice::Mounted | Notice::Lost { .. }));
    assert!(is_notice(&told[0]), "{told:?}");
    command("mount", &[&"-t", &"tmpfs", &"-o", &"mode=755", &"opt", &point]);
    world.wrapper("opt/bin/qemu", RX);
    watching.refreshed(&emulator);
    assert_eq!(arch(&world, &emulator), "rx");
}

#[test]
fn a_directory_with_two_names_is_watched_for_both() {
    in_namespaces("-rm", "mounts::two_names");
}

#[test]
#[ignore = "mounts something, in a namespace of its own"]
fn two_names() {
    let world = World::new();
    let one = world.wrapper("one/qemu", AVR);
    fs::create_dir(world.path("two")).unwrap();
    command("mount", &[&"--bind", &world.path("one"), &world.path("two")]);
    let two = world.path("two/qemu");
    world.cache.get(&one).unwrap();
    world.cache.get(&two).unwrap();
    let watching = world.watch(Options::default());
    world.upgrade("one/qemu");
    let told = watching.until(|event| is_dropped(event, &two));
    assert!(told.len() == 2 && is_dropped(&told[0], &one), "{told:?}");
}

#[test]
fn a_kvm_node_that_goes_comes_back_and_changes_costs_kvm_alone() {
    let opens = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if !opens || !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: needs x86_64 and a /dev/kvm that opens");
        return;
    }
    if !test_support::rights::can_make_nodes() {
        return;
    }
    in_namespaces("-m", "mounts::kvm");
}

/// How long the core pass under an accelerator took: it tells whether it ran again.
fn micros(entry: &Capabilities, accelerator: Accelerator) -> Option<u64> {
    let report = entry.report().unwrap();
    let pass = report.passes.iter().find(|pass| pass.source.accelerator() == Some(accelerator));
    pass.map(|pass| pass.micros)
}

#[test]
#[ignore = "has a /dev of its own, in a mount namespace"]
fn kvm() {
    let world = World::new();
    let dev = world.path("dev");
    let script = "mkdir \"$0\" && mount -t tmpfs -o mode=755 dev \"$0\" && \
        for node in null zero full random urandom kvm; do cp -a /dev/$node \"$0/\"; done && \
        ln -s /proc/self/fd \"$0/fd\" && mkdir -m 1777 \"$0/shm\" && mount --bind \"$0\" /dev";
    command("sh", &[&"-c", &script, &dev]);
    let emulator = Path::new("/usr/bin/qemu-system-x86_64");
    let before = world.cache.get(emulator).unwrap();
    assert!(micros(&before, Accelerator::Kvm).is_some());

    let watching = world.watch(rewarm());
    fs::rename("/dev/kvm", "/dev/aside").unwrap();
    let (_, reason) = watching.dropped(emulator);
    assert!(reason.starts_with("the kvm /dev/kvm changed"), "{reason}");
    watching.refreshed(emulator);
    let without = hit(&world, emulator);
    assert_eq!(micros(&without, Accelerator::Kvm), None);

    fs::rename("/dev/aside", "/dev/kvm").unwrap();
    watching.dropped(emulator);
    let (_, probed) = watching.refreshed(emulator);
    assert!(probed);
    let after = hit(&world, emulator);
    assert!(micros(&after, Accelerator::Kvm).is_some());
    assert_eq!(micros(&after, Accelerator::Tcg), micros(&before, Accelerator::Tcg));

    // Replaced by an equal node: as udev does it when the module is loaded again.
    command("sh", &[&"-c", &"cp -a /dev/kvm /dev/new && mv /dev/new /dev/kvm"]);
    let (told, probed) = watching.refreshed(emulator);
    assert_eq!((told.len(), probed), (1, false), "{told:?}");
    command("chmod", &[&"666", &"/dev/kvm"]);
    let (_, reason) = watching.dropped(emulator);
    assert!(reason.starts_with("the kvm /dev/kvm changed"), "{reason}");
    watching.refreshed(emulator);
    let last = hit(&world, emulator);
    assert_eq!(micros(&last, Accelerator::Tcg), micros(&before, Accelerator::Tcg));
}
