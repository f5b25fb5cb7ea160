//! Lookups: hits, misses and their cost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use capscache::format::InputKind;
use capscache::format::InputRef;
use capscache::{Cache, Capabilities, Error, Group, Groups, Lookup, Tri, Validation};
use tempfile::TempDir;
use test_support::{age, replace_program, write_program};

/// A small emulator, so that tests are quick.
const AVR: &str = "/usr/bin/qemu-system-avr";
const OTHER: &str = "/usr/bin/qemu-system-rx";

struct Fixture {
    root: TempDir,
    cache: Cache,
}

impl Fixture {
    fn new() -> Fixture {
        let root = tempfile::tempdir().expect("a root");
        let cache = crate::open(root.path().join("cache")).expect("a cache");
        Fixture { root, cache }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A wrapper script that becomes `target`, counting how often it ran.
    fn wrapper(&self, name: &str, target: &str) -> PathBuf {
        let path = self.path(name);
        self.write_wrapper(&path, target);
        path
    }

    fn write_wrapper(&self, path: &Path, target: &str) {
        let counter = self.path("count");
        let script =
            format!("#!/bin/sh\necho run >> {}\nexec {target} \"$@\"\n", counter.display());
        program(path, &script);
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.path("count")).map_or(0, |text| text.lines().count())
    }

    fn stale(&self, emulator: &Path) -> String {
        match self.cache.lookup(emulator).expect("a lookup") {
            Lookup::Stale { reason: why, .. } => why.to_string(),
            other => panic!("not stale but {other:?}"),
        }
    }
}

/// Writes an executable file over an existing one, old enough to be relied on.
pub(crate) fn program(path: &Path, content: &str) {
    replace_program(path, content);
    // A file that changed just now is compared by content: make it old.
    age(path);
}

fn versions(caps: &Capabilities) -> (String, String) {
    (caps.version().to_string(), caps.arch().to_owned())
}

#[test]
fn one_emulator_has_one_entry_however_its_path_is_spelled() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    fixture.cache.get(&emulator).expect("answers");
    let runs = fixture.runs();
    let directory = fixture.root.path().to_str().expect("text");
    for spelled in ["/qemu", "//qemu", "/./qemu", "///././qemu"] {
        let spelled = format!("{directory}{spelled}");
        assert!(matches!(fixture.cache.lookup(&spelled), Ok(Lookup::Hit(_))), "{spelled}");
        fixture.cache.get(&spelled).expect("answers");
    }
    assert_eq!((fixture.runs(), fixture.cache.list().expect("a list").len()), (runs, 1));
    assert!(fixture.cache.invalidate(format!("/.{}", emulator.display())).expect("a removal"));
}

#[test]
fn a_miss_probes_and_a_hit_does_not() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    assert!(matches!(fixture.cache.lookup(&emulator), Ok(Lookup::Missing)));
    let caps = fixture.cache.get(&emulator).expect("answers");
    assert_eq!(caps.arch(), "avr");
    assert_eq!(fixture.runs(), 1);
    let again = fixture.cache.get(&emulator).expect("answers");
    let other_process = crate::open(fixture.path("cache")).expect("a cache");
    let from_disk = other_process.get(&emulator).expect("answers");
    assert_eq!(fixture.runs(), 1);
    assert_eq!(versions(&again), versions(&caps));
    assert_eq!(from_disk.bytes(), caps.bytes());
}

#[test]
fn the_executable_behind_a_wrapper_is_the_one_that_ran() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let caps = fixture.cache.get(&emulator).expect("answers");
    assert_eq!(caps.emulator(), emulator);
    assert_eq!(caps.executable(), Path::new(AVR));
    let real = fixture.cache.get(AVR).expect("answers");
    let digest =
        |caps: &Capabilities| *caps.input(InputKind::Executable).unwrap().sha256().unwrap();
    assert_eq!(digest(&caps), digest(&real));
}

#[test]
fn an_edited_wrapper_is_detected_by_the_next_lookup() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    assert_eq!(fixture.cache.get(&emulator).expect("answers").arch(), "avr");
    fixture.write_wrapper(&emulator, OTHER);
    assert!(fixture.stale(&emulator).starts_with("the emulator "), "{}", fixture.stale(&emulator));
    assert_eq!(fixture.cache.get(&emulator).expect("answers").arch(), "rx");
    assert_eq!(fixture.runs(), 2);
}

