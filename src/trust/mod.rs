//! The users whose files are trusted, and the checks that no other user could have written a file.
//!
//! Answers that another user could have put into a cache are not used, and an emulator that another user could
//! have replaced is not started in the background.

mod owner;
mod path_walk;

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capscache_format::Escaped;
use rustix::fs::{FileType, Stat};

use crate::error::Error;

pub use self::owner::is_root_or_unmapped;
pub use self::path_walk::PathWalk;

/// The permission of a directory in which users may not remove the files of other users.
const STICKY: u32 = 0o1000;

/// A file, or a directory or link on the way to it, that another user could have put there or replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot run the emulator in the background: {} {distrust}", Escaped::new(path))]
#[non_exhaustive]
pub struct Untrusted {
    /// The file, directory or link.
    pub path: PathBuf,
    /// The reason.
    pub distrust: Distrust,
}

/// The reason why a file is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Distrust {
    /// It belongs to another user.
    Owner(u32),
    /// Its mode, the lower twelve bits, permits other users to write to it.
    Writable(u32),
    /// This process may not search the directory.
    NotSearchable,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distrust::Owner(owner) => write!(f, "belongs to the user {owner}"),
            Distrust::Writable(mode) => {
                write!(f, "can be written by others (its mode is {mode:o})")
            }
            Distrust::NotSearchable => {
                f.write_str("may not be searched, so its content is unknown")
            }
        }
    }
}

impl From<Untrusted> for Error {
    fn from(Untrusted { path, distrust }: Untrusted) -> Error {
        let why = match distrust {
            Distrust::Owner(owner) => format!(
                "it belongs to the user {owner}, who is neither root nor you; trust that user by name, or \
                 use another root"
            ),
            Distrust::Writable(mode) => format!(
                "its mode {mode:o} lets others write to it; `chmod go-w` it, or use a directory in it that \
                 only you may write to"
            ),
            Distrust::NotSearchable => format!("it {distrust}; use another root"),
        };
        Error::Unsafe { path, why }
    }
}

/// Returns whether this process may not examine the file at a path: other processes may, and for them an
/// entry may hold.
pub fn is_inaccessible(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Checks that only root and the user of this process could have put the file at a path there, or replaced
/// it: the file itself, every directory on the way to it, and every link. An absent file is not an error, as
/// long as no other user could create it.
///
/// In a directory where every user may create files and not remove those of others, such as `/tmp`, files
/// of these two users are trusted. In a user namespace root is also the user that all users without a number
/// there appear as ([`is_root_or_unmapped`]), but not in such a directory.
///
/// # Errors
/// [`Untrusted`] for the first on the way that another user could have changed.
pub fn check_trusted(path: &Path) -> Result<(), Untrusted> {
    let trust = Trust::new(None);
    let walk = PathWalk::of(path);
    trust.check_walk(&walk, Absent::Refused)?;
    if let Some(path) = walk.unsearchable {
        return Err(Untrusted { path, distrust: Distrust::NotSearchable });
    }
    let Some(end) = walk.end else { return Ok(()) };
    match fs::symlink_metadata(&end) {
        // A file that is opened and not run, such as /dev/kvm, may belong to any user.
        Ok(status) if status.is_file() || status.is_dir() => {
            let is_trusted = trust.is_trusted_above(status.uid());
            check(is_trusted, &end, status.uid(), status.mode())
        }
        _ => Ok(()),
    }
}

/// The users whose files are trusted: the effective user of this process, root, and one that the caller names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust {
    reader: u32,
    named: Option<u32>,
}

/// The result for a file that is absent where every user may create files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// Trusted: this process creates it.
    Trusted,
    /// Refused: another user may create it.
    Refused,
}

impl Trust {
    pub(crate) fn new(named: Option<u32>) -> Trust {
        Trust { reader: rustix::process::geteuid().as_raw(), named }
    }

    /// Returns whether the files of a user are trusted.
    pub(crate) fn is_trusted(self, owner: u32) -> bool {
        owner == 0 || owner == self.reader || Some(owner) == self.named
    }

