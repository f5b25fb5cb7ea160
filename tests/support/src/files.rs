use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Writes an executable file, in place if it exists: its inode stays.
pub fn write_program(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Writes an executable file and renames it over `path`, as package managers do.
pub fn replace_program(path: &Path, content: impl AsRef<[u8]>) {
    let mut new = path.as_os_str().to_owned();
    new.push(".dpkg-new");
    write_program(new.as_ref(), content);
    fs::rename(new, path).expect("a rename");
}

/// Waits until a lookup can rely on the change time of a file, which cannot be set.
pub fn age(path: &Path) {
    let status = fs::metadata(path).expect("a file");
    let changed = UNIX_EPOCH + Duration::from_secs(status.ctime().try_into().expect("a time"));
    while changed.elapsed().is_ok_and(|age| age < Duration::from_millis(3001)) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns a path as text.
pub fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