#[test]
fn a_replaced_target_behind_an_unchanged_wrapper_is_detected() {
    let fixture = Fixture::new();
    let target = fixture.path("real");
    fs::copy(AVR, &target).expect("a copy");
    age(&target);
    let emulator = fixture.wrapper("qemu", target.to_str().expect("UTF-8"));
    assert_eq!(fixture.cache.get(&emulator).expect("answers").arch(), "avr");
    fs::copy(OTHER, fixture.path("new")).expect("a copy");
    fs::rename(fixture.path("new"), &target).expect("a rename");
    assert!(fixture.stale(&emulator).starts_with("the executable "));
    assert_eq!(fixture.cache.get(&emulator).expect("answers").arch(), "rx");
}

#[test]
fn an_emulator_that_was_fresh_when_a_long_probe_began_is_not_trusted_when_it_is_over() {
    let fixture = Fixture::new();
    let emulator = fixture.path("qemu");
    // Longer than a signature takes to become one that can be relied on.
    let script = format!("#!/bin/sh\nsleep 2.1\nexec {AVR} \"$@\"\n");
    write_program(&emulator, script);
    let caps = fixture.cache.get(&emulator).expect("answers");
    let is_racy = |kind| caps.input(kind).expect("an input").to_owned().racy;
    assert!(is_racy(InputKind::Emulator), "it may have been written to in the tick of its start");
    assert!(!is_racy(InputKind::Executable));
    assert!(matches!(fixture.cache.lookup(&emulator), Ok(Lookup::Hit(_))), "content decides");
}

/// A wrapper that was written just now, so that content decides about it.
fn fresh_wrapper(path: &Path, count: &Path, target: &str) {
    let script = format!("#!/bin/sh\necho run >> {}\nexec {target} \"$@\"\n", count.display());
    write_program(path, script);
}

#[test]
fn without_a_root_to_write_to_content_decides_about_a_fresh_emulator_too() {
    let fixture = Fixture::new();
    let (emulator, count) = (fixture.path("qemu"), fixture.path("count"));
    let cache = crate::open("/proc/no-such-root").expect("a cache");
    fresh_wrapper(&emulator, &count, AVR);
    let first = cache.get(&emulator).expect("answers");
    assert!(first.persist_error().is_some());
    for _ in 0..3 {
        assert!(cache.get(&emulator).expect("answers").persist_error().is_some());
        assert!(matches!(cache.lookup_with(&emulator, Validation::Thorough), Ok(Lookup::Hit(_))));
    }
    assert_eq!(fixture.runs(), 1);
    fresh_wrapper(&emulator, &count, OTHER);
    match cache.lookup(&emulator).expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => assert_eq!(stale.input, InputKind::Emulator),
        other => panic!("not stale but {other:?}"),
    }
    assert_eq!(cache.get(&emulator).expect("answers").arch(), "rx");
    assert_eq!(fixture.runs(), 2);
}

#[test]
#[ignore = "runs in a mount namespace of its own"]
fn child_with_a_stale_entry_where_nothing_can_be_written() {
    let variable = |name| PathBuf::from(std::env::var_os(name).expect("a variable"));
    let (cache, emulator) = (crate::open(variable("ROOT")).expect("a cache"), variable("EMULATOR"));
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Stale { .. })));
    let caps = cache.get(&emulator).expect("answers");
    assert_eq!((caps.arch(), caps.persist_error().is_some()), ("rx", true));
    for _ in 0..3 {
        assert_eq!(cache.get(&emulator).expect("answers").arch(), "rx");
        match cache.lookup_with(&emulator, Validation::Thorough).expect("a lookup") {
            Lookup::Hit(hit) => assert_eq!(hit.arch(), "rx"),
            other => panic!("not a hit but {other:?}"),
        }
    }
}

#[test]
fn where_a_stale_entry_cannot_be_replaced_the_new_one_is_kept_in_the_process() {
    let fixture = Fixture::new();
    let (emulator, count) = (fixture.path("qemu"), fixture.path("count"));
    let root = fixture.path("cache");
    fresh_wrapper(&emulator, &count, AVR);
    fixture.cache.get(&emulator).expect("answers");
    fresh_wrapper(&emulator, &count, OTHER);
    let test = "cache::child_with_a_stale_entry_where_nothing_can_be_written";
    let variables = [("ROOT", &*root), ("EMULATOR", &*emulator)];
    let Some(mut child) = crate::child_after(crate::READ_ONLY, test, &variables) else { return };
    crate::succeeds(&mut child);
    assert_eq!(fixture.runs(), 2);
}

