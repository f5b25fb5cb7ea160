//! Roots: the trusted ones, their content, and the files that may be removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use capscache::{Accelerator, Cache, Error, GarbageReport, HostFacts, Lookup};
use tempfile::TempDir;
use test_support::age;

const AVR: &str = "/usr/bin/qemu-system-avr";

struct Roots(TempDir);

impl Roots {
    fn new() -> Roots {
        Roots(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn cache(&self, name: &str) -> Cache {
        crate::open(self.path(name)).expect("a cache")
    }

    /// A cache on `root` with the fallback `image`, on a host with this kernel.
    fn with_fallback(&self, kernel: Option<&str>) -> Cache {
        let mut host = HostFacts::of_this_host();
        if let Some(kernel) = kernel {
            kernel.clone_into(&mut host.kernel.release);
        }
        let builder = crate::builder(self.path("root")).host(host);
        let builder = builder.fallback(self.path("image")).fallback(self.path("not-there"));
        builder.open().expect("a cache")
    }
}

/// The time that the pass under an accelerator took: another time shows that it ran again.
fn micros(caps: &capscache::Capabilities, accelerator: Accelerator) -> Option<u64> {
    let report = caps.report().expect("a report");
    let pass = report.passes.iter().find(|pass| pass.source.accelerator() == Some(accelerator));
    pass.map(|pass| pass.micros)
}

/// Every file below a directory with its content.
fn content(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

#[test]
fn a_valid_entry_of_a_fallback_is_used_and_nothing_runs() {
    let roots = Roots::new();
    let baked = roots.cache("image").get(AVR).expect("answers");
    let before = content(&roots.path("image"));
    let cache = roots.with_fallback(None);
    let caps = cache.get(AVR).expect("answers");
    assert_eq!(micros(&caps, Accelerator::Tcg), micros(&baked, Accelerator::Tcg));
    assert!(caps.persist_error().is_none());
    assert_eq!(content(&roots.path("image")), before);
    assert!(!roots.path("root").exists(), "there was nothing to write");
}

#[test]
fn of_a_fallback_on_another_kernel_the_facts_of_the_binary_are_used_and_kvm_is_probed() {
    if !test_support::kvm_opens() {
        return;
    }
    let roots = Roots::new();
    let native = test_support::native();
    let baked = roots.cache("image").get(&native).expect("answers");
    let before = content(&roots.path("image"));
    let cache = roots.with_fallback(Some("6.1.0-another #1 SMP"));
    assert!(matches!(cache.lookup(&native), Ok(Lookup::Stale { .. })));
    let caps = cache.get(&native).expect("answers");
    assert_eq!(micros(&caps, Accelerator::Tcg), micros(&baked, Accelerator::Tcg), "ran again");
    assert_ne!(micros(&caps, Accelerator::Kvm), micros(&baked, Accelerator::Kvm), "did not run");
    assert_eq!(content(&roots.path("image")), before);
    // The root has it now: another cache there needs no fallback.
    let mut host = HostFacts::of_this_host();
    "6.1.0-another #1 SMP".clone_into(&mut host.kernel.release);
    let cache = crate::builder(roots.path("root")).host(host).open().expect("a cache");
    assert!(matches!(cache.lookup(&native), Ok(Lookup::Hit(_))));
}

#[test]
fn a_fallback_whose_emulator_was_unpacked_anew_is_recognized_by_content() {
    let roots = Roots::new();
    let emulator = roots.path("qemu-system-avr");
    fs::copy(AVR, &emulator).expect("a copy");
    age(&emulator);
    let baked = roots.cache("image").get(&emulator).expect("answers");
    let again = roots.path("again");
    fs::copy(AVR, &again).expect("a copy");
    fs::rename(&again, &emulator).expect("a rename");
    age(&emulator);
    let cache = roots.with_fallback(None);
    let caps = cache.get(&emulator).expect("answers");
    assert_eq!(micros(&caps, Accelerator::Tcg), micros(&baked, Accelerator::Tcg), "ran again");
    // The new signature is in the root, and the image is unchanged.
    assert!(matches!(roots.cache("root").lookup(&emulator), Ok(Lookup::Hit(_))));
}

#[test]
fn a_root_or_a_fallback_that_others_may_write_to_is_refused() {
    let roots = Roots::new();
    let open = roots.path("root");
    fs::create_dir(&open).expect("a directory");
    for mode in [0o775, 0o777, 0o1777] {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).expect("a mode");
        let with_fallback = crate::builder(roots.path("mine")).fallback(&open).open();
        for refused in [crate::open(&open), with_fallback] {
            let error = refused.expect_err("other users could write there");
            assert!(matches!(error, Error::Unsafe { .. }), "{error}");
            assert!(error.to_string().contains("chmod go-w"), "{error}");
        }
    }
}

#[test]
fn a_root_of_another_user_is_refused_unless_that_user_is_trusted() {
    if !test_support::rights::can_change_user() {
        return;
    }
    let roots = Roots::new();
    roots.cache("root").get(AVR).expect("answers");
    let release = fs::read_dir(roots.path("root")).expect("a directory");
    let release = release.map(|entry| entry.expect("an entry").path()).next().expect("a release");
    for (path, _) in content(&release) {
        std::os::unix::fs::chown(path, Some(12345), None).expect("a new owner");
    }
    // The root belongs to this user, its entries do not.
    let error = roots.cache("root").lookup(AVR).expect_err("it is not trusted");
    assert!(error.to_string().contains("belongs to the user 12345"), "{error}");
    for path in [&release, &roots.path("root")] {
        std::os::unix::fs::chown(path, Some(12345), None).expect("a new owner");
    }
    let error = crate::open(roots.path("root")).expect_err("it is not trusted");
    assert!(matches!(error, Error::Unsafe { .. }), "{error}");
    let cache = crate::builder(roots.path("root")).trusted_owner(12345).open().expect("a cache");
    assert!(matches!(cache.lookup(AVR), Ok(Lookup::Hit(_))));
}

#[test]
fn an_entry_that_is_a_link_or_a_pipe_or_writable_by_others_is_replaced() {
    let roots = Roots::new();
    let cache = roots.cache("root");
    cache.get(AVR).expect("answers");
    let entry = cache.list().expect("a list").remove(0).expect("an entry").file;
    let elsewhere = roots.path("elsewhere");
    let replacements: [&dyn Fn(); 3] = [
        &|| {
            fs::rename(&entry, &elsewhere).expect("a rename");
            symlink(&elsewhere, &entry).expect("a link");
        },
        &|| {
            fs::remove_file(&entry).expect("a file");
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            let pipe = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &entry, pipe, mode, 0).expect("a pipe");
        },
        &|| fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).expect("a mode"),
    ];
    for replace in replacements {
        replace();
        let cache = roots.cache("root");
        cache.lookup(AVR).expect_err("it is not opened");
        assert_eq!(cache.get(AVR).expect("answers").arch(), "avr");
        let status = fs::symlink_metadata(&entry).expect("a file");
        assert!(status.is_file() && status.permissions().mode() & 0o777 == 0o644);
        assert!(matches!(roots.cache("root").lookup(AVR), Ok(Lookup::Hit(_))));
    }
}

