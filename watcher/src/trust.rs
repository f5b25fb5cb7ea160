//! Checks that no untrusted user could have written a file that is about to be run.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capscache::{Dependency, Escaped, is_root_or_unmapped};

use crate::route::Route;

/// A user other than root and the one of this process could have written a file or replaced it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {}: it is not run in the background", Escaped::new(path), Escaped::new(why))]
pub struct Untrusted {
    /// The file, or the directory or link on the way to it.
    pub path: PathBuf,
    /// The user, or the permissions, as a predicate of the path.
    pub why: String,
}

/// Checks with [`check_trusted`] all files that probing an emulator may run: the emulator, the files that
/// it names now if it is a script, and those that it ran and loaded before. Returns whether these are
/// certainly all, as [`Dependency::of_unprobed`] does.
///
/// # Errors
/// [`Untrusted`] for the first file that another user could have written.
pub fn check_probe(emulator: &Path, ran_before: &[Dependency]) -> Result<bool, Untrusted> {
    let (named, are_all) = Dependency::of_unprobed(emulator);
    named.iter().chain(ran_before).try_for_each(|runs| check_trusted(runs.path()))?;
    Ok(are_all)
}

/// Checks that only root and the user of this process could have written the file at a path or put
/// another one in its place: the file itself, every directory on the route to it, and every link. A path
/// without a file is not an error, unless another user could create one there.
///
/// In a sticky directory that all users may write to, such as `/tmp`, files of these two are trusted. In
/// a user namespace users that are not mapped count as root ([`is_root_or_unmapped`]), but not in such a
/// directory.
///
/// # Errors
/// [`Untrusted`] for the first step of the route that another user could have changed.
pub fn check_trusted(path: &Path) -> Result<(), Untrusted> {
    let route = Route::to(path);
    for (directory, name) in &route.steps {
        let Ok(status) = fs::symlink_metadata(directory) else { break };
        check_owner(directory, &status)?;
        if !is_writable_by_others(&status) {
            continue;
        }
        let inside = directory.join(name);
        match fs::symlink_metadata(&inside) {
            // An unmapped user does not count as root where all users may create files.
            Ok(status_inside) if status.mode() & 0o1000 != 0 => {
                check_owned_by(|owner| owner == 0, &inside, &status_inside)?;
            }
            _ => return Err(writable(directory, &status)),
        }
    }
    if let Some(path) = route.closed {
        let why = "may not be searched, so its content cannot be checked".into();
        return Err(Untrusted { path, why });
    }
    let Some(end) = route.end else { return Ok(()) };
    match fs::symlink_metadata(&end) {
        // A device node such as /dev/kvm is opened and not run: all users may have write permission.
        Ok(status) if status.is_file() || status.is_dir() => {
            check_owner(&end, &status)?;
            if is_writable_by_others(&status) { Err(writable(&end, &status)) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn check_owner(path: &Path, status: &Metadata) -> Result<(), Untrusted> {
    check_owned_by(is_root_or_unmapped, path, status)
}

fn check_owned_by(
    is_root: impl Fn(u32) -> bool,
    path: &Path,
    status: &Metadata,
) -> Result<(), Untrusted> {
    let owner = status.uid();
    if is_root(owner) || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Untrusted { path: path.into(), why: format!("belongs to the user {owner}") })
}

fn is_writable_by_others(status: &Metadata) -> bool {
    status.mode() & 0o022 != 0
}

fn writable(path: &Path, status: &Metadata) -> Untrusted {
    let why = format!("can be written by others (its mode is {:o})", status.mode() & 0o7777);
    Untrusted { path: path.into(), why }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_trusted_if_no_other_user_can_write_it_or_anything_on_the_route() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (directory, file, link) = (root.join("bin"), root.join("bin/qemu"), root.join("link"));
        fs::create_dir(&directory).unwrap();
        fs::write(&file, "").unwrap();
        symlink("bin/qemu", &link).unwrap();
        mode(&file, 0o755);
        check_trusted(&link).unwrap();

        mode(&file, 0o775);
        assert_eq!(check_trusted(&link).unwrap_err().path, file);
        mode(&file, 0o755);
        mode(&directory, 0o777);
        let untrusted = check_trusted(&link).unwrap_err();
        assert_eq!(untrusted.path, directory);
        assert!(untrusted.to_string().contains("its mode is 777"), "{untrusted}");
    }

    #[test]
    fn in_a_sticky_directory_own_files_are_trusted_and_missing_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        mode(&root, 0o1777);
        let file = root.join("qemu");
        assert_eq!(check_trusted(&file).unwrap_err().path, root);
        fs::write(&file, "").unwrap();
        mode(&file, 0o755);
        check_trusted(&file).unwrap();
        if chown(&file, Some(12345), None).is_err() {
            println!("SKIPPED: not root, so no file can belong to another user");
            return;
        }
        let untrusted = check_trusted(&file).unwrap_err();
        assert_eq!((untrusted.path, untrusted.why), (file, "belongs to the user 12345".into()));
    }

    #[test]
    fn device_nodes_may_be_writable_by_all_users() {
        check_trusted(Path::new("/dev/null")).unwrap();
        check_trusted(Path::new("/nowhere/at/all")).unwrap();
    }
}
