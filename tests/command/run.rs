//! `run`: guests that are started.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Dir, text, x86_64};

/// Writes a guest that does nothing, with further elements, and returns its path.
pub(crate) fn write(dir: &Dir, elements: &str) -> String {
    let guest = format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
           <name>web</name>
           <memory unit='MiB'>64</memory>
           <os><type arch='x86_64' machine='pc'>hvm</type></os>
           <devices><emulator>{}</emulator></devices>
           {elements}
         </domain>",
        x86_64()
    );
    let path = dir.path("guest.xml");
    fs::write(&path, guest).expect("a file");
    text(&path)
}

/// Returns the command, whose root is that of the test.
fn command(dir: &Dir, guest: &str) -> Command {
    let mut command = dir.command();
    command.args(["--root", &text(&dir.root()), "run", guest, "--scope", "none"]);
    command
}

/// Starts a guest, and returns the command with the lines that it prints, of which the first was read.
pub(crate) fn start(
    dir: &Dir,
    guest: &str,
    args: &[&str],
) -> (Child, BufReader<ChildStdout>, String) {
    let mut command = command(dir, guest);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("a line");
    (child, lines, first)
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a number")).expect("a process");
    kill_process(pid, signal).expect("a signal");
}

#[test]
fn a_second_signal_ends_the_emulator_and_each_event_is_a_line() {
    let dir = Dir::new();
    let guest = write(&dir, "");
    let (child, mut lines, first) = start(&dir, &guest, &["--json", "--timing"]);
    let first: Value = serde_json::from_str(&first).expect("JSON");
    let pid = first["data"]["pid"].as_i64().expect("a number");
    assert_eq!(first["event"], "RUNNING");
    let mut event = || {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        event["event"].as_str().expect("a name").to_owned()
    };
    assert_eq!(event(), "RESUME");
    signal(&child, Signal::TERM);
    assert_eq!(event(), "POWERDOWN");
    signal(&child, Signal::INT);
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(5));
    let stderr = String::from_utf8(output.stderr).expect("text");
    let steps: Vec<_> = stderr.lines().map(|line| line.split(": ").next().unwrap_or("")).collect();
    let expected = [
        "capabilities from the cache",
        "command line",
        "lock",
        "files",
        "spawn",
        "greeting",
        "capabilities",
        "scope",
        "settings",
        "cont",
        "all",
        "capscache",
    ];
    assert_eq!(steps, expected, "{stderr}");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

/// Returns the writable memory of a process that contains a text, by the names of its mappings.
fn memory_with(pid: u32, wanted: &[u8]) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("mappings");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("memory");
    let mut found = Vec::new();
    let mut read = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().and_then(|r| r.split_once('-')).expect("a range");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        let (start, end) = (address(start), address(end));
        let mut bytes = vec![0; usize::try_from(end - start).expect("a size")];
        // The kernel's own mappings cannot be read.
        if memory.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        read += bytes.len();
        if bytes.windows(wanted.len()).any(|window| window == wanted) {
            found.push(line.to_owned());
        }
    }
    assert!(read > 100_000, "{read} bytes of {maps}");
    found
}

#[test]
fn the_memory_of_a_runner_has_no_secret_once_the_guest_runs() {
    const UUID: &str = "0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f";
    const PASSPHRASE: &str = "correct-horse-battery";
    let dir = Dir::new();
    let image = dir.path("image");
    test_support::create_luks(&image, PASSPHRASE);
    let source = dir.path("source");
    fs::write(&source, PASSPHRASE).expect("a file");
    let disk = format!(
        "<devices><disk type='file'><driver name='qemu' type='raw'/><source file='{}'>\
         <encryption format='luks'><secret type='passphrase' uuid='{UUID}'/></encryption>\
         </source><target dev='hda' bus='ide'/></disk>",
        image.display()
    );
    let guest = write(&dir, "");
    let xml = fs::read_to_string(&guest).expect("a file").replace("<devices>", &disk);
    fs::write(&guest, xml).expect("a file");
    let secret = format!("{UUID}={}", text(&source));
    let (child, _lines, first) = start(&dir, &guest, &["--secret", &secret]);
    assert!(first.contains("RUNNING"), "{first}");
    // What must be there is found: so would the secret be.
    assert_ne!(memory_with(child.id(), text(&source).as_bytes()), [""; 0]);
    assert_eq!(memory_with(child.id(), PASSPHRASE.as_bytes()), [""; 0]);
    signal(&child, Signal::TERM);
    signal(&child, Signal::INT);
    child.wait_with_output().expect("an end");
}

