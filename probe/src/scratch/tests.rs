use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

/// Returns the names in a directory, sorted.
fn content(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Releases the lock and leaves the directory, like a prober that is killed.
fn abandon(mut scratch: Scratch) -> PathBuf {
    drop(scratch.made.take());
    scratch.path().to_owned()
}

/// Nests directories deeper than any path may be.
fn nest(top: &Path, depth: usize) {
    let mut current = rustix::fs::open(top, DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&current, "d", Mode::RWXU).unwrap();
        current = rustix::fs::openat(&current, "d", DIRECTORY, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    rustix::fs::openat(&current, "file", flags, Mode::RUSR).unwrap();
}

#[test]
fn a_directory_is_private_and_removed_with_the_probe() {
    let within = tempfile::tempdir().unwrap();
    let scratch = Scratch::new(within.path(), None);
    let status = fs::metadata(scratch.path()).unwrap();
    assert!(status.is_dir());
    assert_eq!(status.permissions().mode() & 0o7777, 0o700);
    assert_eq!(scratch.path().parent(), Some(within.path()));
    drop(scratch);
    assert_eq!(content(&within), [""; 0]);
}

#[test]
fn everything_that_an_emulator_left_in_it_is_removed_and_nothing_else() {
    // Thousands of directories are slow on some disks.
    let within = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let outside = within.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "").unwrap();
    let scratch = Scratch::new(within.path(), None);
    fs::write(scratch.path().join("file"), "text").unwrap();
    std::os::unix::fs::symlink(&outside, scratch.path().join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, scratch.path().join("pipe"), Mode::RWXU).unwrap();
    fs::create_dir_all(scratch.path().join("a/b/c")).unwrap();
    fs::write(scratch.path().join("a/b/file"), "text").unwrap();
    // A name that is used for what is moved up.
    fs::create_dir_all(scratch.path().join(format!("{PREFIX}0/full"))).unwrap();
    nest(scratch.path(), 5000);
    drop(scratch);
    assert_eq!(content(&within), ["outside"]);
    assert!(outside.join("kept").exists());
}

#[test]
fn the_directory_of_a_killed_prober_is_removed_by_the_next_one() {
    let within = tempfile::tempdir().unwrap();
    let alive = Scratch::new(within.path(), None);
    let left = abandon(Scratch::new(within.path(), None));
    fs::write(left.join("file"), "text").unwrap();
    fs::create_dir(within.path().join("another")).unwrap();
    let next = Scratch::new(within.path(), None);
    assert!(!left.exists());
    assert!(alive.path().exists() && next.path().exists());
    assert_eq!(content(&within).len(), 3);
}

#[test]
fn where_no_directory_can_be_made_the_path_does_not_exist() {
    let within = tempfile::tempdir().unwrap();
    let scratch = Scratch::new(&within.path().join("nowhere"), None);
    assert!(scratch.path().starts_with(within.path()) && !scratch.path().exists());
    drop(scratch);
    assert_eq!(content(&within), [""; 0]);
}
