//! Effects of the command on the rest of the system: processes, pipes, colours, files.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use test_support::rights::can_trace;

use crate::{Dir, Run, avr, kvm_works, text, x86_64};

/// Runs the command under strace: its output, and the calls that make, change or end processes. Returns
/// `None` and reports a skip where strace is missing or may not trace.
pub(crate) fn traced(dir: &Dir, arguments: &[&str]) -> Option<(Run, Vec<String>)> {
    let log = dir.path("strace");
    let mut strace = Command::new("strace");
    dir.prepare(&mut strace);
    strace.args(["-f", "-qq", "-e", "trace=process", "-e", "signal=none", "-o"]).arg(&log);
    strace.arg(env!("CARGO_BIN_EXE_capscache")).args(arguments);
    if !can_trace() {
        return None;
    }
    let run = crate::run(&mut strace);
    let log = fs::read_to_string(log).expect("a log");
    // A line is `PID  call(…`.
    let calls = log.lines().filter_map(|line| Some(line.split_once(' ')?.1.trim().to_owned()));
    Some((run, calls.collect()))
}

pub(crate) fn assert_no_process(calls: &[String]) {
    let starts = |name: &str| calls.iter().filter(|call| call.starts_with(name)).count();
    assert_eq!(starts("execve("), 1, "{calls:#?}");
    for call in ["clone", "fork", "vfork", "wait"] {
        assert_eq!(starts(call), 0, "{calls:#?}");
    }
}

#[test]
fn a_hit_starts_no_process_and_no_thread() {
    let dir = Dir::new();
    let arguments = ["query", &x86_64(), "machine:q35", "cpu:max", "option:sandbox"];
    dir.answer(&arguments);
    let Some((run, calls)) = traced(&dir, &arguments) else { return };
    assert_eq!((run.code, run.stdout.lines().count()), (Some(0), 3));
    assert_no_process(&calls);
}

#[test]
fn a_miss_does_start_processes_so_that_counting_them_proves_something() {
    let dir = Dir::new();
    let Some((run, calls)) = traced(&dir, &["query", &avr(), "machine:uno"]) else { return };
    assert_eq!(run.code, Some(0));
    assert!(calls.iter().filter(|call| call.starts_with("execve(")).count() >= 2, "{calls:#?}");
}

#[test]
fn a_touched_emulator_is_not_probed_again() {
    let dir = Dir::new();
    let copy = dir.program("qemu-system-copy", fs::read(avr()).expect("an emulator"));
    dir.answer(&["warm", &copy]);
    let file = fs::File::options().write(true).open(&copy).expect("a file");
    file.set_modified(SystemTime::now() - Duration::from_secs(86_400)).expect("a time");
    assert_eq!(dir.answer(&["status", &copy]), format!("{copy}: valid\n"));
    let Some((run, calls)) = traced(&dir, &["query", &copy, "machine:uno"]) else { return };
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "machine:uno\tyes\n"));
    assert_no_process(&calls);
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let dir = Dir::new();
    dir.answer(&["warm", &x86_64()]);
    for arguments in [&["export", &x86_64()][..], &["inspect", &x86_64(), "--json"]] {
        let mut command = dir.command();
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut begin = [0; 10];
        // More than a pipe holds is not read.
        child.stdout.take().expect("a pipe").read_exact(&mut begin).expect("ten bytes");
        let output = child.wait_with_output().expect("the command ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn work_goes_on_behind_a_closed_pipe_and_its_result_is_the_exit_code() {
    let dir = Dir::new();
    let unread = |arguments: &[&str]| {
        let mut command = dir.command();
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        drop(child.stdout.take());
        child.wait_with_output().expect("the command ends").status.code()
    };
    let (avr, x86_64) = (avr(), x86_64());
    assert_eq!(unread(&["warm", "--jobs", "1", &avr, &x86_64]), Some(0));
    assert_eq!(dir.answer(&["status", &avr]), format!("{avr}: valid\n"));
    assert_eq!(dir.answer(&["status", &x86_64]), format!("{x86_64}: valid\n"));
    assert_eq!(unread(&["warm", "/bin/false", &avr]), Some(1));
    assert_eq!(unread(&["query", &avr, "machine:q35"]), Some(1));
    assert_eq!(unread(&["query", &avr, "machine:q35", "--json"]), Some(1));
    assert_eq!(unread(&["status", "/bin/false"]), Some(1));
    assert_eq!(unread(&["list"]), Some(0));
    let watch = dir.command().args(["watch"]).stdout(Stdio::piped()).spawn();
    let mut watch = watch.expect("the command starts");
    drop(watch.stdout.take());
    assert_eq!(watch.wait().expect("the command ends").code(), Some(0));
    crate::seed::install(&dir, "11003.0");
    let image = text(&dir.path("image"));
    let check = ["libvirt", "seed", "--image-root", &image, "--check"];
    assert_eq!(unread(&[&check[..], &["/usr/bin/qemu-system-s390x", "/gone"]].concat()), Some(1));
}

#[test]
fn there_is_colour_on_a_terminal_only_and_never_with_no_color() {
    let dir = Dir::new();
    dir.answer(&["warm", &avr()]);
    for arguments in [&["list"][..], &["inspect", &avr()], &["inspect", &avr(), "machines"]] {
        assert!(!dir.answer(arguments).contains('\x1b'), "{arguments:?}");
        let Some(coloured) = on_a_terminal(&dir, arguments, None) else { return };
        assert!(coloured.contains("\x1b["), "{coloured:?}");
        let plain = on_a_terminal(&dir, arguments, Some("1")).expect("a terminal, as before");
        assert!(!plain.contains('\x1b'), "{plain:?}");
    }
}

#[test]
fn warm_shows_running_probes_on_a_terminal() {
    let dir = Dir::new();
    let Some(shown) = on_a_terminal(&dir, &["warm", &avr()], Some("1")) else { return };
    assert!(shown.contains("qemu-system-avr 0s"), "{shown:?}");
    assert!(shown.contains("probed in"), "{shown:?}");
}

/// Runs the command on a terminal; returns `None` and reports a skip where `script` cannot make one.
fn on_a_terminal(dir: &Dir, arguments: &[&str], no_color: Option<&str>) -> Option<String> {
    let mut script = Command::new("script");
    dir.prepare(&mut script);
    let line = [&[env!("CARGO_BIN_EXE_capscache")], arguments].concat().join(" ");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).env("TERM", "xterm");
    if let Some(value) = no_color {
        script.env("NO_COLOR", value);
    }
    match script.output() {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            Some(String::from_utf8(output.stdout).expect("UTF-8"))
        }
        Err(error) => {
            println!("SKIPPED: no terminal can be made, as script cannot be started: {error}");
            None
        }
    }
}

