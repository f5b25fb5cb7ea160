//! Whose files are believed: answers that somebody else could have put there are no answers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use capscache_format::Escaped;
use rustix::fs::{FileType, Mode, Stat};

use crate::error::Error;
use crate::owner::is_root_or_unmapped;

/// The users whose files are believed: this process', root, and one that the caller names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust {
    reader: u32,
    named: Option<u32>,
}

impl Trust {
    pub(crate) fn new(named: Option<u32>) -> Trust {
        Trust { reader: rustix::process::geteuid().as_raw(), named }
    }

    /// Whether the files of a user are trusted.
    pub(super) fn is_trusted(self, owner: u32) -> bool {
        owner == 0 || owner == self.reader || Some(owner) == self.named
    }

    /// Refuses a root above which somebody else could put another directory in its place: each directory on
    /// the way to it, by its path and with links followed, has to belong to a trusted user, and nobody else
    /// may write to it. In one where nobody may rename what belongs to others, such as `/tmp`, what is below
    /// has to belong to a trusted user; what is not there yet will.
    pub(super) fn check_parents(self, root: &Path) -> Result<(), Error> {
        self.check_way_to(root)?;
        match root.ancestors().find_map(|path| path.canonicalize().ok()) {
            // The same way, without a link on it.
            Some(there) if root.starts_with(&there) => Ok(()),
            Some(there) => self.check_way_to(&there),
            None => Ok(()),
        }
    }

    fn check_way_to(self, path: &Path) -> Result<(), Error> {
        for inside in path.ancestors() {
            let Some(parent) = inside.parent() else { return Ok(()) };
            let Ok(status) = rustix::fs::stat(parent) else { continue };
            if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
                // Nothing can be reached through it.
                continue;
            }
            let is_sticky = Mode::from_raw_mode(status.st_mode).contains(Mode::SVTX);
            let below = rustix::fs::lstat(inside).map(|below| below.st_uid);
            let is_trusted = self.is_trusted(status.st_uid) || is_root_or_unmapped(status.st_uid);
            if is_sticky && is_trusted {
                match below {
                    Ok(owner) if !self.is_trusted(owner) => {
                        let why =
                            format!("{} in it belongs to the user {owner}", Escaped::new(inside));
                        return Err(Error::Unsafe { path: parent.into(), why });
                    }
                    _ => continue,
                }
            }
            check(is_trusted, parent, &status)?;
        }
        Ok(())
    }

    /// Refuses an entry that somebody else could have written.
    pub(crate) fn check_entry(self, path: &Path, status: &Stat) -> Result<(), Error> {
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
            return Err(Error::Entry {
                action: "read",
                path: path.into(),
                source: Arc::new(source),
            });
        }
        self.check(path, status)
    }

    /// Refuses what belongs to somebody else, or what somebody else may write to.
    pub(super) fn check(self, path: &Path, status: &Stat) -> Result<(), Error> {
        check(self.is_trusted(status.st_uid), path, status)
    }
}

fn check(is_trusted: bool, path: &Path, status: &Stat) -> Result<(), Error> {
    let owner = status.st_uid;
    let why = if !is_trusted {
        format!(
            "it belongs to the user {owner}, who is neither root nor you: trust that user by name, or use \
             another root"
        )
    } else if Mode::from_raw_mode(status.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        let mode = status.st_mode & 0o7777;
        format!(
            "its mode {mode:o} lets others write to it: `chmod go-w` it, or use a directory in it that only \
             you may write to"
        )
    } else {
        return Ok(());
    };
    Err(Error::Unsafe { path: path.into(), why })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let trust = Trust::new(None);
        for mode in [0o700, 0o755, 0o775, 0o757, 0o1777] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            let status = rustix::fs::stat(directory.path()).unwrap();
            let checked = trust.check(directory.path(), &status);
            if mode & 0o022 == 0 {
                checked.unwrap();
            } else {
                let message = checked.unwrap_err().to_string();
                assert!(message.contains(&format!("its mode {mode:o} lets")), "{message}");
                assert!(message.contains("chmod go-w"), "{message}");
            }
        }
    }

    #[test]
    fn files_of_root_of_the_reader_and_of_a_named_user_are_believed_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let mut status = rustix::fs::stat(directory.path()).unwrap();
        let trust = Trust { reader: 1000, named: Some(64055) };
        for (owner, believed) in [(0, true), (1000, true), (64055, true), (1001, false)] {
            status.st_uid = owner;
            assert_eq!(trust.check(directory.path(), &status).is_ok(), believed, "{owner}");
        }
    }
}
