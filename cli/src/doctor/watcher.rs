//! The watcher: whether one runs, and whether one could watch.

use std::fs;

use rustix::fs::inotify;
use rustix::io::Errno;

use super::Check;
use crate::host;
use crate::output::chain;

const PART: &str = "watcher";

pub(super) fn check() -> Vec<Check> {
    vec![check_limits(), check_processes(&host::watchers())]
}

/// Makes an inotify instance and a watch of this user, and removes them again.
fn check_limits() -> Check {
    let limit = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}"));
        text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    };
    let limits = format!(
        "at most {} watches and {} instances of inotify for each user",
        limit("max_user_watches"),
        limit("max_user_instances")
    );
    let flags = inotify::CreateFlags::CLOEXEC;
    let watched = inotify::init(flags)
        .and_then(|fd| inotify::add_watch(fd, "/", inotify::WatchFlags::DELETE_SELF).map(drop));
    judge_limits(limits, watched)
}

fn judge_limits(limits: String, watched: Result<(), Errno>) -> Check {
    let raise = |name: &str| format!("raise `fs.inotify.{name}` with `sysctl`");
    match watched {
        Ok(()) => Check::ok(PART, limits),
        Err(Errno::NOSPC) => {
            let found =
                format!("no watch is left: {limits}; a watcher checks all every 30 s instead");
            Check::warning(PART, found, raise("max_user_watches"))
        }
        Err(Errno::MFILE) => {
            let found =
                format!("no instance is left: {limits}; a watcher checks all every 30 s instead");
            Check::warning(PART, found, raise("max_user_instances"))
        }
        Err(error) => {
            let error = chain(&std::io::Error::from(error));
            let found =
                format!("inotify does not work: {error}; a watcher checks all every 30 s instead");
            Check::warning(
                PART,
                found,
                "permit inotify, which the kernel or a filter of system calls refuses",
            )
        }
    }
}

fn check_processes(processes: &[u32]) -> Check {
    let absent = || {
        "not running, which is fine: each lookup checks its entry, and waits for a probe if that is stale".to_owned()
    };
    Check::ok(PART, host::running(processes).unwrap_or_else(absent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn the_remedy_names_the_limit_that_is_reached() {
        let judge = |error| judge_limits("limits".to_owned(), Err(error));
        assert_eq!(judge_limits("limits".to_owned(), Ok(())).state, State::Ok);
        for (error, name) in [
            (Errno::NOSPC, "fs.inotify.max_user_watches"),
            (Errno::MFILE, "fs.inotify.max_user_instances"),
        ] {
            let check = judge(error);
            assert_eq!(check.state, State::Warning);
            assert!(check.remedy.clone().unwrap().contains(name), "{check:?}");
        }
    }
}
