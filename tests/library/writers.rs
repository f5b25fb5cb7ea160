//! Many processes that request one emulator, some of which die, are stopped or hang meanwhile.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use capscache::probe::Limits;
use capscache::{Cache, Error, Groups, Lookup};
use tempfile::TempDir;
use test_support::wait_until;

use crate::cache::program;

const AVR: &str = "/usr/bin/qemu-system-avr";

/// A directory with a wrapper that counts its starts.
struct Scene(TempDir);

impl Scene {
    fn new(line: &str) -> Scene {
        let scene = Scene(tempfile::tempdir().expect("a directory"));
        let runs = scene.path("runs");
        let script = format!("#!/bin/sh\necho run >> {}\n{line}\n", runs.display());
        program(&scene.emulator(), &script);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn emulator(&self) -> PathBuf {
        self.path("qemu-system-avr")
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).map_or(0, |text| text.lines().count())
    }

    /// Starts a process that gets the entry of the emulator with `groups` beside the core group.
    fn start(&self, groups: &str) -> Child {
        let mut command = self.child(groups);
        command.spawn().expect("a child")
    }

    fn child(&self, groups: &str) -> Command {
        let variables: [(&str, &Path); 3] = [
            ("ROOT", &self.path("root")),
            ("EMULATOR", &self.emulator()),
            ("GROUPS", Path::new(groups)),
        ];
        crate::child("writers::child_that_gets_groups", &variables)
    }

    /// Waits until the emulator was started this many times.
    fn wait_for_runs(&self, count: usize) {
        wait_until("the emulator is started", || self.runs() >= count);
    }

    fn cache(&self) -> Cache {
        crate::open(self.path("root")).expect("a cache")
    }
}

fn succeeded(mut child: Child) -> bool {
    child.wait().expect("a child").success()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("a number");
    rustix::process::kill_process(pid, signal).expect("it is there");
}

#[test]
#[ignore = "runs as a process of its own"]
fn child_that_gets_groups() {
    let variable = |name| std::env::var_os(name).expect("a variable");
    let mut limits = Limits::default();
    if std::env::var_os("HURRY").is_some() {
        limits.start = Duration::from_secs(5);
        limits.probe = Duration::from_secs(5);
    }
    let cache = crate::builder(variable("ROOT")).limits(limits).open().expect("a cache");
    let groups = match variable("GROUPS").to_str() {
        Some("devices") => Groups::DEVICES,
        Some("objects") => Groups::OBJECTS,
        _ => Groups::CORE,
    };
    match cache.get_with(variable("EMULATOR"), groups) {
        Ok(caps) => assert_eq!(caps.arch(), "avr"),
        Err(Error::Failed { .. }) => std::process::exit(42),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn sixty_four_processes_that_request_an_entry_at_once_start_one_probe() {
    let scene = Scene::new(&format!("sleep 0.3; exec {AVR} \"$@\""));
    let children: Vec<Child> = (0..64).map(|_| scene.start("core")).collect();
    assert!(children.into_iter().all(succeeded));
    assert_eq!(scene.runs(), 1);
}

#[test]
fn no_caller_waits_for_the_probe_of_another_emulator() {
    let scene = Scene::new(&format!(
        "while [ ! -e $(dirname $0)/g? ]; do sleep 0.01; done; exec {AVR} \"$@\""
    ));
    let waiting = scene.start("core");
    scene.wait_for_runs(1);
    assert_eq!(scene.cache().get(AVR).expect("answers").arch(), "avr");
    fs::write(scene.path("go"), "").expect("a file");
    assert!(succeeded(waiting));
    assert_eq!(scene.runs(), 1);
}

#[test]
fn when_a_prober_is_killed_one_of_the_waiting_processes_takes_its_place() {
    let scene = Scene::new(&format!(
        "[ $(wc -l < $(dirname $0)/run?) = 1 ] && sleep 60; exec {AVR} \"$@\""
    ));
    let mut first = scene.start("core");
    scene.wait_for_runs(1);
    let others: Vec<Child> = (0..8).map(|_| scene.start("core")).collect();
    signal(&first, rustix::process::Signal::KILL);
    assert_eq!(first.wait().expect("a child").signal(), Some(9));
    assert!(others.into_iter().all(succeeded));
    assert_eq!(scene.runs(), 2);
}

#[test]
fn a_prober_that_is_stopped_costs_the_waiting_processes_one_deadline_together() {
    let scene = Scene::new(&format!(
        "[ $(wc -l < $(dirname $0)/run?) = 1 ] && sleep 60; exec {AVR} \"$@\""
    ));
    let mut first = scene.start("core");
    scene.wait_for_runs(1);
    signal(&first, rustix::process::Signal::STOP);
    let others: Vec<Child> =
        (0..8).map(|_| scene.child("core").env("HURRY", "").spawn().expect("a child")).collect();
    assert!(others.into_iter().all(succeeded));
    // One of them took the lock over and probed, the others got its entry.
    assert_eq!(scene.runs(), 2);
    signal(&first, rustix::process::Signal::KILL);
    first.wait().expect("a child");
}

#[test]
fn an_emulator_that_hangs_costs_the_waiting_processes_one_deadline_together() {
    let scene = Scene::new("exec sleep 60");
    let children: Vec<Child> =
        (0..8).map(|_| scene.child("core").env("HURRY", "").spawn().expect("a child")).collect();
    let codes = children.into_iter().map(|mut child| child.wait().expect("a child").code());
    let failed = codes.filter(|code| *code == Some(42)).count();
    assert_eq!(failed, 7, "all but one got the remembered failure of the one that probed");
}

#[test]
fn two_processes_that_fill_different_groups_lose_neither() {
    let scene = Scene::new(&format!("exec {AVR} \"$@\""));
    scene.cache().get(scene.emulator()).expect("answers");
    let (devices, objects) = (scene.start("devices"), scene.start("objects"));
    assert!(succeeded(devices) && succeeded(objects));
    let caps = scene.cache().get(scene.emulator()).expect("answers");
    assert_eq!(caps.groups(), Groups::DEVICES | Groups::OBJECTS);
}

#[test]
fn a_probe_outlives_the_thread_that_requested_it() {
    let scene = Scene::new(&format!("sleep 0.3; exec {AVR} \"$@\""));
    let cache = scene.cache();
    let caller = {
        let (cache, emulator) = (cache.clone(), scene.emulator());
        std::thread::spawn(move || {
            let mut future = Box::pin(cache.get_async(emulator));
            let waker = std::task::Waker::noop();
            assert!(future.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
        })
    };
    caller.join().expect("it ends");
    wait_until("the probe is over", || {
        matches!(cache.lookup(scene.emulator()), Ok(Lookup::Hit(_)))
    });
    assert_eq!(scene.runs(), 1);
}

#[test]
fn a_process_that_ignores_sigchld_gets_its_answers() {
    let scene = Scene::new(&format!("exec {AVR} \"$@\""));
    // A child of a shell ignores the signals that the shell ignores.
    let mut shell = Command::new("sh");
    let child = scene.child("core");
    shell.args(["-c", "trap '' CHLD; exec \"$@\"", "sh"]).arg(child.get_program());
    shell.args(child.get_args());
    for (name, value) in child.get_envs() {
        shell.env(name, value.expect("a value"));
    }
    assert!(shell.stdout(std::process::Stdio::null()).status().expect("a shell").success());
    assert_eq!(scene.runs(), 1);
}