/// All files below a directory, without the cache's.
fn files(directory: &Path, root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path == root {
            continue;
        }
        found.push(text(&path));
        if path.is_dir() {
            found.extend(files(&path, root));
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_is_written_outside_the_root() {
    let dir = Dir::new();
    fs::create_dir_all(dir.path("home/.cache")).expect("a directory");
    fs::create_dir(dir.path("tmp")).expect("a directory");
    let before = files(dir.directory(), &dir.root());
    for arguments in [
        &["warm", &avr()][..],
        &["query", &x86_64(), "property:e1000.mac"],
        &["inspect", &avr(), "devices"],
        &["list"],
        &[],
        &["diff", &avr(), &x86_64()],
        &["record", &avr()],
        &["verify"],
        &["invalidate", &avr()],
        &["man"],
    ] {
        let mut command = dir.command();
        for name in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
            command.env(name, dir.path("home"));
        }
        command.env("XDG_CACHE_HOME", dir.path("home/.cache")).env("TMPDIR", dir.path("tmp"));
        let run = crate::run(command.args(arguments));
        assert_eq!(run.code, Some(0), "{arguments:?}: {run:?}");
    }
    assert_eq!(files(dir.directory(), &dir.root()), before);
    assert!(dir.root().is_dir());
}

#[test]
fn the_root_on_the_command_line_goes_before_the_one_in_the_environment() {
    let dir = Dir::new();
    dir.answer(&["--root", "other", "warm", &avr()]);
    assert!(!dir.root().exists());
    assert_eq!(dir.json(&["list", "--json", "--root", "other"])[0]["arch"], "avr");
}

#[test]
fn the_verbose_option_reports_the_reason_of_a_probe() {
    let dir = Dir::new();
    let miss = dir.run(&["-v", "query", &avr(), "machine:uno"]);
    assert!(miss.stderr.ends_with("there is no entry; probing\n"), "{miss:?}");
    let hit = dir.run(&["-v", "query", &avr(), "machine:uno"]);
    assert!(!hit.stderr.contains("probing"), "{hit:?}");
    assert_eq!(hit.stdout, miss.stdout);
}

#[test]
fn completions_and_man_pages_have_every_command() {
    let dir = Dir::new();
    // The scripts of bash, zsh and fish call the command: see `complete.rs`.
    let scripts = ["elvish", "powershell"].map(|shell| dir.answer(&["completions", shell]));
    let page = dir.answer(&["man"]);
    assert!(page.contains(".TH capscache 1"), "{page}");
    fs::create_dir(dir.path("man")).expect("a directory");
    dir.answer(&["man", "--dir", "man"]);
    let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let all = joined(&dir.answer(&["--help"]));
    for command in [
        "warm",
        "list",
        "inspect",
        "query",
        "status",
        "doctor",
        "invalidate",
        "verify",
        "diff",
        "export",
        "record",
        "replay",
        "libvirt",
        "serve",
        "watch",
        "gc",
        "completions",
        "man",
    ] {
        assert!(scripts.iter().all(|script| script.contains(command)), "{command}");
        assert!(page.contains(&format!("capscache\\-{command}(1)")), "{command}");
        assert!(dir.path(&format!("man/capscache-{command}.1")).exists(), "{command}");
        let own =
            fs::read_to_string(dir.path(&format!("man/capscache-{command}.1"))).expect(command);
        let without = own.lines().collect::<Vec<_>>();
        let without = without.windows(3).find(|lines| lines[0] == ".TP" && lines[2].is_empty());
        assert_eq!(without, None, "{command}: an option without a description");
        let help = dir.answer(&["help", command]);
        assert!(help.contains("Usage: capscache"), "{command}");
        // The description of a command is in the list of all, and on top of its own help.
        let about = help.lines().next().expect("a first line").trim_end_matches('.');
        assert!(all.contains(&joined(about)), "{command}: {about}");
    }
}

#[test]
fn kvm_is_used_where_it_is_present() {
    let dir = Dir::new();
    dir.answer(&["warm", &x86_64()]);
    let accelerators = dir.listed(&x86_64()).expect("an entry")["accelerators"].clone();
    if kvm_works() {
        assert_eq!(accelerators, serde_json::json!(["kvm", "tcg"]));
        assert_eq!(dir.answer(&["query", &x86_64(), "cpu:host@kvm"]), "cpu:host@kvm\tyes\n");
    }
}
