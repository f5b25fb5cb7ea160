//! Guests whose devices are served by other processes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use capscache_run::{Deadlines, StartError, User};

use crate::locks::{GUEST, start_runner};
use crate::{Dir, guest_with, is_there};

/// A TPM that swtpm emulates.
const TPM: &str = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>";

/// Returns whether a program is installed; says so if it is not.
fn has(program: &str) -> bool {
    let directories = ["/usr/bin", "/usr/sbin", "/usr/lib/qemu", "/usr/libexec"];
    let has = directories.iter().any(|directory| Path::new(directory).join(program).exists());
    if !has {
        eprintln!("skipped: {program} is not installed");
    }
    has
}

/// Returns true for root; says so otherwise.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: this needs root");
    }
    is_root
}

/// Returns the processes that have a text in their arguments, and that are not emulators.
fn processes(text: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        (arguments.contains(text) && !arguments.contains("qemu-system")).then_some(pid)
    });
    processes.collect()
}

/// A guest with an interface of passt.
fn passt(name: &str) -> String {
    let interface = "<interface type='user'><mac address='52:54:00:11:22:33'/>\
                     <model type='virtio'/><backend type='passt'/></interface>";
    guest_with(name, "", "", interface)
}

#[test]
fn passt_runs_while_the_guest_runs() {
    if !has("passt") {
        return;
    }
    let dir = Dir::new();
    let running = dir.start(&passt("net"));
    let socket = dir.path("root/run/guest/net/passt-net0.socket");
    let found = processes(socket.to_str().unwrap());
    assert_eq!(found.len(), 1, "{found:?}");
    running.quit();
    running.wait();
    assert!(!is_there(found[0]));
    assert!(dir.path("root/log/net-passt-net0.log").exists());
}

#[test]
fn a_tpm_is_manufactured_once_and_keeps_its_state() {
    if !has("swtpm") || !has("swtpm_setup") {
        return;
    }
    let dir = Dir::new();
    let xml = guest_with("tpm", "", "", TPM);
    let socket = dir.path("root/run/guest/tpm/swtpm.sock");
    let log = dir.path("root/log/tpm-swtpm.log");
    for _ in 0..2 {
        let running = dir.start(&xml);
        let found = processes(socket.to_str().unwrap());
        assert_eq!(found.len(), 1, "{found:?}");
        running.quit();
        running.wait();
        assert!(!is_there(found[0]));
        assert!(dir.path("root/lib/tpm/tpm/2.0/tpm2-00.permall").exists());
    }
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("Successfully authored TPM state").count(), 1, "{log}");
}

#[test]
fn helpers_end_with_a_runner_that_is_killed() {
    if !has("passt") || !has("swtpm") || !has("swtpm_setup") {
        return;
    }
    let dir = Dir::new();
    let xml = passt("kept").replace("</devices>", &format!("{TPM}</devices>"));
    fs::write(dir.path("guest.xml"), xml).unwrap();
    let (mut runner, pid, _output) = start_runner(&dir, |command| {
        command.env(GUEST, dir.path("guest.xml"));
    });
    let found = processes(dir.path("root/run/guest/kept").to_str().unwrap());
    assert_eq!(found.len(), 2, "{found:?}");
    runner.kill().unwrap();
    runner.wait().unwrap();
    let have_ended = || found.iter().all(|pid| has_ended(*pid)) && has_ended(pid);
    test_support::wait_until("all processes ended", have_ended);
}

/// Returns true for a process that has ended, reaped or not.
fn has_ended(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.is_empty() || status.contains(") Z ")
}

