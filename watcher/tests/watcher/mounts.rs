//! File systems that are mounted and unmounted, in namespaces of their own; and `/dev/kvm`.

use std::fs;
use std::path::Path;

use capscache::{Accelerator, Capabilities, Lookup};
use capscache_watcher::{Event, Notice, Options};

use crate::fixture::{AVR, Fixture, RX, command, in_namespaces, is_dropped, rewarm};

#[test]
fn mounting_and_unmounting_over_an_emulator_is_noticed() {
    in_namespaces("-rm", "mounts::mounted_and_unmounted");
}

#[test]
#[ignore = "mounts something, in a namespace of its own"]
fn mounted_and_unmounted() {
    let Some(fixture) = Fixture::protected() else { return };
    let emulator = fixture.wrapper("opt/bin/qemu", AVR);
    let other = fixture.wrapper("other/qemu", RX);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    let is_mounted = |event: &Event| *event == Event::Notice(Notice::Mounted);

    // A directory, and then a file: neither mount is an event in the covered directory.
    command("mount", &[&"--bind", &fixture.path("other"), &fixture.path("opt/bin")]);
    let (events, _) = watching.dropped(&emulator);
    assert!(events.iter().any(is_mounted), "{events:?}");
    watching.refreshed(&emulator);
    assert_eq!(arch(&fixture, &emulator), "rx");
    // Events come from the mounted directory.
    fixture.upgrade("other/qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);

    command("umount", &[&fixture.path("opt/bin")]);
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    assert_eq!(arch(&fixture, &emulator), "avr");
    fixture.upgrade("opt/bin/qemu");
    watching.dropped(&emulator);
    watching.refreshed(&emulator);

    command("mount", &[&"--bind", &other, &emulator]);
    watching.dropped(&emulator);
    watching.refreshed(&emulator);
    assert_eq!(arch(&fixture, &emulator), "rx");
}

fn arch(fixture: &Fixture, emulator: &Path) -> String {
    hit(fixture, emulator).arch().to_owned()
}

fn hit(fixture: &Fixture, emulator: &Path) -> Capabilities {
    match fixture.cache.lookup(emulator) {
        Ok(Lookup::Hit(hit)) => hit,
        other => panic!("no hit but {other:?}"),
    }
}

#[test]
fn unmounting_a_file_system_drops_its_emulators() {
    in_namespaces("-rm", "mounts::gone");
}

#[test]
#[ignore = "mounts something, in a namespace of its own"]
fn gone() {
    let Some(fixture) = Fixture::protected() else { return };
    let point = fixture.path("opt");
    fs::create_dir(&point).unwrap();
    command("mount", &[&"-t", &"tmpfs", &"-o", &"mode=755", &"opt", &point]);
    let emulator = fixture.wrapper("opt/bin/qemu", AVR);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(rewarm());
    command("umount", &[&point]);
    let (events, reason) = watching.dropped(&emulator);
    assert!(reason.contains("found No such file or directory"), "{reason}");
    // Whichever comes first: the change of mounts, or the loss of the directories on them.
    let is_notice =
        |event: &Event| matches!(event, Event::Notice(Notice::Mounted | Notice::Lost { .. }));
    assert!(is_notice(&events[0]), "{events:?}");
    command("mount", &[&"-t", &"tmpfs", &"-o", &"mode=755", &"opt", &point]);
    fixture.wrapper("opt/bin/qemu", RX);
    watching.refreshed(&emulator);
    assert_eq!(arch(&fixture, &emulator), "rx");
}

#[test]
fn a_directory_with_two_names_is_watched_for_both() {
    in_namespaces("-rm", "mounts::two_names");
}

#[test]
#[ignore = "mounts something, in a namespace of its own"]
fn two_names() {
    let fixture = Fixture::new();
    let one = fixture.wrapper("one/qemu", AVR);
    fs::create_dir(fixture.path("two")).unwrap();
    command("mount", &[&"--bind", &fixture.path("one"), &fixture.path("two")]);
    let two = fixture.path("two/qemu");
    fixture.cache.get(&one).unwrap();
    fixture.cache.get(&two).unwrap();
    let watching = fixture.watch(Options::default());
    fixture.upgrade("one/qemu");
    let events = watching.until(|event| is_dropped(event, &two));
    assert!(events.len() == 2 && is_dropped(&events[0], &one), "{events:?}");
}

#[test]
fn removing_restoring_and_changing_the_kvm_node_probes_under_kvm_alone() {
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

/// Returns how long the core pass under an accelerator took: another value shows that it ran again.
fn micros(entry: &Capabilities, accelerator: Accelerator) -> Option<u64> {
    let report = entry.report().unwrap();
    let pass = report.passes.iter().find(|pass| pass.source.accelerator() == Some(accelerator));
    pass.map(|pass| pass.micros)
}

#[test]
#[ignore = "has a /dev of its own, in a mount namespace"]
fn kvm() {
    let Some(fixture) = Fixture::protected() else { return };
    let dev = fixture.path("dev");
    let script = "mkdir \"$0\" && mount -t tmpfs -o mode=755 dev \"$0\" && \
        for node in null zero full random urandom kvm; do cp -a /dev/$node \"$0/\"; done && \
        ln -s /proc/self/fd \"$0/fd\" && mkdir -m 1777 \"$0/shm\" && mount --bind \"$0\" /dev";
    command("sh", &[&"-c", &script, &dev]);
    let emulator = Path::new("/usr/bin/qemu-system-x86_64");
    let before = fixture.cache.get(emulator).unwrap();
    assert!(micros(&before, Accelerator::Kvm).is_some());

    let watching = fixture.watch(rewarm());
    fs::rename("/dev/kvm", "/dev/aside").unwrap();
    let (_, reason) = watching.dropped(emulator);
    assert!(reason.starts_with("the kvm /dev/kvm changed"), "{reason}");
    watching.refreshed(emulator);
    let without = hit(&fixture, emulator);
    assert_eq!(micros(&without, Accelerator::Kvm), None);

    fs::rename("/dev/aside", "/dev/kvm").unwrap();
    watching.dropped(emulator);
    let (_, probed) = watching.refreshed(emulator);
    assert!(probed);
    let after = hit(&fixture, emulator);
    assert!(micros(&after, Accelerator::Kvm).is_some());
    assert_eq!(micros(&after, Accelerator::Tcg), micros(&before, Accelerator::Tcg));

    // Replaced by an equal node, as udev does when the module is loaded again.
    command("sh", &[&"-c", &"cp -a /dev/kvm /dev/new && mv /dev/new /dev/kvm"]);
    let (events, probed) = watching.refreshed(emulator);
    assert_eq!((events.len(), probed), (1, false), "{events:?}");
    command("chmod", &[&"666", &"/dev/kvm"]);
    let (_, reason) = watching.dropped(emulator);
    assert!(reason.starts_with("the kvm /dev/kvm changed"), "{reason}");
    watching.refreshed(emulator);
    let last = hit(&fixture, emulator);
    assert_eq!(micros(&last, Accelerator::Tcg), micros(&before, Accelerator::Tcg));
}
