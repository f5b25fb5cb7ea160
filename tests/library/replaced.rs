//! Emulators that are replaced in every way that time stamps do not show.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use capscache::format::InputKind;
use capscache::{Cache, Capabilities, Lookup};
use tempfile::TempDir;
use test_support::age;

/// Two emulators, and a path at which one of them is installed.
struct Place {
    root: TempDir,
    cache: Cache,
    /// The size of the larger one, given to both: bytes after a program do no harm.
    size: u64,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().expect("a root");
        let cache = crate::open(root.path().join("cache")).expect("a cache");
        let size = |target| fs::metadata(installed(target)).expect("QEMU is installed").len();
        Place { root, cache, size: size("avr").max(size("rx")) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn emulator(&self) -> PathBuf {
        self.path("qemu-system")
    }

    /// A file with an emulator's content, the common size and this modification time.
    fn file(&self, name: &str, target: &str, modified: SystemTime) -> PathBuf {
        let path = self.path(name);
        fs::copy(installed(target), &path).expect("a copy");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        let file = File::options().write(true).open(&path).expect("a file");
        file.set_len(self.size).expect("a size");
        file.set_modified(modified).expect("a time");
        path
    }

    /// Puts an emulator in place by rename.
    fn put(&self, target: &str, modified: SystemTime) {
        fs::rename(self.file("new", target, modified), self.emulator()).expect("a rename");
    }

    fn get(&self) -> Capabilities {
        self.cache.get(self.emulator()).expect("answers")
    }

    /// The input that makes the entry stale for the very next lookup.
    fn stale(&self) -> InputKind {
        match self.cache.lookup(self.emulator()).expect("a lookup") {
            Lookup::Stale { reason: stale, .. } => stale.input,
            other => panic!("not stale but {other:?}"),
        }
    }

    /// Checks that the next lookup, of this process and of another one, answers from this probe.
    fn answers_from(&self, probe: &Capabilities) {
        let other = crate::open(self.cache.root()).expect("a cache");
        for cache in [&self.cache, &other] {
            match cache.lookup(self.emulator()).expect("a lookup") {
                Lookup::Hit(hit) => assert_eq!(hit.report(), probe.report(), "something ran"),
                other => panic!("not a hit but {other:?}"),
            }
        }
    }
}

fn installed(target: &str) -> String {
    format!("/usr/bin/qemu-system-{target}")
}

fn seconds(count: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(count)
}

#[test]
fn another_emulator_of_equal_size_and_mtime_within_the_same_second_is_detected() {
    let modified = seconds(1_700_000_000);
    let place = Place::new();
    let mut last = None;
    for target in ["avr", "rx", "avr", "rx"] {
        place.put(target, modified);
        if last.is_some() {
            assert!(matches!(place.stale(), InputKind::Emulator | InputKind::Executable));
        }
        let probed = place.get();
        assert_eq!(probed.arch(), target);
        assert_ne!(probed.report(), last, "nothing ran");
        // One probe, from which every cache answers.
        assert_eq!(place.get().report(), probed.report(), "it was probed twice");
        place.answers_from(&probed);
        last = probed.report();
    }
    // Nothing but inode and change time differs, as `stat` proves.
    let status = fs::metadata(place.emulator()).expect("a file");
    assert_eq!((status.len(), status.mtime()), (place.size, 1_700_000_000));
}

#[test]
fn another_emulator_written_over_the_first_in_place_is_detected() {
    let modified = seconds(1_700_000_000);
    let place = Place::new();
    place.put("avr", modified);
    assert_eq!(place.get().arch(), "avr");
    let inode = |path: &Path| fs::metadata(path).expect("a file").ino();
    let before = inode(&place.emulator());
    let other = place.file("other", "rx", modified);
    fs::write(place.emulator(), fs::read(other).expect("a file")).expect("an overwritten file");
    let file = File::options().write(true).open(place.emulator()).expect("a file");
    file.set_modified(modified).expect("a time");
    drop(file);
    assert_eq!(inode(&place.emulator()), before);
    assert_eq!(place.get().arch(), "rx");
}

#[test]
fn where_every_mtime_is_0_or_1_content_decides() {
    for modified in [seconds(0), seconds(1)] {
        let place = Place::new();
        place.put("avr", modified);
        age(&place.emulator());
        let avr = place.get();
        place.answers_from(&avr);
        // Another deployment of the same content: OSTree, Nix, an unpacked image.
        place.put("avr", modified);
        age(&place.emulator());
        place.answers_from(&avr);
        place.put("rx", modified);
        age(&place.emulator());
        assert!(matches!(place.stale(), InputKind::Emulator | InputKind::Executable));
        assert_eq!(place.get().arch(), "rx");
    }
}

#[test]
fn a_hard_link_to_another_emulator_is_detected() {
    let place = Place::new();
    let avr = place.file("avr", "avr", seconds(1));
    let rx = place.file("rx", "rx", seconds(1));
    let link = |file: &Path| {
        fs::hard_link(file, place.path("new")).expect("a link");
        fs::rename(place.path("new"), place.emulator()).expect("a rename");
        age(&place.emulator());
    };
    link(&avr);
    assert_eq!(place.get().arch(), "avr");
    link(&rx);
    assert!(matches!(place.stale(), InputKind::Emulator | InputKind::Executable));
    assert_eq!(place.get().arch(), "rx");
}

#[test]
fn an_emulator_that_was_removed_and_put_back_is_not_probed_again() {
    let place = Place::new();
    place.put("avr", seconds(1_700_000_000));
    age(&place.emulator());
    let avr = place.get();
    fs::rename(place.emulator(), place.path("aside")).expect("a removal");
    assert_eq!(place.stale(), InputKind::Emulator);
    place.cache.get(place.emulator()).expect_err("it is gone");
    fs::rename(place.path("aside"), place.emulator()).expect("a return");
    age(&place.emulator());
    place.answers_from(&avr);
}