#[test]
fn a_retargeted_link_is_detected() {
    let fixture = Fixture::new();
    let link = fixture.path("qemu");
    symlink(AVR, &link).expect("a link");
    assert_eq!(fixture.cache.get(&link).expect("answers").arch(), "avr");
    fs::remove_file(&link).expect("a removal");
    symlink(OTHER, &link).expect("a link");
    assert!(matches!(fixture.cache.lookup(&link), Ok(Lookup::Stale { .. })));
    assert_eq!(fixture.cache.get(&link).expect("answers").arch(), "rx");
}

#[test]
fn a_link_shares_the_probe_of_its_target() {
    let fixture = Fixture::new();
    let link = fixture.path("qemu-system-avr");
    symlink(AVR, &link).expect("a link");
    let by_link = fixture.cache.get(&link).expect("answers");
    assert_eq!(by_link.emulator(), link);
    assert_eq!(by_link.executable(), Path::new(AVR));
    // The target's own entry exists, with the report of the same probe.
    let Lookup::Hit(target) = fixture.cache.lookup(AVR).expect("a lookup") else {
        panic!("the target was not cached");
    };
    assert_eq!(target.report(), by_link.report());
}

#[test]
fn a_touched_or_reinstalled_emulator_gets_a_new_signature_and_no_probe() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let before = fixture.cache.get(&emulator).expect("answers");
    fixture.write_wrapper(&emulator, AVR);
    let Lookup::Hit(after) = fixture.cache.lookup(&emulator).expect("a lookup") else {
        panic!("the same content is valid");
    };
    assert_eq!(fixture.runs(), 1);
    let signature =
        |caps: &Capabilities| caps.input(InputKind::Emulator).unwrap().to_owned().signature;
    assert_ne!(signature(&after), signature(&before));
    assert_eq!(after.report(), before.report());
}

#[test]
fn content_decides_about_an_emulator_that_changed_just_now() {
    let fixture = Fixture::new();
    let emulator = fixture.path("qemu");
    let script = |target| format!("#!/bin/sh\nexec {target} \"$@\"\n");
    write_program(&emulator, script("/usr/bin/qemu-system-avr"));
    let caps = fixture.cache.get(&emulator).expect("answers");
    assert!(caps.input(InputKind::Emulator).unwrap().to_owned().racy);
    assert_eq!(fixture.cache.get(&emulator).expect("answers").arch(), "avr");
}

#[test]
fn a_removed_emulator_is_stale_and_an_error_to_get() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let caps = fixture.cache.get(&emulator).expect("answers");
    fs::remove_file(&emulator).expect("a removal");
    assert!(matches!(fixture.cache.lookup(&emulator), Ok(Lookup::Stale { .. })));
    assert!(matches!(fixture.cache.get(&emulator), Err(Error::Emulator { .. })));
    assert_eq!(caps.arch(), "avr", "the handle stays readable");
}

#[test]
fn a_group_is_filled_as_a_whole_when_it_is_first_requested() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let core = fixture.cache.get(&emulator).expect("answers");
    assert!(core.groups().is_core());
    let name = core.answer(&"property:unimplemented-device.size".parse().expect("a query"));
    assert_eq!(name, Tri::Unknown);
    let filled = fixture.cache.get_with(&emulator, Groups::DEVICES).expect("answers");
    assert_eq!(filled.groups(), Groups::DEVICES);
    assert_eq!(fixture.runs(), 2);
    assert!(filled.device("unimplemented-device").expect("a device").property("size").is_ok());
    // The earlier answers are unchanged.
    assert_eq!(filled.commands(), core.commands());
    assert_eq!(
        filled.inputs().map(InputRef::to_owned).collect::<Vec<_>>(),
        core.inputs().map(InputRef::to_owned).collect::<Vec<_>>()
    );
    let again = fixture.cache.get_with(&emulator, Groups::DEVICES).expect("answers");
    assert_eq!(fixture.runs(), 2);
    assert!(again.groups().contains(Group::Devices) && !again.groups().contains(Group::Objects));
}