#[test]
fn an_emulator_that_is_killed_is_reported() {
    let dir = Dir::new();
    let (child, _lines, first) = start(&dir, &write(&dir, ""), &[]);
    let pid = first.trim().strip_prefix("RUNNING pid=").expect("a number");
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
    kill_process(pid, Signal::KILL).expect("a signal");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(stderr, "capscache: the emulator was killed by signal 9\n");
}

#[test]
fn what_keeps_a_guest_from_starting_has_its_own_code_and_message() {
    let dir = Dir::new();
    let bad = "<qemu:commandline><qemu:arg value='-no-such-option'/></qemu:commandline>";
    let output = command(&dir, &write(&dir, bad)).output().expect("an end");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(stderr.contains("-no-such-option: invalid option"), "{stderr}");
    let guest = write(&dir, "");
    for wrong in [&["--secret", "x"][..], &["--user", "no-such-user"], &["--no-such-option"]] {
        let output = command(&dir, &guest).args(wrong).output().expect("an end");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn what_would_be_started_is_printed_and_nothing_is_written_but_the_cache() {
    let dir = Dir::new();
    let guest = write(&dir, "");
    let root = text(&dir.root());
    let line = dir.answer(&["--root", &root, "run", &guest, "--dry-run"]);
    assert!(line.contains("\\\n-name guest=web,debug-threads=on \\\n-S \\\n"), "{line}");
    let xml = dir.answer(&["--root", &root, "run", &guest, "--print-xml"]);
    assert!(xml.contains("<uuid>") && xml.contains("<memballoon model='virtio'>"), "{xml}");
    let files = fs::read_dir(dir.root()).expect("a directory");
    let files: Vec<_> = files.map(|file| file.expect("a file").file_name()).collect();
    assert_eq!(files, ["cache"]);
}

#[test]
fn a_printed_guest_has_no_passwords() {
    let dir = Dir::new();
    let guest = write(&dir, "<metadata><a:b xmlns:a='a' passwd='kept'/></metadata>");
    let console =
        "<devices><graphics type='vnc' passwd='hidden12'><listen type='none'/></graphics>";
    let xml = fs::read_to_string(&guest).expect("a file").replace("<devices>", console);
    fs::write(&guest, xml).expect("a file");
    let root = text(&dir.root());
    for option in ["--print-xml", "--dry-run"] {
        let printed = dir.answer(&["--root", &root, "run", &guest, option]);
        assert!(!printed.contains("hidden12"), "{printed}");
    }
    let printed = dir.answer(&["--root", &root, "run", &guest, "--print-xml"]);
    assert!(printed.contains("<graphics type='vnc'") && printed.contains("kept"), "{printed}");
}

#[test]
fn a_signal_during_a_start_ends_it_and_leaves_nothing() {
    let dir = Dir::new();
    let (emulator, file) = (dir.path("emulator"), dir.path("pid"));
    // It can be probed, but hangs when it is to run the guest.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *guest=web*) echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000;; esac\n\
         exec {1} \"$@\"\n",
        text(&file),
        x86_64()
    );
    test_support::write_program(&emulator, script);
    let guest = write(&dir, "");
    let xml = fs::read_to_string(&guest).expect("a file").replace(&x86_64(), &text(&emulator));
    fs::write(&guest, xml).expect("a file");
    for args in [&[][..], &["--detach"]] {
        let mut child = command(&dir, &guest);
        let child = child.args(args).stderr(Stdio::piped()).spawn().expect("a process");
        test_support::wait_until("the emulator runs", || file.exists());
        let pid = fs::read_to_string(&file).expect("a number");
        fs::remove_file(&file).expect("a file");
        signal(&child, Signal::INT);
        let output = child.wait_with_output().expect("an end");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("given up on a signal"), "{stderr}");
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
        assert!(!dir.root().join("run/guest/web").exists());
    }
}

#[test]
fn a_reader_that_stalls_does_not_keep_signals_from_ending_a_guest() {
    let dir = Dir::new();
    let guest = write(&dir, "");
    let (_reader, mut full) = std::io::pipe().expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&full).expect("flags");
    rustix::fs::fcntl_setfl(&full, flags | OFlags::NONBLOCK).expect("flags");
    while full.write(&[0; 512]).is_ok() {}
    rustix::fs::fcntl_setfl(&full, flags).expect("flags");
    let mut child = command(&dir, &guest);
    child.arg("--timing").stdout(full).stderr(Stdio::piped());
    let mut child = child.spawn().expect("a process");
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut lines = stderr.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("all: ")), "it has started");
    signal(&child, Signal::TERM);
    // Signals that are pending at the same time are one.
    std::thread::sleep(std::time::Duration::from_millis(100));
    signal(&child, Signal::INT);
    let rest: Vec<_> = lines.collect();
    assert_eq!(child.wait().expect("an end").code(), Some(5), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("not all events were printed")), "{rest:?}");
}
