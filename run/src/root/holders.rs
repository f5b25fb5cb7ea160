//! Lists of processes in the files of a lock: the runner in one, and those of its guest in the other. The first line names
//! the boot, each further line the number of a process and the time of its start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::stat::identity;

/// Bound on the size of the list.
const MAX_BYTES: usize = 16 << 10;

/// Starts a list, which is empty.
pub(super) fn start(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", boot()).as_bytes())
}

/// Starts a list of this process.
pub(super) fn start_with_own(file: &File) -> io::Result<()> {
    start(file)?;
    let own = line(&fs::read("/proc/self/stat")?).ok_or(io::ErrorKind::InvalidData)?;
    (&mut &*file).write_all(&[&own[..], b"\n"].concat())
}

/// Kills the processes of a list that still run.
pub(super) fn kill(file: &File) -> io::Result<()> {
    for process in running(file)? {
        // It fails if the process has ended, or is of another user.
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
    Ok(())
}

/// Returns whether a process of a list still runs.
pub(super) fn has_any(file: &File) -> io::Result<bool> {
    Ok(!running(file)?.is_empty())
}

/// Returns the processes of a list that still run.
fn running(file: &File) -> io::Result<Vec<OwnedFd>> {
    let mut content = vec![0; MAX_BYTES];
    let count = file.read_at(&mut content, 0)?;
    content.truncate(count);
    let text = String::from_utf8_lossy(&content);
    let mut lines = text.lines();
    if lines.next() != Some(&*boot()) {
        // It is empty, or its processes have ended with the system.
        return Ok(Vec::new());
    }
    Ok(lines.filter_map(find).collect())
}

/// Returns the line of a process, given its `/proc/PID/stat`.
fn line(stat: &[u8]) -> Option<Vec<u8>> {
    let (number, started) = identity(stat)?;
    Some([number, started].join(&b' '))
}

fn find(listed: &str) -> Option<OwnedFd> {
    let pid = Pid::from_raw(listed.split(' ').next()?.parse().ok()?)?;
    // The descriptor first: what is checked then is about the process of the descriptor, whatever has its number later.
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    let is_same = line(&stat)? == listed.as_bytes();
    // It can be read once the process has ended, though its parent has not waited for it (pidfd_open(2)).
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    let runs = poll(&mut ended, Some(&Timespec::default())) == Ok(0);
    (is_same && runs).then_some(process)
}

/// Returns the name of this boot.
fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_this_process_has_one_that_runs() {
        let list = tempfile::tempfile().unwrap();
        assert!(!has_any(&list).unwrap());
        start_with_own(&list).unwrap();
        assert!(has_any(&list).unwrap());
    }

    #[test]
    fn only_the_process_that_was_listed_is_killed() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let stat = fs::read(format!("/proc/{}/stat", child.id())).unwrap();
        let (pid, started) = identity(&stat).unwrap();
        assert_eq!(pid, child.id().to_string().as_bytes());
        let line = String::from_utf8([pid, started].join(&b' ')).unwrap();
        let list = tempfile::tempfile().unwrap();
        for (boot, process) in [("other", line.clone()), (&boot(), format!("{line}0"))] {
            list.set_len(0).unwrap();
            list.write_all_at(format!("{boot}\n{process}\n").as_bytes(), 0).unwrap();
            kill(&list).unwrap();
            assert_eq!(child.try_wait().unwrap(), None);
        }
        list.set_len(0).unwrap();
        list.write_all_at(format!("{}\n{line}\n", boot()).as_bytes(), 0).unwrap();
        assert!(has_any(&list).unwrap());
        kill(&list).unwrap();
        test_support::wait_until("it ended", || !has_any(&list).unwrap());
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }
}