#[test]
fn groups_filled_one_by_one_have_the_same_answers_as_all_at_once() {
    let fixture = Fixture::new();
    for groups in [Groups::CORE, Groups::OBJECTS, Groups::CPU_MODELS, Groups::DEVICES] {
        fixture.cache.get_with(test_support::native(), groups).expect("answers");
    }
    let by_steps = fixture.cache.get(test_support::native()).expect("answers");
    let at_once = crate::open(fixture.path("other")).expect("a cache");
    let at_once = at_once.get_with(test_support::native(), Groups::ALL).expect("answers");
    assert_eq!(by_steps.groups(), Groups::ALL);
    let json = |caps: &Capabilities| {
        let mut json = serde_json::to_value(&**caps).expect("JSON");
        // Reported in the order of the queries.
        for list in ["refused", "quarantined"] {
            let list = json[list].as_array_mut().expect("an array");
            list.sort_by_key(ToString::to_string);
            list.dedup();
        }
        json
    };
    let (by_steps, at_once) = (json(&by_steps), json(&at_once));
    for (key, value) in at_once.as_object().expect("an object") {
        assert!(by_steps[key] == *value, "{key} differs");
    }
}

#[test]
fn threads_that_request_an_entry_at_once_share_one_probe() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let barrier = Barrier::new(16);
    let archs: Vec<String> = std::thread::scope(|scope| {
        let request = || {
            barrier.wait();
            fixture.cache.get(&emulator).expect("answers").arch().to_owned()
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(request)).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(archs, vec!["avr"; 16]);
    assert_eq!(fixture.runs(), 1);
}

#[test]
fn caches_that_share_a_root_share_one_probe() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // A separate cache shares only the lock with the others, as a process does.
                let cache = crate::open(fixture.path("cache")).expect("a cache");
                barrier.wait();
                assert_eq!(cache.get(&emulator).expect("answers").arch(), "avr");
            });
        }
    });
    assert_eq!(fixture.runs(), 1);
}

#[test]
fn get_works_inside_a_runtime_and_get_async_without_blocking_it() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (one, two) = tokio::join!(
            fixture.cache.get_async(&emulator),
            fixture.cache.get_with_async(&emulator, Groups::CORE)
        );
        assert_eq!(one.expect("answers").arch(), "avr");
        assert_eq!(two.expect("answers").arch(), "avr");
        assert_eq!(fixture.cache.get(OTHER).expect("answers").arch(), "rx");
    });
    assert_eq!(fixture.runs(), 1);
}

#[test]
fn a_caller_that_gives_up_waiting_leaves_the_probe_to_finish() {
    use std::future::Future;
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    {
        let mut given_up = Box::pin(fixture.cache.get_async(&emulator));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(given_up.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(fixture.cache.get(&emulator).expect("answers").arch(), "avr");
    assert_eq!(fixture.runs(), 1);
}

#[test]
fn an_open_entry_is_returned_without_running_or_comparing_anything() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    assert!(fixture.cache.try_get(&emulator, Groups::CORE).is_none());
    assert_eq!(fixture.runs(), 0);
    fixture.cache.get(&emulator).expect("answers");
    let ready = fixture.cache.try_get(&emulator, Groups::CORE).expect("a hit");
    assert_eq!(ready.arch(), "avr");
    assert!(fixture.cache.try_get(&emulator, Groups::DEVICES).is_none());
    // The same bytes under another signature: to find them equal takes reading them.
    fixture.write_wrapper(&emulator, AVR);
    assert!(fixture.cache.try_get(&emulator, Groups::CORE).is_none());
    assert!(matches!(fixture.cache.lookup(&emulator), Ok(Lookup::Hit(_))));
    assert_eq!(fixture.runs(), 1);
}

#[test]
fn the_file_of_an_entry_can_be_passed_to_another_process_until_the_entry_is_removed() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let caps = fixture.cache.get(&emulator).expect("answers");
    let file = caps.file().expect("a file");
    assert!(caps.file_path().expect("a path").starts_with(fixture.path("cache")));
    fixture.cache.invalidate(&emulator).expect("a removal");
    assert!(caps.file().is_none());
    let passed = capscache::Capabilities::in_file(&file).expect("an entry");
    assert_eq!((passed.arch(), passed.emulator()), ("avr", emulator));
    assert_eq!(passed.bytes(), caps.bytes());

    let other = fs::File::open("/proc/self/status").expect("a file");
    assert!(capscache::Capabilities::in_file(&other).expect_err("not an entry").is_damage());
}

