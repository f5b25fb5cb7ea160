//! Faults of the host and of a runner, after which the next start works and nothing is left.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capscache_run::{Deadlines, RootError, StartError, User};
use rustix::process::{Pid, Signal, kill_process};

use crate::locks::{ROOT, is_zombie};
use crate::{Dir, ENTRY, answers, entry, guest, guest_with, is_there};

/// The moments at which a runner is killed.
const KILLS: u64 = 200;

/// A sequence of pseudorandom numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Returns a runner of the guest `kept` in a process of its own.
fn runner(dir: &Dir, is_detached: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "locks::runner", "--nocapture"]);
    command.env(ENTRY, dir.path("entry")).env(ROOT, dir.path("root"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if is_detached {
        command.env("CAPSCACHE_TEST_DETACH", "1");
    }
    command
}

/// Returns the processes with a text in their arguments that have not ended.
fn processes(text: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().map(Result::unwrap);
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_text = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(text) && !is_zombie(*pid)
    };
    numbers.filter(has_text).collect()
}

fn kill(pid: i32) {
    // It fails if it has ended.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

/// Ends the emulator of a start that finished in its last moment: it is detached, and outlives the runner rightly.
fn end_detached(dir: &Dir, root: &str) {
    let state = fs::read(dir.path("root/run/lock/kept.runner")).unwrap_or_default();
    if state == b"detached\n" {
        let emulators = processes(root);
        emulators.iter().for_each(|pid| kill(*pid));
        // Its memory is freed before its lock is.
        let is_free = || {
            let lock = fs::File::open(dir.path("root/run/lock/kept.emulator"));
            lock.is_ok_and(|lock| lock.try_lock().is_ok())
        };
        test_support::wait_until("the emulator ended", || processes(root).is_empty() && is_free());
    }
}

#[test]
fn after_a_runner_was_killed_at_any_moment_the_next_start_works_and_nothing_is_left() {
    let dir = Dir::new();
    fs::write(dir.path("entry"), answers()).unwrap();
    let root = dir.path("root/run/guest/kept").to_str().unwrap().to_owned();
    let started = Instant::now();
    drop(dir.start(&guest("kept")));
    let longest =
        started.elapsed().mul_f64(1.3).clamp(Duration::from_millis(80), Duration::from_millis(250));
    let mut numbers = Numbers(20);
    let mut finished = 0;
    for number in 0..KILLS {
        let mut child = runner(&dir, number % 2 == 1).spawn().unwrap();
        let moment = longest.mul_f64((numbers.next() % 1000) as f64 / 1000.0);
        std::thread::sleep(moment);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("panicked"), "kill {number} after {moment:?}: {text}");
        finished += u64::from(String::from_utf8_lossy(&output.stdout).contains("pid "));
        end_detached(&dir, &root);
    }
    println!("{finished} of {KILLS} starts had finished");
    let running = dir.start(&guest("kept"));
    assert!(is_there(running.pid()));
    assert_eq!(processes(&root), [running.pid()]);
    drop(running);
    assert_eq!(processes(&root), [0; 0]);
    let left = dir.files();
    assert!(!left.iter().any(|file| file.starts_with("run/guest/")), "{left:?}");
}

/// Writes a program in place of an emulator that writes its number to a file, and hangs.
fn hanging(dir: &Dir) -> (String, PathBuf) {
    let (program, pid) = (dir.path("emulator"), dir.path("pid"));
    let script =
        format!("#!/bin/sh\necho $$ > {0}.new; mv {0}.new {0}\nexec sleep 1000\n", pid.display());
    test_support::write_program(&program, &script);
    (guest("kept").replace(&test_support::x86_64(), program.to_str().unwrap()), pid)
}