#[test]
fn no_other_user_may_write_to_created_files_under_any_umask() {
    let roots = Roots::new();
    let mut run = crate::child("roots::child_with_an_open_umask", &[("ROOT", &roots.path("root"))]);
    assert!(run.status().expect("a child").success());
    assert!(matches!(roots.cache("root").lookup(AVR), Ok(Lookup::Hit(_))));
    for (path, _) in content(&roots.path("root")) {
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o022, 0, "{path:?}");
    }
}

#[test]
#[ignore = "runs as a process of its own"]
fn child_with_an_open_umask() {
    rustix::process::umask(rustix::fs::Mode::empty());
    let cache = crate::open(std::env::var_os("ROOT").expect("a root")).expect("a cache");
    assert!(cache.get(AVR).expect("answers").persist_error().is_none());
}

#[test]
fn another_user_who_may_read_the_cache_cannot_delay_a_prober() {
    if !test_support::rights::can_change_user() {
        return;
    }
    let roots = Roots::new();
    fs::set_permissions(roots.0.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let cache = roots.cache("root");
    cache.get(AVR).expect("answers");
    let files: Vec<PathBuf> =
        content(&roots.path("root")).into_iter().map(|(path, _)| path).collect();
    let opened = std::thread::scope(|scope| {
        let as_nobody = || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
            files.iter().filter(|path| fs::File::open(path).is_ok()).collect::<Vec<_>>()
        };
        scope.spawn(as_nobody).join().expect("it ends")
    });
    // A file that can be opened can be locked: the entry can, and its lock cannot.
    let kinds = |paths: &[&PathBuf]| -> Vec<String> {
        let kind = |path: &&PathBuf| path.extension().expect("a kind").to_string_lossy().into();
        paths.iter().map(kind).collect()
    };
    assert_eq!(kinds(&opened), ["caps"]);
    assert_eq!(kinds(&files.iter().collect::<Vec<_>>()), ["caps", "lock"]);
}

