//! The directory of the cache: owner, mode, space, and whether it can be used.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use capscache::Escaped;

use super::Check;
use super::users;
use crate::output::chain;
use crate::session::{Session, is_writable};
use crate::source::Source;

const PART: &str = "root";

/// Space that a warm cache of all emulators does not exceed; with less, entries may not be stored.
const SPACE_BYTES: u64 = 64 << 20;

pub(super) fn check(root: &Path) -> Vec<Check> {
    let name = Escaped::new(root);
    let status = match fs::metadata(root) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return vec![Check::ok(
                PART,
                format!("{name} does not exist yet: the first probe creates it"),
            )];
        }
        Err(error) => {
            let found = format!("cannot stat {name}: {}", chain(&error));
            return vec![Check::failure(
                PART,
                found,
                "give another one with --root DIR".to_owned(),
            )];
        }
    };
    if !status.is_dir() {
        let remedy = "give another root with --root DIR".to_owned();
        return vec![Check::failure(PART, format!("{name} is not a directory"), remedy)];
    }
    let (owner, group) = (users::name(status.uid()), users::group(status.gid()).name);
    let mode = status.mode() & 0o7777;
    vec![Check::ok(PART, format!("{name} is {owner}:{group}, mode {mode:o}")), check_space(root)]
}

fn check_space(root: &Path) -> Check {
    let space = match rustix::fs::statvfs(root) {
        Ok(space) => space,
        Err(error) => {
            let found =
                format!("cannot find out the free space: {}", chain(&io::Error::from(error)));
            return Check::warning(
                PART,
                found,
                "check the file system: `df` and `findmnt` show it",
            );
        }
    };
    judge_space(
        space.f_bavail.saturating_mul(space.f_frsize),
        space.f_files == 0 || space.f_favail > 0,
    )
}

fn judge_space(free_bytes: u64, has_inodes: bool) -> Check {
    let found = format!("{} MB are free", free_bytes / 1_000_000);
    let remedy = "free space on the file system: `df` and `df -i` show which is full".to_owned();
    if !has_inodes {
        Check::failure(PART, "no inodes are free", remedy)
    } else if free_bytes == 0 {
        Check::failure(PART, "no space is free", remedy)
    } else if free_bytes < SPACE_BYTES {
        Check::warning(PART, found, remedy)
    } else {
        Check::ok(PART, found)
    }
}

/// Checks whether entries there are trusted and can be written, with the rights that the other commands have.
pub(super) fn check_access(session: &Session, source: &Result<Source>) -> Result<Vec<Check>> {
    Ok(vec![match source {
        Err(error) => Check::of_error(PART, error),
        Ok(Source::Service(..)) => Check::ok(PART, "the service reads and writes it for this user"),
        Ok(Source::Root(_)) if is_writable(&session.root()?) => {
            Check::ok(PART, "it is trusted, and this user may write to it")
        }
        Ok(Source::Root(_)) => {
            let remedy = "start the service, which writes for other users (`systemctl enable --now \
                          capscache.socket`), or give a root of your own with --root DIR";
            Check::warning(PART, "this user may not write to it: probes are not stored", remedy)
        }
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn little_space_is_a_warning_and_none_a_failure() {
        assert_eq!(judge_space(1 << 30, true).state, State::Ok);
        assert_eq!(judge_space(1 << 20, true).state, State::Warning);
        assert_eq!(judge_space(0, true).state, State::Failure);
        assert_eq!(judge_space(1 << 30, false).found, "no inodes are free");
    }
}
