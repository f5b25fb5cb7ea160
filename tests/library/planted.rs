//! Files that another user who may write to the directories of a cache can put there: none of them leads out of it,
//! and none blocks a caller.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use capscache::{Cache, Validation};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const AVR: &str = "/usr/bin/qemu-system-avr";

/// A user who is neither root nor the one who runs the tests.
const STRANGER: u32 = 12345;

/// Creates a file of some kind at a path, given the directory that must stay unchanged.
type Plant = fn(&Path, &Path) -> io::Result<()>;

const PLANTS: [(&str, Plant); 10] = [
    ("a link to a file", |at, outside| symlink(outside.join("file"), at)),
    ("a link to a directory", |at, outside| symlink(outside, at)),
    ("a link to an absent file", |at, outside| symlink(outside.join("new"), at)),
    ("a link to itself", |at, _| symlink(at, at)),
    ("a second name of a file", |at, outside| fs::hard_link(outside.join("file"), at)),
    ("a pipe", |at, _| node(at, FileType::Fifo, 0)),
    ("a socket", |at, _| UnixListener::bind(short(at)).map(drop)),
    ("a directory", |at, _| {
        fs::create_dir_all(at.join("within"))?;
        fs::write(at.join("within/file"), "")
    }),
    ("a device", |at, _| node(at, FileType::CharacterDevice, rustix::fs::makedev(1, 3))),
    ("a file of another user", |at, _| {
        fs::write(at, "")?;
        lchown(at, Some(STRANGER), None)
    }),
];

fn node(at: &Path, kind: FileType, device: u64) -> io::Result<()> {
    Ok(mknodat(CWD, at, kind, Mode::from_raw_mode(0o666), device)?)
}

/// The path by a directory's descriptor: a socket's address has room for a hundred bytes.
fn short(path: &Path) -> PathBuf {
    use std::os::fd::{AsRawFd, IntoRawFd};
    let parent = fs::File::open(path.parent().expect("a directory")).expect("a directory");
    let name = path.file_name().expect("a name");
    let short = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    // Open until the test ends.
    let _ = parent.into_raw_fd();
    short
}

/// A directory that no operation on the cache may change.
fn outside(within: &Path) -> PathBuf {
    let outside = within.join("outside");
    fs::create_dir(&outside).expect("a directory");
    for name in ["file", "old.tmp", "capscache-probe-1", "uno.lock"] {
        fs::write(outside.join(name), name).expect("a file");
    }
    outside
}

/// Names, modes, times of change and content of the files in a directory.
fn state(directory: &Path) -> Vec<(PathBuf, u32, i64, i64, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut state: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let status = fs::metadata(&path).expect("a file");
            let content = fs::read(&path).expect("a file");
            (path, status.mode(), status.mtime(), status.mtime_nsec(), content)
        })
        .collect();
    state.sort();
    state
}

/// Calls every operation of a cache; failures are accepted, as long as it ends.
fn use_in_every_way(root: &Path) {
    let (root, (sender, receiver)) = (root.to_owned(), channel());
    std::thread::spawn(move || {
        let Ok(cache) = Cache::open(root) else { return sender.send(()) };
        let _ = (cache.verify(AVR), cache.verify_all(), cache.list());
        let _ = (
            cache.lookup(AVR),
            cache.lookup_with(AVR, Validation::Thorough),
            cache.drop_stale(AVR, Validation::Thorough),
        );
        if let Ok(caps) = cache.get(AVR) {
            assert_eq!(caps.arch(), "avr");
        }
        let _ = (cache.collect_garbage(), cache.forget_failure(AVR));
        let _ = (cache.invalidate(AVR), cache.get(AVR), cache.invalidate_all());
        let _ = cache.collect_garbage();
        sender.send(())
    });
    receiver.recv_timeout(Duration::from_secs(60)).expect("it ends, and nothing panics");
}

/// The names of every file that is created in the directory of a release, and of a release.
fn names(root: &Path) -> Vec<PathBuf> {
    let cache = Cache::open(root).expect("a cache");
    cache.get(AVR).expect("answers");
    let entry = cache.list().expect("a list").remove(0).expect("an entry").file;
    cache.invalidate_all().expect("an empty cache");
    let release = entry.parent().expect("a directory").to_owned();
    let mut names: Vec<_> = ["caps", "failed", "lock", "1-0.tmp"]
        .into_iter()
        .map(|extension| entry.with_extension(extension))
        .collect();
    for name in ["take-over.lock", "capscache-probe-0123456789abcdef"] {
        names.push(release.join(name));
    }
    names.extend([root.join("v2-0.0.1"), release]);
    names
}