fn number_in(file: &Path) -> i32 {
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

#[test]
fn an_emulator_of_a_detached_start_that_did_not_finish_is_killed_by_the_next_start() {
    let dir = Dir::new();
    fs::write(dir.path("entry"), answers()).unwrap();
    let (xml, file) = hanging(&dir);
    fs::write(dir.path("guest"), xml).unwrap();
    let mut command = runner(&dir, true);
    let mut child = command.env(crate::locks::GUEST, dir.path("guest")).spawn().unwrap();
    test_support::wait_until("the emulator runs", || file.exists());
    let pid = number_in(&file);
    child.kill().unwrap();
    child.wait().unwrap();
    // Nothing ties it to the runner.
    assert!(is_there(pid) && !is_zombie(pid));
    let began = Instant::now();
    let running = dir.start(&guest("kept"));
    assert!(!is_there(pid) || is_zombie(pid));
    assert!(is_there(running.pid()), "{:?}", began.elapsed());
}

#[test]
fn processes_that_serve_devices_of_a_start_that_did_not_finish_are_killed_too() {
    if !test_support::has("passt") {
        return println!("SKIPPED: passt is not installed");
    }
    let dir = Dir::new();
    fs::write(dir.path("entry"), answers()).unwrap();
    let (xml, file) = hanging(&dir);
    let interface = "<interface type='user'><backend type='passt'/></interface></devices>";
    fs::write(dir.path("guest"), xml.replace("</devices>", interface)).unwrap();
    let mut command = runner(&dir, true);
    let mut child = command.env(crate::locks::GUEST, dir.path("guest")).spawn().unwrap();
    test_support::wait_until("the emulator runs", || file.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let socket = dir.path("root/run/guest/kept/passt-net0.socket").to_str().unwrap().to_owned();
    let passt = || -> Vec<i32> {
        let is_passt = |pid: &i32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.starts_with("passt")
        };
        processes(&socket).into_iter().filter(is_passt).collect()
    };
    assert_eq!(passt().len(), 1);
    let _running = dir.start(&guest("kept"));
    test_support::wait_until("passt ended", || passt().is_empty());
}

#[test]
fn a_start_that_is_given_up_returns_when_nothing_is_left() {
    let dir = Dir::new();
    let (xml, file) = hanging(&dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let runs = || async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let check = |error: StartError| {
        assert!(matches!(error, StartError::Abandoned), "{error:?}");
        let pid = number_in(&file);
        fs::remove_file(&file).unwrap();
        // One that was killed is waited for, but not for ever.
        test_support::wait_until("it is gone", || !is_there(pid));
        let left = dir.files();
        assert!(!left.contains(&"run/guest/kept".to_owned()), "{left:?}");
    };
    let start = dir.prepare(&xml).start_unless_async(runs());
    check(runtime.block_on(start).unwrap_err());
    let start = dir.prepare(&xml).start_detached_unless_async(runs());
    check(runtime.block_on(start).unwrap_err());
}

#[test]
fn a_handle_ends_its_emulator_although_a_query_waits() {
    let dir = Dir::new();
    let running = dir.start(&guest("stopped"));
    let pid = running.pid();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let query = running.cpu_flags_async();
        assert!(tokio::time::timeout(Duration::from_millis(50), query).await.is_err());
    });
    drop(running);
    assert!(!is_there(pid));
}

#[test]
fn of_a_hundred_starts_of_a_name_at_once_one_runs() {
    let dir = Dir::new();
    let prepared: Vec<_> = (0..100).map(|_| dir.prepare(&guest("same"))).collect();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            prepared.into_iter().map(|prepared| scope.spawn(|| prepared.start())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (running, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(running.len(), 1);
    for result in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, StartError::Root(RootError::Running { .. })), "{error:?}");
    }
}

#[test]
fn a_disk_that_another_emulator_uses_is_refused_by_the_second_one() {
    let dir = Dir::new();
    let image = dir.path("image");
    fs::write(&image, [0; 65536]).unwrap();
    let disk = format!(
        "<disk type='file'><driver name='qemu' type='raw'/><source file='{}'/>\
         <target dev='hda' bus='ide'/></disk>",
        image.display()
    );
    let first = dir.start(&guest_with("first", "", "", &disk));
    let error = dir.prepare(&guest_with("second", "", "", &disk)).start().unwrap_err();
    let StartError::Exited { output, .. } = &error else { panic!("{error:?}") };
    assert!(output.contains("Failed to get \"write\" lock"), "{output}");
    drop(first);
    dir.start(&guest_with("second", "", "", &disk));
}

