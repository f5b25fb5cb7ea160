//! Operations for callers that keep a cache fresh.

use std::fs;
use std::path::{Path, PathBuf};

use capscache::format::{InputKind, Scope};
use capscache::{Cache, Dependency, HostFacts, Lookup, Validation};
use test_support::{age, write_program};

use crate::cache::program;

const AVR: &str = "/usr/bin/qemu-system-avr";

/// A wrapper that becomes a small emulator.
fn wrapper(root: &Path) -> PathBuf {
    let path = root.join("qemu-system-avr");
    program(&path, &format!("#!/bin/sh\nexec {AVR} \"$@\"\n"));
    path
}

#[test]
fn an_entry_lists_every_path_that_its_answers_depend_on() {
    let root = tempfile::tempdir().expect("a root");
    let emulator = wrapper(root.path());
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    cache.get(&emulator).expect("answers");
    let entries = cache.entries().expect("entries");
    let [Ok(entry)] = &entries[..] else { panic!("not one entry but {entries:?}") };
    let depends_on = entry.depends_on();
    let file = |path: &str| Dependency::File(path.into());
    assert!(depends_on.contains(&Dependency::File(emulator)));
    assert!(depends_on.contains(&file(AVR)));
    assert!(depends_on.contains(&file("/etc/ld.so.cache")));
    let is_libc = |path: &Path| path.ends_with("libc.so.6");
    assert!(depends_on.iter().any(|d| matches!(d, Dependency::File(path) if is_libc(path))));
    let modules = entry.inputs().filter(|input| input.kind == InputKind::Modules);
    for directory in modules.map(|input| String::from_utf8_lossy(input.name).into_owned()) {
        assert!(depends_on.contains(&Dependency::Directory(directory.into())));
    }
    assert!(depends_on.iter().all(|dependency| dependency.path().is_absolute()));
}

#[test]
fn an_entry_is_dropped_when_it_is_stale_and_only_then() {
    let root = tempfile::tempdir().expect("a root");
    let emulator = wrapper(root.path());
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    assert_eq!(cache.drop_stale(&emulator, Validation::Thorough).expect("it can"), None);
    cache.get(&emulator).expect("answers");
    assert_eq!(cache.drop_stale(&emulator, Validation::Thorough).expect("it can"), None);
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Hit(_))));

    // The same content under other time stamps.
    program(&emulator, &fs::read_to_string(&emulator).expect("the wrapper"));
    assert_eq!(cache.drop_stale(&emulator, Validation::Thorough).expect("it can"), None);
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Hit(_))));

    program(&emulator, &format!("#!/bin/sh\n# other\nexec {AVR} \"$@\"\n"));
    let stale = cache.drop_stale(&emulator, Validation::Thorough).expect("it can").expect("stale");
    assert_eq!((stale.input, stale.scope), (InputKind::Emulator, Scope::Binary));
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Missing)));
    assert_eq!(cache.entries().expect("entries").len(), 0);
}

#[test]
fn an_entry_of_an_emulator_that_may_not_be_examined_is_not_dropped() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !test_support::rights::can_change_user() {
        return;
    }
    const NOBODY: u32 = 65534;
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let root = tempfile::tempdir().expect("a root");
    mode(root.path(), 0o755);
    let (home, cache) = (root.path().join("home"), root.path().join("cache"));
    for directory in [&home, &cache] {
        fs::create_dir(directory).expect("a directory");
    }
    chown(&cache, Some(NOBODY), None).expect("a directory of theirs");
    let emulator = wrapper(&home);
    let as_nobody = |work: &(dyn Fn(Cache) + Sync)| {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let user = rustix::process::Uid::from_raw(NOBODY);
                rustix::thread::set_thread_res_uid(user, user, user).expect("root may");
                work(crate::open(&cache).expect("a cache"));
            });
            thread.join().expect("it holds");
        });
    };
    as_nobody(&|cache| assert_eq!(cache.get(&emulator).expect("answers").arch(), "avr"));
    mode(&home, 0o700);
    as_nobody(&|cache| {
        let stale =
            cache.drop_stale(&emulator, Validation::Thorough).expect("it can").expect("stale");
        assert!(stale.found.contains("Permission denied"), "{stale}");
        assert_eq!(cache.entries().expect("entries").len(), 1);
    });
    mode(&home, 0o755);
    as_nobody(&|cache| assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Hit(_)))));
}

#[test]
fn an_entry_that_is_stale_for_the_host_alone_is_not_dropped() {
    if !test_support::kvm_opens() {
        return;
    }
    let root = tempfile::tempdir().expect("a root");
    let emulator = test_support::native();
    crate::open(root.path()).expect("a cache").get(&emulator).expect("answers");
    let mut host = HostFacts::of_this_host();
    host.kernel.version.push_str(" another");
    let other = crate::builder(root.path()).host(host).open().expect("a cache");
    let stale = other.drop_stale(&emulator, Validation::Thorough).expect("it can").expect("stale");
    assert_eq!((stale.input, stale.scope), (InputKind::Kernel, Scope::Host));
    assert_eq!(other.entries().expect("entries").len(), 1);
}

#[test]
fn a_failure_lists_the_paths_that_it_depends_on() {
    let root = tempfile::tempdir().expect("a root");
    let emulator = root.path().join("qemu-system-avr");
    write_program(&emulator, "#!/bin/sh\nexec /nowhere/qemu-system-avr \"$@\"\n");
    age(&emulator);
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    cache.get(&emulator).expect_err("it fails");
    let Ok(Lookup::Failed(failure)) = cache.lookup(&emulator) else { panic!("not failed") };
    let file = |path: &Path| Dependency::File(path.to_owned());
    assert!(failure.depends_on.contains(&file(&emulator)));
    assert!(failure.depends_on.contains(&file(Path::new("/nowhere/qemu-system-avr"))));
    assert!(failure.depends_on.contains(&file(Path::new("/etc/ld.so.cache"))));
}

#[test]
fn an_upgraded_emulator_is_detected_by_its_size_without_reading_it() {
    let root = tempfile::tempdir().expect("a root");
    let emulator = root.path().join("qemu-system-avr");
    fs::copy(AVR, &emulator).expect("QEMU is installed");
    age(&emulator);
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    cache.get(&emulator).expect("answers");
    let size = fs::metadata(&emulator).expect("a file").len();
    // Reading as much as this would take minutes; the file is sparse, so it takes no space.
    let huge = fs::File::options().write(true).open(&emulator).expect("a file");
    huge.set_len(1 << 40).expect("a file system with holes");
    match cache.lookup(&emulator).expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => {
            assert_eq!(stale.input, InputKind::Emulator);
            assert!(stale.recorded.ends_with(&format!("of {size} bytes")), "{stale}");
            assert_eq!(stale.found, format!("{} bytes", 1_u64 << 40));
        }
        other => panic!("not stale but {other:?}"),
    }
}