/// Plants a file of one kind under every name, one after the other.
fn plant_everywhere(what: &str, plant: Plant) {
    let within = tempfile::tempdir().expect("a directory");
    let outside = outside(within.path());
    let before = state(&outside);
    let root = within.path().join("root");
    for name in names(&root) {
        let _ = fs::remove_file(&name);
        if name.exists() {
            fs::remove_dir_all(&name).expect("an empty cache");
        }
        fs::create_dir_all(name.parent().expect("a directory")).expect("a directory");
        if let Err(error) = plant(&name, &outside) {
            println!("SKIPPED: {what} cannot be planted at {name:?} here: {error}");
            continue;
        }
        use_in_every_way(&root);
        assert_eq!(state(&outside), before, "{what} at {name:?}");
        fs::remove_dir_all(&root).expect("an empty cache");
    }
}

#[test]
fn a_planted_file_of_any_type_and_name_changes_nothing_outside_and_blocks_no_caller() {
    std::thread::scope(|scope| {
        for (what, plant) in PLANTS {
            scope.spawn(move || plant_everywhere(what, plant));
        }
    });
}

#[test]
fn answers_are_returned_and_written_with_any_planted_file_in_place_of_an_entry() {
    let within = tempfile::tempdir().expect("a directory");
    let outside = outside(within.path());
    for (what, plant) in &PLANTS[..7] {
        let root = within.path().join("root");
        let entry = names(&root).remove(0);
        for extension in ["caps", "failed", "lock", "1-0.tmp"] {
            let path = entry.with_extension(extension);
            let _ = fs::remove_file(&path);
            plant(&path, &outside).expect("it is planted");
        }
        let caps = Cache::open(&root).expect("a cache").get(AVR).expect("answers");
        assert!(caps.persist_error().is_none(), "{what}: {:?}", caps.persist_error());
        let kept = Cache::open(&root).expect("a cache").lookup(AVR).expect("a lookup");
        assert!(matches!(kept, capscache::Lookup::Hit(_)), "{what}: {kept:?}");
        fs::remove_dir_all(&root).expect("a cache");
    }
}

#[test]
fn a_root_that_another_user_creates_or_links_between_check_and_use_is_refused() {
    if !test_support::rights::can_change_user() {
        return;
    }
    let within = tempfile::tempdir().expect("a directory");
    fs::set_permissions(within.path(), fs::Permissions::from_mode(0o1777)).expect("a mode");
    let outside = outside(within.path());
    let before = state(&outside);
    let root = within.path().join("root");
    let plants: [Plant; 2] =
        [|root, outside| symlink(outside, root), |root, _| fs::create_dir(root)];
    for plant in plants {
        let cache = Cache::open(&root).expect("a cache");
        plant(&root, &outside).expect("it is planted");
        lchown(&root, Some(STRANGER), None).expect("another owner");
        match cache.get(AVR) {
            Ok(caps) => assert!(caps.persist_error().is_some(), "it was kept"),
            Err(error) => assert!(matches!(error, capscache::Error::Unsafe { .. }), "{error}"),
        }
        let error = cache.collect_garbage().expect_err("it is refused");
        assert!(matches!(error, capscache::Error::Unsafe { .. }), "{error}");
        assert_eq!(state(&outside), before);
        let _ = fs::remove_file(&root);
        let _ = fs::remove_dir_all(&root);
    }
}

#[test]
fn a_directory_above_the_root_that_others_may_write_to_is_refused() {
    let within = tempfile::tempdir().expect("a directory");
    let above = within.path().join("above");
    fs::create_dir_all(above.join("root")).expect("a directory");
    for (mode, is_refused) in [(0o755, false), (0o777, true), (0o775, true), (0o1777, false)] {
        fs::set_permissions(&above, fs::Permissions::from_mode(mode)).expect("a mode");
        let opened = Cache::open(above.join("root"));
        match opened {
            Ok(_) => assert!(!is_refused, "{mode:o}"),
            Err(error) => {
                assert!(is_refused, "{mode:o}: {error}");
                assert!(error.to_string().contains("chmod go-w"), "{error}");
            }
        }
    }
}
