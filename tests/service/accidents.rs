//! Ends of the service, requested and not.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::{Dir, avr, emulator, has, wait_until};

#[test]
fn every_user_may_connect_to_the_socket_and_it_is_removed_at_the_end() {
    let dir = Dir::new();
    let mut service = dir.serve(&[]);
    let status = fs::metadata(dir.socket()).unwrap();
    assert!(status.file_type().is_socket());
    assert_eq!(status.permissions().mode() & 0o777, 0o666);
    assert!(service.stop().success());
    assert!(!dir.socket().exists());
    assert!(service.log().ends_with("capscache: stopped\n"), "{}", service.log());
}

#[test]
fn a_call_in_flight_is_answered_before_the_end_and_idle_connections_delay_nothing() {
    let dir = Dir::new();
    let mut service = dir.serve(&[]);
    let slow = dir.program(
        "qemu-system-slow",
        format!(
            "#!/bin/sh\n{} \"$@\"\nended=$?\n: > {}\nuntil [ -e {} ]; do sleep 0.01; done\n: > {}\nexit $ended\n",
            avr(),
            dir.path("ended").display(),
            dir.path("go").display(),
            dir.path("went").display(),
        ),
    );
    let mut idle = service.connect();
    idle.call("GetInfo", json!({}));
    let mut unfinished = service.connect();
    std::io::Write::write_all(&mut unfinished.stream, b"{\"method\"").unwrap();
    let mut client = service.connect();
    client.send(&json!({"method": "io.capscache.Cache.Get", "parameters": {"emulator": slow}}));
    wait_until("the probe is almost done", || dir.path("ended").exists());
    service.signal("TERM");
    // The service closes it when it has received the signal.
    assert!(idle.next().is_none());
    fs::write(dir.path("go"), "").unwrap();
    assert_eq!(client.receive()["parameters"]["arch"], "avr");
    assert!(dir.path("went").exists(), "the emulator was killed");
    assert!(client.next().is_none());
    assert!(service.wait().success());
    assert!(unfinished.next().is_none());
}

#[test]
fn a_call_that_takes_too_long_does_not_delay_the_end() {
    let dir = Dir::new();
    let mut service = dir.serve(&[]);
    let began = dir.path("began");
    let script = format!("#!/bin/sh\necho $$ > {}\nexec sleep 300\n", began.display());
    let hangs = dir.program("qemu-system-hangs", &script);
    let mut client = service.connect();
    client.send(&json!({"method": "io.capscache.Cache.Get", "parameters": {"emulator": hangs}}));
    wait_until("the probe has begun", || {
        fs::read_to_string(&began).is_ok_and(|pid| !pid.is_empty())
    });
    assert!(service.stop().success());
    assert!(client.next().is_none());
    assert!(service.log().contains("cannot complete 1 calls"), "{}", service.log());
    let pid = fs::read_to_string(&began).unwrap();
    wait_until("the emulator died with its prober", || {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()));
        status.map_or(true, |status| status.contains("State:\tZ"))
    });
}

#[test]
fn a_service_that_was_killed_does_not_keep_the_next_one_from_starting() {
    let dir = Dir::new();
    let mut service = dir.serve(&[]);
    service.call("Get", json!({"emulator": avr()}));
    let mut client = service.connect();
    client.send(
        &json!({"method": "io.capscache.Cache.Get", "parameters": {"emulator": emulator("rx")}}),
    );
    service.signal("KILL");
    assert!(!service.wait().success());
    assert!(client.next().is_none());
    assert!(dir.socket().exists(), "it had no chance to remove it");
    // Users of the library, or of the command, are not affected.
    let answer = dir.command().args(["query", &avr(), "machine:uno"]).output().unwrap();
    assert_eq!(answer.stdout, b"machine:uno\tyes\n");

    let again = dir.serve(&[]);
    let state = again.call("Status", json!({"emulator": avr()}));
    assert_eq!(state["state"], "valid");
    assert_eq!(again.call("Get", json!({"emulator": emulator("rx")}))["state"], "valid");
    let verified = dir.command().arg("verify").output().unwrap();
    assert_eq!(verified.stdout, b"2 entries: 2 good, 0 damaged\n");
}