#[test]
fn helpers_end_with_a_detached_guest() {
    if !has("passt") || !has("swtpm") || !has("swtpm_setup") {
        return;
    }
    let dir = Dir::new();
    let xml = passt("alone").replace("</devices>", &format!("{TPM}</devices>"));
    let detached = dir.prepare(&xml).start_detached().unwrap();
    let found = processes(dir.path("root/run/guest/alone").to_str().unwrap());
    assert_eq!(found.len(), 2, "{found:?}");
    let pid = rustix::process::Pid::from_raw(detached.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let have_ended = || found.iter().all(|pid| has_ended(*pid));
    test_support::wait_until("the helpers ended", have_ended);
}

#[test]
fn a_guest_has_its_own_bus() {
    if !has("dbus-daemon") {
        return;
    }
    let dir = Dir::new();
    let xml = guest_with("bus", "", "", "<graphics type='dbus'/>");
    let prepared = match dir.run(&xml).prepare(&crate::entry()) {
        Ok(prepared) => prepared,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let running = prepared.start().unwrap();
    let found = processes(dir.path("root/run/guest/bus").to_str().unwrap());
    assert_eq!(found.len(), 1, "{found:?}");
    running.quit();
    running.wait();
    assert!(!is_there(found[0]));
    let error = dir.prepare(&xml).start_detached().unwrap_err();
    assert!(error.to_string().contains("do not detach"), "{error}");
}

/// A guest with shared memory and a directory that virtiofs shares.
fn shared(name: &str, dir: &Dir, devices: &str) -> String {
    let elements = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
    let filesystem = format!(
        "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs'/>\
         <source dir='{}'/><target dir='shared'/></filesystem>{devices}",
        dir.path("").display()
    );
    guest_with(name, elements, "", &filesystem)
}

#[test]
fn a_directory_is_shared_by_virtiofs() {
    if !has("virtiofsd") || !is_root() {
        return;
    }
    let dir = Dir::new();
    let running = dir.start(&shared("fs", &dir, ""));
    let found = processes(dir.path("root/run/guest/fs/fs0-fs.sock").to_str().unwrap());
    assert!(!found.is_empty());
    running.quit();
    running.wait();
    test_support::wait_until("the daemon ended", || found.iter().all(|pid| has_ended(*pid)));
}

#[test]
fn a_tpm_runs_as_the_user_and_the_daemon_of_a_directory_does_not() {
    if !has("virtiofsd") || !has("swtpm") || !has("swtpm_setup") || !is_root() {
        return;
    }
    let dir = Dir::new();
    fs::set_permissions(dir.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let user = User {
        name: "unprivileged".to_owned(),
        uid: test_support::NOBODY,
        gid: test_support::NOBODY,
        groups: Vec::new(),
    };
    let run = dir.run(&shared("user", &dir, TPM)).user(Some(user.clone()));
    let running = run.prepare(&crate::entry()).unwrap().start().unwrap();
    let uid = |pid: i32| fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    let of = |socket: &str| {
        processes(dir.path(&format!("root/run/guest/user/{socket}")).to_str().unwrap())
    };
    assert_eq!(uid(running.pid()), user.uid);
    assert_eq!(of("swtpm.sock").into_iter().map(uid).collect::<Vec<_>>(), [user.uid]);
    assert!(of("fs0-fs.sock").into_iter().all(|pid| uid(pid) == 0));
    let state = dir.path("root/lib/tpm/user/2.0");
    assert_eq!(fs::metadata(state).unwrap().uid(), user.uid);
}

#[test]
fn a_helper_that_fails_is_reported_with_its_message() {
    let dir = Dir::new();
    let daemon = dir.path("daemon");
    test_support::write_program(&daemon, "#!/bin/sh\necho broken >&2\nexit 3\n");
    let elements = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
    let filesystem = format!(
        "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs'/>\
         <binary path='{}'/><source dir='/tmp'/><target dir='shared'/></filesystem>",
        daemon.display()
    );
    let error = dir.prepare(&guest_with("fs", elements, "", &filesystem)).start().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot start the guest: {} exited with status 3: broken", daemon.display())
    );
    assert!(!dir.path("root/run/guest/fs").exists());
}

#[test]
fn a_helper_that_never_listens_is_given_up_and_killed() {
    let dir = Dir::new();
    let daemon = dir.path("daemon");
    test_support::write_program(&daemon, "#!/bin/sh\nexec sleep 1000\n");
    let elements = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
    let filesystem = format!(
        "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs'/>\
         <binary path='{}'/><source dir='/tmp'/><target dir='shared'/></filesystem>",
        daemon.display()
    );
    let deadlines = Deadlines { start: Duration::from_secs(3), ..Deadlines::default() };
    let run = dir.run(&guest_with("fs", elements, "", &filesystem)).deadlines(deadlines);
    let error = run.prepare(&crate::entry()).unwrap().start().unwrap_err();
    let StartError::TimedOut { program, step, .. } = &error else { panic!("{error:?}") };
    assert_eq!((program, *step), (&daemon, "helpers"));
    assert!(!dir.path("root/run/guest/fs").exists());
}

#[test]
fn a_helper_that_is_missing_is_named_before_anything_starts() {
    let dir = Dir::new();
    let elements = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
    let filesystem = "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs'/>\
                      <binary path='/nowhere/daemon'/><source dir='/tmp'/><target dir='shared'/>\
                      </filesystem>";
    let run = dir.run(&guest_with("fs", elements, "", filesystem));
    let error = run.prepare(&crate::entry()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot start the guest: a device needs the program /nowhere/daemon, which is not there; \
         install it, or remove the device"
    );
    assert!(!dir.path("root").exists());
}