#[test]
fn read_operations_create_nothing() {
    let roots = Roots::new();
    let cache = roots.cache("root");
    assert!(matches!(cache.lookup(AVR), Ok(Lookup::Missing)));
    assert!(cache.list().expect("a list").is_empty());
    assert_eq!(cache.verify_all().expect("a check").0, 0);
    assert!(cache.collect_garbage().expect("it can").is_empty());
    assert!(!cache.invalidate(AVR).expect("it can"));
    assert!(!roots.path("root").exists());
}

#[test]
fn garbage_is_removed_and_everything_else_stays() {
    let roots = Roots::new();
    let gone = roots.path("qemu-system-gone");
    fs::copy(AVR, &gone).expect("a copy");
    age(&gone);
    let broken = roots.path("qemu-system-broken");
    crate::cache::program(&broken, "#!/bin/sh\nexit 1\n");
    let cache = roots.cache("root");
    cache.get(AVR).expect("answers");
    cache.get(&gone).expect("answers");
    cache.get(&broken).expect_err("it fails");
    let entry = |emulator: &Path| {
        let listed = cache.list().expect("a list");
        let mut entries = listed.into_iter().map(|entry| entry.expect("an entry"));
        entries.find(|entry| entry.capabilities.emulator() == emulator).expect("it is listed").file
    };
    let release = entry(Path::new(AVR)).parent().expect("a directory").to_owned();
    assert_eq!(cache.collect_garbage().expect("it can"), GarbageReport::default());

    fs::remove_file(&gone).expect("a file");
    fs::remove_file(&broken).expect("a file");
    fs::write(release.join("damaged.caps"), "not an entry").expect("a file");
    let left = entry(Path::new(AVR)).with_extension("4194304-7.tmp");
    fs::write(&left, "half an entry").expect("a file");
    let older = ["v2-0.0.9", "v1-7.0.0"].map(|name| roots.path("root").join(name));
    let others = ["v2-0.1.1", "v3-0.0.1", "v2-mine"].map(|name| roots.path("root").join(name));
    for directory in older.iter().chain(&others) {
        fs::create_dir(directory).expect("a directory");
        fs::write(directory.join("entry.caps"), "").expect("a file");
    }
    let scratch = release.join("capscache-probe-0123456789abcdef");
    fs::create_dir(&scratch).expect("a directory");
    fs::write(scratch.join("file"), "").expect("a file");
    // A writer is active at this moment.
    let working = entry(Path::new(AVR)).with_extension("4194304-8.tmp");
    let writer = fs::File::create(&working).expect("a file");
    writer.try_lock().expect("a lock");

    let collected = cache.collect_garbage().expect("it can");
    let mut releases = older.to_vec();
    releases.sort();
    let expected = GarbageReport {
        emulators: vec![gone],
        damaged: 1,
        failures: 1,
        temporaries: 1,
        scratch_directories: 1,
        releases,
        skipped: Vec::new(),
    };
    assert_eq!(collected, expected);
    assert!(!left.exists() && !scratch.exists() && working.exists());
    assert!(older.iter().all(|path| !path.exists()) && others.iter().all(|path| path.exists()));
    assert!(matches!(roots.cache("root").lookup(AVR), Ok(Lookup::Hit(_))));
    assert_eq!(cache.collect_garbage().expect("it can"), GarbageReport::default());
}

#[test]
fn an_older_release_that_a_process_uses_is_left_alone() {
    let roots = Roots::new();
    let older = roots.path("root").join("v2-0.0.9");
    let cache = roots.cache("root");
    for name in ["entry.lock", "entry.7-0.tmp", "capscache-probe-0123456789abcdef"] {
        fs::create_dir_all(&older).expect("a directory");
        fs::write(older.join("entry.caps"), "").expect("a file");
        fs::write(older.join("other.lock"), "").expect("a file");
        let path = older.join(name);
        if name.starts_with("capscache") {
            fs::create_dir(&path).expect("a directory");
        } else {
            fs::write(&path, "").expect("a file");
        }
        let working = fs::File::open(&path).expect("it was made");
        working.try_lock().expect("a lock");
        assert_eq!(cache.collect_garbage().expect("it can"), GarbageReport::default());
        assert_eq!(fs::read_dir(&older).expect("it exists").count(), 3);
        drop(working);
        // Every user who can read an entry can lock it.
        let entry = fs::File::open(older.join("entry.caps")).expect("it exists");
        entry.try_lock().expect("a lock");
        assert_eq!(cache.collect_garbage().expect("it can").releases, std::slice::from_ref(&older));
        assert!(!older.exists());
    }
}

