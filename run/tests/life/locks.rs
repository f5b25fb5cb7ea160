//! Several guests, and several runners, in one root.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use capscache_run::{End, RootError, StartError};

use crate::kernel::POWER_OFF;
use crate::{Dir, ENTRY, answers, guest, guest_of, is_there};

/// The variable that names the root to a runner.
pub(crate) const ROOT: &str = "CAPSCACHE_TEST_ROOT";

/// The variable that names a file with the guest to a runner, which has one without devices otherwise.
pub(crate) const GUEST: &str = "CAPSCACHE_TEST_GUEST";

/// A runner for other tests: starts a guest, prints the number of the emulator, and waits. Does nothing by itself.
#[test]
fn runner() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let root = capscache_run::Root::new(root).unwrap();
    let given = std::env::var_os(GUEST).map(|path| std::fs::read_to_string(path).unwrap());
    let xml = given.unwrap_or_else(|| guest("kept"));
    let guest = capscache_domain::Guest::from_xml(&xml).unwrap();
    let prepared = capscache_run::Run::new(guest, root).prepare(&crate::entry()).unwrap();
    if std::env::var_os("CAPSCACHE_TEST_DETACH").is_some() {
        println!("pid {}", prepared.start_detached().unwrap().pid());
        return;
    }
    let running = prepared.start().unwrap();
    println!("pid {}", running.pid());
    running.wait();
}

/// Starts a runner, and returns it with the number of its emulator and its output.
pub(crate) fn start_runner(
    dir: &Dir,
    configure: impl FnOnce(&mut Command),
) -> (Child, i32, BufReader<ChildStdout>) {
    std::fs::write(dir.path("entry"), answers()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "locks::runner", "--nocapture"]).stdout(Stdio::piped());
    command.env(ENTRY, dir.path("entry")).env(ROOT, dir.path("root"));
    configure(&mut command);
    let mut runner = command.spawn().unwrap();
    let mut output = BufReader::new(runner.stdout.take().unwrap());
    let pid = output.by_ref().lines().find_map(|line| {
        let line = line.unwrap();
        line.split_once("pid ").map(|(_, pid)| pid.trim().parse().unwrap())
    });
    (runner, pid.unwrap(), output)
}

fn is_refused(error: &StartError) -> bool {
    matches!(error, StartError::Root(RootError::Running { name, .. }) if name == "kept")
}

#[test]
fn a_second_start_of_a_name_is_refused_while_the_first_one_runs() {
    let dir = Dir::new();
    let running = dir.start(&guest("kept"));
    let error = dir.prepare(&guest("kept")).start().unwrap_err();
    assert!(is_refused(&error), "{error:?}");
    let other = dir.start(&guest("other"));
    running.quit();
    assert_eq!(running.wait(), End::Quit);
    let again = dir.start(&guest("kept"));
    assert!(is_there(again.pid()) && is_there(other.pid()));
}

#[test]
fn another_process_is_refused_too_and_after_its_death_nothing_is_left() {
    let dir = Dir::new();
    let (mut runner, pid, _output) = start_runner(&dir, |_| ());
    let error = dir.prepare(&guest("kept")).start().unwrap_err();
    assert!(is_refused(&error), "{error:?}");
    let stale = dir.files();
    assert!(stale.contains(&"run/guest/kept/monitor.sock".to_owned()), "{stale:?}");
    runner.kill().unwrap();
    runner.wait().unwrap();
    // Not before the emulator has ended, which the kernel kills.
    let mut running = dir.prepare(&guest_of("kept", &dir.kernel(POWER_OFF), "")).start().unwrap();
    assert!(!is_there(pid) || is_zombie(pid));
    while running.next_event().is_some() {}
    assert_eq!(running.wait(), End::ShutDown);
    assert!(!dir.files().contains(&"run/guest/kept".to_owned()), "{:?}", dir.files());
}

#[test]
fn a_lock_that_only_a_process_of_a_killed_runner_still_holds_is_waited_for() {
    let dir = Dir::new();
    let (mut runner, _, _output) = start_runner(&dir, |_| ());
    let path = dir.path("root/run/lock/kept.runner");
    runner.kill().unwrap();
    runner.wait().unwrap();
    // As a process holds it that the runner forked, and that has not executed the emulator yet.
    let file = std::fs::File::open(&path).unwrap();
    test_support::wait_until("it is free", || file.try_lock().is_ok());
    let start = std::thread::spawn(move || dir.prepare(&guest("kept")).start().map(|_| dir));
    std::thread::sleep(std::time::Duration::from_millis(200));
    file.unlock().unwrap();
    start.join().unwrap().unwrap();
}

/// Returns true for a process that has ended, but that its parent, here that of orphans, has not reaped.
pub(crate) fn is_zombie(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.contains(") Z ")
}

#[test]
fn a_detached_guest_outlives_its_runner_and_keeps_its_name() {
    let dir = Dir::new();
    let (mut runner, pid, _output) = start_runner(&dir, |command| {
        command.env("CAPSCACHE_TEST_DETACH", "1");
    });
    assert!(runner.wait().unwrap().success());
    assert!(is_there(pid) && !is_zombie(pid));
    let error = dir.prepare(&guest("kept")).start().unwrap_err();
    assert!(is_refused(&error), "{error:?}");
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    test_support::wait_until("the name is free", || dir.prepare(&guest("kept")).start().is_ok());
}

#[test]
fn a_detached_guest_that_powers_off_ends_its_emulator() {
    let dir = Dir::new();
    let detached =
        dir.prepare(&guest_of("alone", &dir.kernel(POWER_OFF), "")).start_detached().unwrap();
    // In this test the emulator is a child, which this process does not reap.
    let pid = detached.pid();
    test_support::wait_until("the emulator ended", || is_zombie(pid));
    let restart = guest_of("alone", "", "<on_poweroff>restart</on_poweroff>");
    let error = dir.prepare(&restart).start_detached().unwrap_err();
    assert!(error.to_string().contains("restart needs a runner"), "{error}");
}
