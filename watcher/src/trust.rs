//! Who could have written what is about to be run.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capscache::{Dependency, Escaped, is_root_or_unmapped};

use crate::route::Route;

/// Somebody else than root and the user of this process could have put there what is at a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {}: it is not run in the background", Escaped::new(path), Escaped::new(why))]
pub struct Untrusted {
    /// The file, or the directory or link on the way to it.
    pub path: PathBuf,
    /// Who, and how.
    pub why: String,
}

/// Checks with [`check_trusted`] all that probing an emulator may run: the emulator, what it names now
/// if it is a script, and what it ran and loaded before. Returns whether that is surely all, as
/// [`Dependency::of_unprobed`] does.
///
/// # Errors
/// [`Untrusted`] for the first that somebody else could have written.
pub fn check_probe(emulator: &Path, ran_before: &[Dependency]) -> Result<bool, Untrusted> {
    let (named, are_all) = Dependency::of_unprobed(emulator);
    named.iter().chain(ran_before).try_for_each(|runs| check_trusted(runs.path()))?;
    Ok(are_all)
}

/// Checks that nobody but root and the user of this process could have put there what is at a path,
/// or put something else in its place: the file itself, every directory on the way to it, and every
/// link. Nothing at the path is no error, as long as nobody else could put something there.
///
/// In a directory where anybody may make files and nobody may remove those of others, such as `/tmp`,
/// what belongs to these two is trusted. In a user namespace root is also whoever has no number there
/// ([`is_root_or_unmapped`]), but not in such a directory.
///
/// # Errors
/// [`Untrusted`] for the first on the way that somebody else could have changed.
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
            // Nobody without a number in this namespace counts as root where anybody may make files.
            Ok(status_inside) if status.mode() & 0o1000 != 0 => {
                check_owned_by(|owner| owner == 0, &inside, &status_inside)?;
            }
            _ => return Err(writable(directory, &status)),
        }
    }
    if let Some(path) = route.closed {
        let why = "may not be searched, so nobody knows what is in it".into();
        return Err(Untrusted { path, why });
    }
    let Some(end) = route.end else { return Ok(()) };
    match fs::symlink_metadata(&end) {
        // What is opened and not run, such as /dev/kvm, may be anybody's to open.
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
    fn a_file_is_trusted_if_nobody_else_can_write_it_or_anything_on_the_way() {
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
    fn in_a_directory_for_everybody_what_is_ours_is_trusted_and_what_is_not_there_is_not() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        mode(&root, 0o1777);
        let file = root.join("qemu");
        assert_eq!(check_trusted(&file).unwrap_err().path, root);
        fs::write(&file, "").unwrap();
        mode(&file, 0o755);
        check_trusted(&file).unwrap();
        if chown(&file, Some(12345), None).is_err() {
            println!("SKIPPED: not root, so no file belongs to anybody else");
            return;
        }
        let untrusted = check_trusted(&file).unwrap_err();
        assert_eq!((untrusted.path, untrusted.why), (file, "belongs to the user 12345".into()));
    }

    #[test]
    fn nodes_that_are_opened_and_not_run_may_be_anybodys() {
        check_trusted(Path::new("/dev/null")).unwrap();
        check_trusted(Path::new("/nowhere/at/all")).unwrap();
    }
}
