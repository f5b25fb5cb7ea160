//! `watch`: its output, and bursts of events that are larger than any queue.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use test_support::{DEADLINE, replace_program};

use crate::{Dir, avr, emulator};

/// A running command, and the lines that it prints.
pub(crate) struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Dir {
    /// Starts to watch, and waits until watching has begun.
    fn watch(&self, arguments: &[&str]) -> Watch {
        let watch = self.start_watch(arguments);
        watch.until("watching");
        watch
    }

    /// Starts to watch.
    pub(crate) fn start_watch(&self, arguments: &[&str]) -> Watch {
        let mut command = self.command();
        command.arg("watch").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let _ = sender.send(line.expect("UTF-8"));
            }
        });
        Watch { child, lines }
    }
}

impl Watch {
    /// The output up to and including the first line with these words.
    pub(crate) fn until(&self, words: &str) -> Vec<String> {
        let mut printed = Vec::new();
        while printed.last().is_none_or(|line: &String| !line.contains(words)) {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => printed.push(line),
                Err(error) => panic!("{error}; printed so far: {printed:#?}"),
            }
        }
        printed
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn append(path: &Path) {
    let mut content = fs::read(path).expect("a file");
    content.extend_from_slice(b"# other\n");
    replace_program(path, content);
}

#[test]
fn one_line_is_printed_per_event() {
    if !test_support::rights::is_run_protected() {
        return;
    }
    let dir = Dir::new();
    let wrapper = dir.wrapper("qemu", &avr());
    dir.answer(&["warm", &wrapper]);
    let search = dir.path("search");
    fs::create_dir(&search).expect("a directory");
    let watch = dir.watch(&["--rewarm", "--search", search.to_str().expect("UTF-8")]);
    append(Path::new(&wrapper));
    let printed = watch.until("refreshed");
    let [dropped, refreshed] = &printed[..] else { panic!("not two lines but {printed:?}") };
    assert!(dropped.starts_with(&format!("dropped {wrapper}: the emulator {wrapper} changed")));
    let took = refreshed.strip_prefix(&format!("refreshed {wrapper}: probed in "));
    assert!(took.is_some_and(|took| took.ends_with(" ms")), "{refreshed}");
    assert_eq!(dir.listed(&wrapper).expect("an entry")["state"], "valid");

    let new = dir.wrapper("search/qemu-system-new", &emulator("rx"));
    assert_eq!(watch.until("appeared"), [format!("appeared {new}")]);
    watch.until(&format!("refreshed {new}"));
    fs::remove_file(&new).expect("a removal");
    let dropped = watch.until("dropped");
    assert!(dropped[0].ends_with("found No such file or directory"), "{dropped:?}");
    fs::remove_dir(&search).expect("a removal");
    let lost = format!("lost {}: checked everything again", search.display());
    assert_eq!(watch.until("lost"), [lost]);

    let broken = dir.program("qemu", "#!/bin/sh\necho no luck >&2\nexit 1\n");
    watch.until(&format!("dropped {broken}"));
    let failed = watch.until("failed");
    assert!(failed[0].starts_with(&format!("failed {broken}: ")), "{failed:?}");
    assert!(failed[0].contains("no luck"), "{failed:?}");
}

#[test]
fn a_script_gets_an_object_per_event() {
    if !test_support::rights::is_run_protected() {
        return;
    }
    let dir = Dir::new();
    let wrapper = dir.wrapper("qemu", &avr());
    dir.answer(&["warm", &wrapper]);
    let watch = dir.watch(&["--json", "--rewarm", "--jobs", "1"]);
    append(Path::new(&wrapper));
    let objects: Vec<Value> = watch
        .until("refreshed")
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let [dropped, refreshed] = &objects[..] else { panic!("not two but {objects:?}") };
    assert_eq!(
        (&dropped["event"], &dropped["emulator"]),
        (&"dropped".into(), &wrapper.clone().into())
    );
    assert!(dropped["reason"].as_str().is_some_and(|reason| reason.contains("changed: recorded")));
    assert_eq!((&refreshed["event"], &refreshed["probed"]), (&"refreshed".into(), &true.into()));
    assert!(refreshed["milliseconds"].is_u64());

    fs::remove_dir_all(dir.root()).expect("a removal");
    // The removal takes a time, and may be reported in parts.
    loop {
        let lost = watch.until("lost").pop().expect("a line");
        let lost: Value = serde_json::from_str(&lost).expect("JSON");
        assert_eq!(lost["event"], "notice");
        let directories = lost["directories"].as_array().expect("an array");
        if directories.contains(&dir.root().to_str().into()) {
            break;
        }
    }
}

#[test]
fn a_burst_of_a_hundred_thousand_unread_events_is_reported_and_watching_goes_on() {
    if !test_support::rights::is_run_protected() {
        return;
    }
    let dir = Dir::new();
    let (changed, other) = (dir.wrapper("qemu-a", &avr()), dir.wrapper("qemu-b", &avr()));
    dir.answer(&["warm", &changed, &other]);
    let watch = dir.watch(&["--rewarm"]);
    let kept: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .expect("a limit")
        .trim()
        .parse()
        .expect("a number");
    assert!(kept < 99_000, "the kernel keeps more than this test makes: {kept}");
    // It cannot read while it is stopped: events that the kernel does not queue are lost for sure.
    watch.signal("-STOP");
    let noise: Vec<PathBuf> = (0..2).map(|number| dir.path(&format!("noise-{number}"))).collect();
    for number in 0..50_000 {
        // Events that are equal to the last one would be reported once.
        fs::write(&noise[number % 2], "").expect("a file");
        fs::remove_file(&noise[number % 2]).expect("a removal");
    }
    append(Path::new(&changed));
    watch.signal("-CONT");
    let printed = watch.until("refreshed");
    assert_eq!(printed[0], "missed events: checked everything again", "{printed:?}");
    assert!(printed[1].starts_with(&format!("dropped {changed}: ")), "{printed:?}");
    assert!(printed[2].starts_with(&format!("refreshed {changed}: probed")), "{printed:?}");
    assert_eq!(printed.len(), 3, "and nothing of what did not change");
    assert_eq!(dir.listed(&changed).expect("an entry")["state"], "valid");

    // It goes on.
    append(Path::new(&other));
    let printed = watch.until("refreshed");
    assert!(
        printed.len() == 2 && printed[0].starts_with(&format!("dropped {other}: ")),
        "{printed:?}"
    );
}

#[test]
fn it_ends_quietly_when_its_reader_is_gone() {
    let dir = Dir::new();
    let wrapper = dir.wrapper("qemu", &avr());
    dir.answer(&["warm", &wrapper]);
    let mut command = dir.command();
    command.arg("watch").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert!(line.starts_with("watching "), "{line}");
    drop(stdout);
    append(Path::new(&wrapper));
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}
