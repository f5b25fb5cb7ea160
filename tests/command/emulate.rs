//! `replay --serve` and `--emulate`: a recording in place of QEMU.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use test_support::wait_until;

use crate::{Dir, Run, avr, text};

/// A recording in libvirt's form: under KVM, then under TCG.
const RECORDING: &str = r#"
{"execute": "qmp_capabilities", "id": "libvirt-1"} {"return": {}, "id": "libvirt-1"}
{"execute": "query-version", "id": "libvirt-2"}
{"return": {"qemu": {"micro": 1, "minor": 2, "major": 9}, "package": "Debian 1:9.2"}, "id": "libvirt-2"}
{"execute": "query-target", "id": "libvirt-3"} {"return": {"arch": "x86_64"}, "id": "libvirt-3"}
{"execute": "query-qmp-schema", "id": "libvirt-4"}
{"return": [
  {"name": "query-kvm", "meta-type": "command", "arg-type": "0", "ret-type": "1"},
  {"name": "query-sev-capabilities", "meta-type": "command", "arg-type": "0", "ret-type": "1"},
  {"name": "query-cpu-model-expansion", "meta-type": "command", "arg-type": "2", "ret-type": "1"},
  {"name": "device-list-properties", "meta-type": "command", "arg-type": "2", "ret-type": "1"},
  {"name": "RESET", "meta-type": "event", "arg-type": "0"}
], "id": "libvirt-4"}
{"execute": "qom-list-types", "id": "libvirt-5"} {"return": [{"name": "qxl"}, {"name": "VGA"}], "id": "libvirt-5"}
{"execute": "query-kvm", "id": "libvirt-6"} {"return": {"enabled": true, "present": true}, "id": "libvirt-6"}
{"execute": "device-list-properties", "arguments": {"typename": "VGA"}, "id": "libvirt-7"}
{"return": [{"name": "edid", "type": "bool"}], "id": "libvirt-7"}
{"execute": "query-cpu-model-expansion", "arguments": {"type": "static", "model": {"name": "host"}}, "id": "libvirt-8"}
{"return": {"model": {"name": "base", "props": {"svm": true}}}, "id": "libvirt-8"}
{"execute": "qmp_capabilities", "id": "libvirt-1"} {"return": {}, "id": "libvirt-1"}
{"execute": "query-cpu-model-expansion", "arguments": {"type": "static", "model": {"name": "max"}}, "id": "libvirt-2"}
{"error": {"class": "GenericError", "desc": "no such model"}, "id": "libvirt-2"}
"#;

impl Dir {
    fn recording(&self) -> String {
        let file = self.path("recording");
        fs::write(&file, RECORDING).expect("a file");
        text(&file)
    }

    /// Sends text to a recorded emulator on stdio.
    fn converse(&self, arguments: &[&str], sent: &[u8]) -> Run {
        let mut command = self.command();
        command.arg("replay").arg(self.recording()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        // It may end before it has read everything.
        let _ = child.stdin.take().expect("a pipe").write_all(sent);
        let output = child.wait_with_output().expect("an end");
        let utf8 = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Run { code: output.status.code(), stdout: utf8(output.stdout), stderr: utf8(output.stderr) }
    }

    /// Returns the replies to commands that are sent after `qmp_capabilities`.
    fn replies(&self, arguments: &[&str], commands: &[Value]) -> Vec<Value> {
        let mut sent = json!({"execute": "qmp_capabilities"}).to_string();
        commands.iter().for_each(|command| sent += &format!("\n{command}"));
        let run = self.converse(arguments, format!("{sent}\n").as_bytes());
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        let replies = run.stdout.lines().skip(2);
        replies.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// A client of a monitor.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(path: &Path) -> Client {
        Client(BufReader::new(UnixStream::connect(path).expect("a monitor")))
    }

    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line or the end");
        (!line.is_empty()).then(|| serde_json::from_str(&line).expect("JSON"))
    }

    fn execute(&mut self, command: &str) -> Option<Value> {
        let command = json!({"execute": command});
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("sent");
        self.line()
    }
}

