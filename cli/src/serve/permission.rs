//! Who may have what done.
//!
//! Everybody who can connect reads. The service never runs a file for somebody who could have
//! written it: it is run for root and for the service's own user, or if nobody but root could have.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// How many links are followed, as the kernel counts.
const MOST_LINKS: usize = 40;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) uid: u32,
    /// Root, or the service's own user.
    pub(super) is_privileged: bool,
}

impl Caller {
    pub(super) fn new(uid: u32) -> Caller {
        let own = rustix::process::geteuid().as_raw();
        Caller { uid, is_privileged: uid == 0 || uid == own }
    }
}

/// Refuses, saying why, a file that somebody else than root could have put where it is: one that does
/// not belong to root or that others may write to, or below a directory of which the same is true.
/// Links are followed by hand, so that the directories count that are really gone through.
pub(super) fn only_root_could_write(path: &Path) -> Result<(), String> {
    let mut at = PathBuf::from("/");
    check(&at)?;
    let mut left = names(path);
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let status = look(&next)?;
        if status.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(format!("{} has too many links", path.display()));
            }
            let target = fs::read_link(&next).map_err(|error| told(&next, &error))?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for name in names(&target).into_iter().rev() {
                left.push_front(name);
            }
        } else {
            check(&next)?;
            at = next;
        }
    }
    if look(&at)?.is_file() { Ok(()) } else { Err(format!("{} is no file", at.display())) }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

fn check(path: &Path) -> Result<(), String> {
    let status = look(path)?;
    if status.uid() != 0 {
        return Err(format!("{} does not belong to root", path.display()));
    }
    // Whoever is in the file's access control list shows in the bits of the group.
    if status.mode() & 0o022 != 0 {
        return Err(format!("{} can be written by others than root", path.display()));
    }
    Ok(())
}

fn look(path: &Path) -> Result<fs::Metadata, String> {
    fs::symlink_metadata(path).map_err(|error| told(path, &error))
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn an_installed_program_is_one_that_only_root_could_have_written() {
        only_root_could_write(Path::new("/usr/bin/env")).unwrap();
        // Through a link, where /bin is one.
        only_root_could_write(Path::new("/bin/../bin/sh")).unwrap();
    }

    #[test]
    fn what_lies_below_a_directory_of_everybody_is_refused_however_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let link = directory.path().join("link");
        symlink("/usr/bin/env", &link).unwrap();
        for path in
            [&program, &link, &Path::new("/usr/..").join(program.strip_prefix("/").unwrap())]
        {
            let why = only_root_could_write(path).unwrap_err();
            assert!(why.contains("others than root") || why.contains("belong to root"), "{why}");
        }
    }

    #[test]
    fn a_link_that_leads_to_itself_is_refused() {
        let directory = tempfile::tempdir_in("/").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        let link = directory.path().join("link");
        symlink(&link, &link).unwrap();
        only_root_could_write(&link).unwrap_err();
    }

    #[test]
    fn a_directory_is_no_program() {
        let why = only_root_could_write(Path::new("/usr/bin")).unwrap_err();
        assert!(why.ends_with("is no file"), "{why}");
    }

    #[test]
    fn root_and_the_own_user_are_privileged_and_nobody_else_is() {
        let own = rustix::process::geteuid().as_raw();
        assert!(Caller::new(0).is_privileged && Caller::new(own).is_privileged);
        assert!(!Caller::new(own + 1).is_privileged);
    }
}