/// A file system in memory. Dropping it unmounts it, also while a process that another test forks has a file of it.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_reported_and_nothing_is_left() {
    if !test_support::rights::can_mount() {
        return;
    }
    let dir = Dir::new();
    let root = dir.path("root");
    fs::create_dir(&root).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k,mode=700", "none"]).arg(&root);
    if !mount.status().unwrap().success() {
        return println!("SKIPPED: no file system can be mounted here");
    }
    let _mount = Mount(root.clone());
    let _ = fs::write(root.join("full"), [0; 65536]);
    let error = dir.prepare(&guest("full")).start().unwrap_err();
    let StartError::Root(RootError::Io { source, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(!root.join("run/guest/full").exists());
    fs::remove_file(root.join("full")).unwrap();
    dir.start(&guest("full"));
}

#[test]
fn a_guest_of_kvm_is_refused_where_kvm_cannot_be_opened() {
    let user = match rustix::process::geteuid().is_root() {
        true => Some(User::find(&test_support::NOBODY.to_string()).unwrap()),
        false if test_support::kvm_opens() => {
            return println!("SKIPPED: KVM can be opened, and only root can start as another user");
        }
        false => None,
    };
    let dir = Dir::new();
    fs::set_permissions(dir.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let xml = guest("kvm").replace("<domain type='qemu'", "<domain type='kvm'");
    let prepared = dir.run(&xml).user(user).prepare(&entry());
    let error = prepared.and_then(capscache_run::Prepared::start).unwrap_err().to_string();
    assert!(error.to_lowercase().contains("kvm"), "{error}");
    assert!(!dir.path("root/run/guest/kvm").exists());
}

#[test]
fn a_console_whose_port_is_in_use_is_reported_and_one_without_port_gets_another() {
    let dir = Dir::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let console = |port: &str| format!("<graphics type='vnc' {port} listen='127.0.0.1'/>");
    let named = console(&format!("port='{port}'"));
    let error = dir.prepare(&guest_with("named", "", "", &named)).start().unwrap_err();
    let StartError::Exited { output, .. } = &error else { panic!("{error:?}") };
    assert!(output.contains("Address already in use"), "{output}");
    dir.start(&guest_with("open", "", "", &console("autoport='yes'")));
}

#[test]
fn a_machine_that_the_emulator_lacks_is_refused_with_its_line() {
    let dir = Dir::new();
    let xml = guest("wrong").replace("machine='pc'", "machine='pc-lost'");
    let error = dir.run(&xml).prepare(&entry()).unwrap_err().to_string();
    assert!(error.contains("line 5") && error.contains("pc-lost"), "{error}");
}

#[test]
fn a_hundred_guests_start_at_once_in_one_root() {
    let dir = Dir::new();
    let deadlines = Deadlines { start: Duration::MAX, shutdown: Duration::MAX };
    let prepare = |number| {
        let run = dir.run(&guest(&format!("guest{number}"))).deadlines(deadlines);
        run.prepare(&entry()).unwrap()
    };
    let prepared: Vec<_> = (0..100).map(prepare).collect();
    let mut pids = std::thread::scope(|scope| {
        let threads: Vec<_> = prepared
            .into_iter()
            .map(|prepared| scope.spawn(|| prepared.start().unwrap()))
            .collect();
        let running: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        running.iter().for_each(capscache_run::Running::shutdown);
        assert!(running.iter().all(|running| is_there(running.pid())));
        running.iter().map(capscache_run::Running::pid).collect::<Vec<_>>()
    });
    assert!(!pids.iter().any(|pid| is_there(*pid)));
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 100);
}