#[test]
fn a_service_that_is_killed_at_any_time_leaves_its_root_valid_and_the_library_working() {
    let dir = Dir::new();
    let emulators = [avr(), emulator("rx"), emulator("or1k")];
    let (done, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Users of the library on the same root go on, and do not wait for a dead process.
    let use_library = |emulator: &str, arch: &str| {
        while !done.load(Ordering::Relaxed) {
            // A new one each time, so that it reads the files.
            let cache = capscache::Cache::open(dir.root()).unwrap();
            let entry = cache.get(emulator).unwrap();
            assert_eq!(entry.arch(), arch);
            assert!(entry.persist_error().is_none());
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let _ends = crate::Ends(&done);
        scope.spawn(|| use_library(&emulators[0], "avr"));
        scope.spawn(|| use_library(&emulators[1], "rx"));
        for round in 0..20 {
            let mut service = dir.serve(&[]);
            let mut client = service.connect();
            client.begin("Warm", json!({"emulators": emulators}));
            // At another time in each round: before the probes, while they run, while entries are written.
            std::thread::sleep(std::time::Duration::from_millis(round * 10));
            service.signal("KILL");
            service.wait();
            let before = calls.load(Ordering::Relaxed);
            wait_until("the library answers", || calls.load(Ordering::Relaxed) > before + 2);
            let verified = dir.command().arg("verify").output().unwrap();
            assert!(verified.status.success(), "{verified:?}");
            if round % 4 == 3 {
                dir.command().args(["invalidate", "--all"]).status().unwrap();
            }
        }
    });
    let service = dir.serve(&[]);
    let warmed = service.call("Warm", json!({"emulators": emulators}))["warmed"].take();
    assert!(warmed.as_array().unwrap().iter().all(|warmed| warmed["outcome"] != "failed"));
}

#[test]
fn a_second_service_on_one_socket_is_refused_and_the_first_goes_on() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let second = dir.command().args(["serve", "--socket"]).arg(dir.socket()).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert!(complaint.contains("answers there") && complaint.contains("already"), "{complaint}");
    assert_eq!(service.call("GetInfo", json!({}))["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_socket_of_a_dead_process_is_replaced_while_another_process_has_it() {
    if !has("python3") {
        return;
    }
    let dir = Dir::new();
    // A process that listens ends, and leaves its socket to one that it forked: a prober that was killed at that moment.
    let leave = "import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
child = os.fork()
if child == 0:
    os.close(1), os.close(2)
    time.sleep(600)
print(child, flush=True)";
    let left = Command::new("python3").args(["-c", leave]).arg(dir.socket()).output().unwrap();
    let child = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(left.status.success() && UnixStream::connect(dir.socket()).is_ok(), "{left:?}");
    let service = dir.serve(&[]);
    assert_eq!(service.call("GetInfo", json!({}))["version"], env!("CARGO_PKG_VERSION"));
    assert!(Command::new("kill").args(["-s", "KILL", child.trim()]).status().unwrap().success());
}

#[test]
fn only_a_socket_is_replaced_by_the_socket_of_the_service() {
    let dir = Dir::new();
    fs::write(dir.path("file"), "precious").unwrap();
    fs::create_dir(dir.path("directory")).unwrap();
    std::os::unix::fs::symlink("file", dir.path("link")).unwrap();
    for name in ["file", "directory", "link"] {
        let serve = dir.command().args(["serve", "--socket"]).arg(dir.path(name)).output().unwrap();
        assert_eq!(serve.status.code(), Some(2), "{name}");
        let complaint = String::from_utf8(serve.stderr).unwrap();
        assert!(complaint.contains("it is not a socket"), "{name}: {complaint}");
    }
    assert_eq!(fs::read_to_string(dir.path("link")).unwrap(), "precious");
}

#[test]
fn a_service_that_is_too_busy_to_accept_counts_as_running() {
    let dir = Dir::new();
    let socket = UnixListener::bind(dir.socket()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    // A connection beyond the backlog would wait forever.
    let waiting = UnixStream::connect(dir.socket()).unwrap();
    let second = dir.command().args(["serve", "--socket"]).arg(dir.socket()).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert!(complaint.contains("answers there") && complaint.contains("already"), "{complaint}");
    drop(waiting);
}

#[test]
fn a_root_that_cannot_be_used_is_reported_and_the_service_does_not_start() {
    let dir = Dir::new();
    fs::write(dir.root(), "a file").unwrap();
    let run = dir.command().args(["serve", "--socket"]).arg(dir.socket()).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8(run.stderr).unwrap().contains("as the root of the cache"));
    assert!(!dir.socket().exists());
}

#[test]
fn a_client_cannot_forge_lines_of_the_log_or_send_controls_to_a_terminal() {
    let dir = Dir::new();
    let mut service = dir.serve(&["--verbose"]);
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{200b}\r\n<3>forged\ncapscache: forged";
    let mut client = service.connect();
    client.send(&json!({"method": format!("evil.{hostile}.Do"), "parameters": {}}));
    assert!(client.receive()["error"].is_string());
    client.send(&json!({"method": "io.capscache.Cache.Get", "parameters": {"emulator": format!("/{hostile}")}}));
    assert!(client.receive()["error"].is_string());
    service.stop();
    let log = service.log();
    assert!(
        log.contains(
            r"evil.\x1b]0;owned\x07\u{9b}31m\u{202e}\u{200b}\r\n<3>forged\ncapscache: forged"
        ),
        "{log}"
    );
    assert!(!log.lines().any(|line| line.starts_with("capscache: forged")), "{log}");
    assert!(log.lines().all(|line| line.starts_with("capscache: ")), "{log}");
    let harmful = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{200b}');
    assert!(!log.contains(harmful), "{log:?}");
}