#[test]
fn a_damaged_entry_is_probed_again() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    fixture.cache.get(&emulator).expect("answers");
    let listed = fixture.cache.list().expect("a list");
    let file = listed[0].as_ref().expect("a good entry").file.clone();
    let bytes = fs::read(&file).expect("an entry");
    fs::write(&file, &bytes[..bytes.len() / 2]).expect("damage");
    let fresh = crate::open(fixture.path("cache")).expect("a cache");
    assert!(fresh.lookup(&emulator).expect_err("damaged").is_damage());
    assert_eq!(fresh.verify_all().expect("a directory").1.len(), 1);
    assert_eq!(fresh.get(&emulator).expect("answers").arch(), "avr");
    assert_eq!(fresh.verify_all().expect("a directory").0, 1);
    assert_eq!(fixture.runs(), 2);
}

#[test]
fn an_entry_at_the_path_of_another_is_reported_and_probed_again() {
    let fixture = Fixture::new();
    let (avr, rx) = (fixture.wrapper("avr", AVR), fixture.wrapper("rx", OTHER));
    let file = |emulator: &Path| {
        let caps = fixture.cache.get(emulator).expect("answers");
        caps.file_path().expect("it is in a file").to_owned()
    };
    let (entry_of_avr, entry_of_rx) = (file(&avr), file(&rx));
    let place = || {
        fs::copy(&entry_of_avr, fixture.path("copy")).expect("a copy");
        fs::rename(fixture.path("copy"), &entry_of_rx).expect("a rename");
        crate::open(fixture.path("cache")).expect("a cache")
    };
    let fresh = place();
    // A cache that had the right entry open detects it too.
    for cache in [&fresh, &fixture.cache] {
        let error = cache.lookup(&rx).expect_err("it is that of another emulator");
        assert!(error.is_damage() && error.to_string().contains(avr.to_str().expect("text")));
    }
    let (good, bad) = fresh.verify_all().expect("a directory");
    assert_eq!((good, bad.len()), (1, 1));
    assert!(fresh.try_get(&rx, Groups::CORE).is_none());
    assert_eq!(fresh.get(&rx).expect("answers").arch(), "rx");
    assert_eq!(fresh.verify_all().expect("a directory").0, 2);
    assert_eq!(fixture.runs(), 3);

    assert_eq!(place().collect_garbage().expect("it can").damaged, 1);
    assert!(matches!(fresh.lookup(&rx), Ok(Lookup::Missing)));
    assert!(matches!(fresh.lookup(&avr), Ok(Lookup::Hit(_))));
}

#[test]
fn an_invalidated_entry_is_gone_and_its_handles_stay() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    let caps = fixture.cache.get(&emulator).expect("answers");
    assert!(fixture.cache.invalidate(&emulator).expect("a removal"));
    assert!(!fixture.cache.invalidate(&emulator).expect("a removal"));
    assert!(matches!(fixture.cache.lookup(&emulator), Ok(Lookup::Missing)));
    assert!(fixture.cache.list().expect("a list").is_empty());
    assert_eq!(caps.arch(), "avr");
}

#[test]
fn an_entry_removed_by_another_process_is_not_a_hit_any_more() {
    let fixture = Fixture::new();
    let emulator = fixture.wrapper("qemu", AVR);
    fixture.cache.get(&emulator).expect("answers");
    let other = crate::open(fixture.path("cache")).expect("a cache");
    assert!(other.invalidate(&emulator).expect("a removal"));
    assert!(matches!(fixture.cache.lookup(&emulator), Ok(Lookup::Missing)));
}

#[test]
fn a_file_that_is_not_an_emulator_is_an_error_that_names_the_reason() {
    let fixture = Fixture::new();
    let chain = |path: &Path| {
        let error = fixture.cache.get(path).expect_err("not an emulator");
        let error: &dyn std::error::Error = &error;
        let causes = std::iter::successors(Some(error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    };
    let text = fixture.path("text");
    fs::write(&text, "not a program\n").expect("a file");
    assert!(chain(&text).contains("permission denied; check its mode"), "{}", chain(&text));
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).expect("a mode");
    assert!(!chain(&text).is_empty());
    assert!(
        chain(Path::new("/bin/true")).contains("QMP greeting"),
        "{}",
        chain(Path::new("/bin/true"))
    );
    assert!(chain(fixture.root.path()).contains("directory"), "{}", chain(fixture.root.path()));
    assert!(fixture.cache.list().expect("a list").is_empty());
}