#[test]
fn releases_side_by_side_leave_each_other_alone() {
    let roots = Roots::new();
    let before = roots.cache("root").get(AVR).expect("answers");
    for name in ["v2-0.0.9", "v3-1.0.0"] {
        let other = roots.path("root").join(name);
        fs::create_dir(&other).expect("a directory");
        for (path, _) in content(&before_directory(&roots)) {
            let name = path.file_name().expect("a name");
            fs::write(other.join(name), "of another release").expect("a file");
        }
    }
    let cache = roots.cache("root");
    let after = cache.get(AVR).expect("answers");
    assert_eq!(micros(&after, Accelerator::Tcg), micros(&before, Accelerator::Tcg));
    assert_eq!(cache.list().expect("a list").len(), 1);
    assert_eq!(cache.verify_all().expect("a check").0, 1);
    assert_eq!(cache.invalidate_all().expect("it can"), 1);
    for name in ["v2-0.0.9", "v3-1.0.0"] {
        assert!(!content(&roots.path("root").join(name)).is_empty(), "{name}");
    }
}

fn before_directory(roots: &Roots) -> PathBuf {
    roots.path("root").join(concat!("v2-", env!("CARGO_PKG_VERSION")))
}

#[test]
fn a_root_that_is_removed_under_a_running_process_costs_no_answer() {
    let roots = Roots::new();
    let cache = roots.cache("root");
    let caps = cache.get(AVR).expect("answers");
    fs::remove_dir_all(roots.path("root")).expect("it is removed");
    assert_eq!(cache.get(AVR).expect("answers").arch(), "avr");
    assert!(matches!(roots.cache("root").lookup(AVR), Ok(Lookup::Hit(_))), "it was made again");
    assert_eq!(caps.arch(), "avr");
}

#[test]
fn a_root_that_is_removed_during_a_probe_is_made_again() {
    let roots = Roots::new();
    let emulator = roots.path("qemu-system-avr");
    let (root, ran) = (roots.path("root"), roots.path("ran"));
    let script = format!(
        "#!/bin/sh\n[ -e {ran}* ] || rm -r {root}/../roo[t]; : > {ran}; exec {AVR} \"$@\"\n",
        ran = ran.display(),
        root = root.display()
    );
    crate::cache::program(&emulator, &script);
    let cache = roots.cache("root");
    fs::create_dir(&root).expect("a root");
    let caps = cache.get(&emulator).expect("answers");
    assert!(ran.exists());
    assert_eq!((caps.arch(), caps.persist_error().map(ToString::to_string)), ("avr", None));
    assert!(matches!(roots.cache("root").lookup(&emulator), Ok(Lookup::Hit(_))));
}

#[test]
fn a_root_that_is_removed_for_good_costs_a_warning_and_no_answer() {
    let roots = Roots::new();
    let emulator = roots.path("qemu-system-avr");
    let (root, runs) = (roots.path("root"), roots.path("runs"));
    // A file takes its place while the emulator runs: not even root can create it again.
    let script = format!(
        "#!/bin/sh\nrm -r {root}/../roo[t] 2>/dev/null; : > {root}; echo run >> {runs}; exec {AVR} \"$@\"\n",
        root = root.display(),
        runs = runs.display()
    );
    crate::cache::program(&emulator, &script);
    let cache = roots.cache("root");
    fs::create_dir(&root).expect("a root");
    for _ in 0..2 {
        let caps = cache.get(&emulator).expect("answers");
        assert_eq!(caps.arch(), "avr");
        let why = caps.persist_error().expect("an error").to_string();
        assert!(why.contains("cannot write the entry") && why.contains("root/v2-"), "{why}");
    }
    assert!(root.is_file());
    // The first answer was kept in the process.
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Hit(_))));
    assert_eq!(fs::read_to_string(&runs).expect("it ran").lines().count(), 1);
}