/// A process that is killed if the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn expand(model: &str) -> Value {
    let arguments = json!({"model": {"name": model}, "type": "static"});
    json!({"execute": "query-cpu-model-expansion", "arguments": arguments})
}

#[test]
fn a_monitor_greets_negotiates_and_reports_errors_as_qemu_does() {
    let sent = br#"{"execute": "query-kvm", "id": 1}
{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}, "id": "a"}

{"execute":
7
{"id": {"b": [1]}}
{"execute": "query-kvm", "arguments": 7}
{"execute": "query-kvm", "more": 1}
{"execute": "qmp_capabilities"}
{"exec-oob": "query-target", "arguments": {}}
{"execute": "quit", "id": null}
{"execute": "query-target"}
"#;
    let dir = Dir::new();
    let run = dir.converse(&["--serve", "stdio"], sent);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let expected = [
        r#"{"QMP":{"version":{"qemu":{"micro":1,"minor":2,"major":9},"package":"Debian 1:9.2"},"capabilities":["oob"]}}"#,
        r#"{"error":{"class":"CommandNotFound","desc":"Expecting capabilities negotiation with 'qmp_capabilities'"},"id":1}"#,
        r#"{"return": {}, "id": "a"}"#,
        r#"{"error":{"class":"GenericError","desc":"JSON parse error, EOF while parsing a value at line 1 column 11"}}"#,
        r#"{"error":{"class":"GenericError","desc":"QMP input must be a JSON object"}}"#,
        r#"{"error":{"class":"GenericError","desc":"QMP input lacks member 'execute'"},"id":{"b":[1]}}"#,
        r#"{"error":{"class":"GenericError","desc":"QMP input member 'arguments' must be an object"}}"#,
        r#"{"error":{"class":"GenericError","desc":"QMP input member 'more' is unexpected"}}"#,
        r#"{"error":{"class":"CommandNotFound","desc":"Capabilities negotiation is already complete, command ignored"}}"#,
        r#"{"return": {"arch": "x86_64"}}"#,
        r#"{"return": {}, "id": null}"#,
    ];
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn replies_are_found_by_command_and_arguments_in_the_pass_of_the_accelerator() {
    let dir = Dir::new();
    let commands = [json!({"execute": "query-kvm"}), expand("host"), expand("max")];
    let kvm = dir.replies(&["--serve", "stdio"], &commands);
    assert_eq!(kvm[0], json!({"return": {"enabled": true, "present": true}}));
    assert_eq!(kvm[1], json!({"return": {"model": {"name": "base", "props": {"svm": true}}}}));
    assert_eq!(kvm[2]["error"]["class"], "GenericError");

    let machine = ["--emulate", "--", "-machine", "none,accel=tcg", "-qmp", "stdio"];
    let tcg = dir.replies(&machine, &commands);
    assert_eq!(tcg[0], json!({"return": {"enabled": false, "present": true}}));
    assert_eq!(tcg[1]["error"]["class"], "GenericError");
    assert_eq!(tcg[2]["error"]["desc"], "no such model");

    // What does not depend on the accelerator need not be recorded under it.
    let vga = json!({"execute": "device-list-properties", "arguments": {"typename": "VGA"}});
    assert_eq!(
        dir.replies(&machine, &[vga]),
        [json!({"return": [{"name": "edid", "type": "bool"}]})]
    );
}

#[test]
fn what_the_recording_lacks_is_refused_and_listed_unless_the_emulator_lacks_it_too() {
    let dir = Dir::new();
    let properties =
        |name| json!({"execute": "device-list-properties", "arguments": {"typename": name}});
    let commands = [
        json!({"execute": "query-commands"}),
        json!({"execute": "query-gic-capabilities", "id": 1}),
        json!({"execute": "query-sev-capabilities", "id": 2}),
        properties("virtio-blk-ccw"),
        properties("qxl"),
    ];
    let list = text(&dir.path("unanswered"));
    let replies = dir.replies(&["--serve", "stdio", "--unanswered", &list], &commands);
    let names: Vec<_> = replies[0]["return"].as_array().expect("a list").iter().collect();
    let expected = [
        "device-list-properties",
        "query-cpu-model-expansion",
        "query-kvm",
        "query-sev-capabilities",
    ]
    .map(|name| json!({"name": name}));
    assert_eq!(names, expected.iter().collect::<Vec<_>>());
    let desc = "The command query-gic-capabilities has not been found";
    assert_eq!(replies[1], json!({"error": {"class": "CommandNotFound", "desc": desc}, "id": 1}));
    assert_eq!(replies[2]["error"]["class"], "GenericError");
    let desc = "Device 'virtio-blk-ccw' not found";
    assert_eq!(replies[3], json!({"error": {"class": "DeviceNotFound", "desc": desc}}));
    assert_eq!(replies[4]["error"]["class"], "DeviceNotFound");
    // The first one is a command that this QEMU does not have, the third a type that it does not have.
    assert_eq!(
        fs::read_to_string(list).expect("a list"),
        "{\"accelerator\":\"kvm\",\"execute\":\"query-sev-capabilities\"}\n\
         {\"accelerator\":\"kvm\",\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"qxl\"}}\n"
    );
}

#[test]
fn a_daemon_has_a_pidfile_and_a_monitor_before_its_starter_goes_on_and_ends_on_quit() {
    let dir = Dir::new();
    let (monitor, pidfile) = (dir.path("monitor"), dir.path("pid"));
    let recording = dir.recording();
    let at = format!("unix:{},server=on,wait=off", text(&monitor));
    // As libvirt starts a probe; the name of the recording is relative, and the daemon changes its directory.
    let started = dir.run(&[
        "replay",
        recording.strip_prefix(&format!("{}/", text(dir.directory()))).expect("a file in it"),
        "--emulate",
        "--",
        "-S",
        "-no-user-config",
        "-nodefaults",
        "-nographic",
        "-machine",
        "none,accel=kvm:tcg",
        "-qmp",
        &at,
        "-pidfile",
        &text(&pidfile),
        "-daemonize",
    ]);
    assert_eq!((started.code, started.stdout.as_str(), started.stderr.as_str()), (Some(0), "", ""));
    let pid = fs::read_to_string(&pidfile).expect("a pidfile").trim_end().to_owned();
    let line = fs::read(format!("/proc/{pid}/cmdline")).expect("a process");
    assert!(String::from_utf8_lossy(&line).contains("--daemon"), "{line:?}");

    let mut client = Client::connect(&monitor);
    assert_eq!(client.line().expect("a greeting")["QMP"]["version"]["qemu"]["major"], 9);
    drop(client);
    // A monitor survives its clients.
    let mut client = Client::connect(&monitor);
    client.line();
    assert_eq!(client.execute("qmp_capabilities"), Some(json!({"return": {}})));
    assert_eq!(client.execute("query-target"), Some(json!({"return": {"arch": "x86_64"}})));
    assert_eq!(client.execute("quit"), Some(json!({"return": {}})));
    assert_eq!(client.line(), None);
    wait_until("the daemon removes its files", || !pidfile.exists() && !monitor.exists());
}

#[test]
fn a_daemon_that_cannot_start_reports_it_to_its_starter() {
    let dir = Dir::new();
    let recording = dir.recording();
    let emulate = |arguments: &[&str]| {
        let run = dir.run(&[&["replay", &recording, "--emulate", "--"], arguments].concat());
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
        run.complaint().to_owned()
    };
    let at = format!("unix:{},server=on", text(&dir.path("monitor")));
    let pidfile = text(&dir.path("none/pid"));
    assert_eq!(
        emulate(&["-daemonize", "-qmp", &at, "-pidfile", &pidfile]),
        format!("cannot write the pidfile {pidfile}: No such file or directory")
    );
    assert_eq!(
        emulate(&["-daemonize", "-qmp", "stdio"]),
        "cannot daemonize with a monitor on stdio"
    );
    assert_eq!(
        emulate(&["-S"]),
        "cannot emulate QEMU without a monitor; start it with -qmp unix:PATH,server=on"
    );
    assert_eq!(
        emulate(&["-qmp", &at, "-accel", "xen"]),
        "cannot run under xen: the recording has no such pass"
    );
    assert_eq!(
        emulate(&["-qmp", "chardev:m", "-chardev", "socket,id=m,fd=999"]),
        "cannot use the inherited descriptor 999: Bad file descriptor"
    );
}

#[test]
fn the_version_is_that_of_the_recording() {
    let dir = Dir::new();
    let shown = dir.answer(&["replay", &dir.recording(), "--emulate", "--", "-version"]);
    assert_eq!(shown, "QEMU emulator version 9.2.1 (Debian 1:9.2)\n");
}

#[test]
fn hostile_clients_lose_their_connection_and_no_other_client_does() {
    let dir = Dir::new();
    let monitor = dir.path("monitor");
    // What an emulator that was killed leaves is replaced.
    drop(std::os::unix::net::UnixListener::bind(&monitor).expect("a socket"));
    let at = format!("unix:{}", text(&monitor));
    let mut command = dir.command();
    command.arg("replay").arg(dir.recording()).args(["--serve", &at]).stderr(Stdio::piped());
    let mut server = Killed(command.spawn().expect("the command starts"));
    let is_listening = || UnixStream::connect(&monitor).is_ok();
    wait_until("the monitor listens", is_listening);

    let second = dir.run(&["replay", &dir.recording(), "--serve", &at]);
    let path = text(&monitor);
    assert_eq!(
        second.complaint(),
        format!(
            "cannot listen at {path}: another process listens there; end it, or choose another path"
        )
    );

    let mut hostile = UnixStream::connect(&monitor).expect("a monitor");
    // It is refused before its end: the rest may not be read.
    let _ = hostile.write_all(&vec![b'['; 2 << 20]);
    let mut nested = UnixStream::connect(&monitor).expect("a monitor");
    let deep = format!("{{\"execute\": {}\n", "[".repeat(500_000));
    nested.write_all(deep.as_bytes()).expect("sent");
    drop((hostile, nested));

    let mut client = Client::connect(&monitor);
    client.line();
    assert_eq!(client.execute("qmp_capabilities"), Some(json!({"return": {}})));
    assert_eq!(client.execute("quit"), Some(json!({"return": {}})));
    let stderr = server.0.stderr.take().expect("a pipe");
    assert!(server.0.wait().expect("an end").success());
    let complaints: Vec<_> =
        BufReader::new(stderr).lines().map(|line| line.expect("a line")).collect();
    let too_long = "capscache: lost a client: a command is longer than the limit of 1048576 bytes";
    assert!(complaints.iter().any(|line| line == too_long), "{complaints:?}");
    assert!(complaints.iter().all(|line| line.starts_with("capscache: lost a client: ")));
}

#[test]
fn a_probe_of_a_recorded_emulator_has_the_answers_of_the_recording() {
    let dir = Dir::new();
    // Of this release: recordings of earlier ones lack what is queried since.
    let recording = text(&dir.path("avr.qmp.gz"));
    dir.answer(&["record", &avr(), "--output", &recording]);
    let capscache = env!("CARGO_BIN_EXE_capscache");
    let script = format!("#!/bin/sh\nexec {capscache} replay {recording} --emulate -- \"$@\"\n");
    let emulator = dir.program("qemu-system-avr", script);
    let [probed, recorded] =
        [["export", &emulator], ["replay", &recording]].map(|arguments| dir.json(&arguments));
    let recorded = recorded.as_object().expect("an object");
    for (key, value) in recorded {
        let is_name = ["emulator", "executable", "sha256"].contains(&key.as_str());
        assert!(is_name || probed[key] == *value, "{key} differs");
    }
    assert!(recorded.len() > 15, "{:?}", recorded.keys());
}