    /// Returns whether [`Trust::is_trusted`] or [`is_root_or_unmapped`] holds: for a directory or file that
    /// only a trusted user can have created.
    fn is_trusted_above(self, owner: u32) -> bool {
        self.is_trusted(owner) || is_root_or_unmapped(owner)
    }

    /// Checks that no other user can put another directory in place of a root: each directory on the
    /// way to it has to belong to a trusted user, and no other user may write to it. In one where users may
    /// not rename the files of others, such as `/tmp`, the next one on the way has to belong to a
    /// trusted user; one that is absent is created by this process.
    ///
    /// # Errors
    /// [`Untrusted`] for the first on the way that another user could have changed.
    pub(crate) fn check_way_to(self, root: &Path) -> Result<(), Untrusted> {
        self.check_walk(&PathWalk::of(root), Absent::Trusted)
    }

    /// Checks an opened file or directory of a cache.
    ///
    /// # Errors
    /// [`Untrusted`] for one that belongs to another user, or that other users may write to.
    pub(crate) fn check(self, path: &Path, status: &Stat) -> Result<(), Untrusted> {
        check(self.is_trusted(status.st_uid), path, status.st_uid, status.st_mode)
    }

    fn check_walk(self, walk: &PathWalk, absent: Absent) -> Result<(), Untrusted> {
        for (directory, name) in &walk.steps {
            let Ok(status) = rustix::fs::lstat(directory) else { break };
            let is_trusted = self.is_trusted_above(status.st_uid);
            let checked = check(is_trusted, directory, status.st_uid, status.st_mode);
            let is_sticky = is_trusted && status.st_mode & STICKY != 0;
            if checked.is_ok() || !is_sticky {
                checked?;
                continue;
            }
            let inside = directory.join(name);
            match rustix::fs::lstat(&inside) {
                Ok(below) if self.is_trusted(below.st_uid) => {}
                Ok(below) => {
                    let distrust = Distrust::Owner(below.st_uid);
                    return Err(Untrusted { path: inside, distrust });
                }
                Err(_) if absent == Absent::Trusted => {}
                Err(_) => checked?,
            }
        }
        Ok(())
    }
}

fn check(is_trusted: bool, path: &Path, owner: u32, mode: u32) -> Result<(), Untrusted> {
    let distrust = if !is_trusted {
        Distrust::Owner(owner)
    } else if mode & 0o022 != 0 && FileType::from_raw_mode(mode) != FileType::Symlink {
        Distrust::Writable(mode & 0o7777)
    } else {
        return Ok(());
    };
    Err(Untrusted { path: path.into(), distrust })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_trusted_if_no_other_user_can_write_it_or_a_directory_on_the_way() {
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
    fn in_a_directory_for_all_users_an_own_file_is_trusted_and_an_absent_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        mode(&root, 0o1777);
        let file = root.join("qemu");
        assert_eq!(check_trusted(&file).unwrap_err().path, root);
        fs::write(&file, "").unwrap();
        mode(&file, 0o755);
        check_trusted(&file).unwrap();
        if chown(&file, Some(12345), None).is_err() {
            println!("SKIPPED: not root, so no file belongs to another user");
            return;
        }
        let untrusted = check_trusted(&file).unwrap_err();
        assert_eq!(untrusted.path, file);
        assert_eq!(untrusted.distrust.to_string(), "belongs to the user 12345");
    }

    #[test]
    fn nodes_that_are_opened_and_not_run_may_belong_to_any_user() {
        check_trusted(Path::new("/dev/null")).unwrap();
        check_trusted(Path::new("/nowhere/at/all")).unwrap();
    }

    #[test]
    fn files_of_root_of_the_reader_and_of_a_named_user_are_trusted_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let mut status = rustix::fs::stat(directory.path()).unwrap();
        let trust = Trust { reader: 1000, named: Some(64055) };
        for (owner, trusted) in [(0, true), (1000, true), (64055, true), (1001, false)] {
            status.st_uid = owner;
            assert_eq!(trust.check(directory.path(), &status).is_ok(), trusted, "{owner}");
        }
    }
}
