//! A directory with emulators, a cache, and a watcher with a channel of its events.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use capscache::probe::Limits;
use capscache::{Cache, Lookup};
use capscache_watcher::{Event, Notice, Options, Watcher};
use tempfile::TempDir;
use test_support::{DEADLINE, age, replace_program, write_program};

/// A small emulator, so that tests are quick.
pub(crate) const AVR: &str = "/usr/bin/qemu-system-avr";
/// Another small one.
pub(crate) const RX: &str = "/usr/bin/qemu-system-rx";

/// Opens a cache whose wrappers may write to the directories of the tests, to count their starts, and may wait as long as a test
/// does on a busy machine.
pub(crate) fn open(root: impl Into<PathBuf>) -> Cache {
    let limits = Limits::default().start(DEADLINE).probe(DEADLINE);
    Cache::builder(root).limits(limits).writable([std::env::temp_dir()]).open().unwrap()
}

pub(crate) struct Fixture {
    root: TempDir,
    pub(crate) cache: Cache,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path().join("cache"));
        Fixture { root, cache }
    }

    /// A fixture for emulators that are probed in the background, which only trusted ones are; `None`, said
    /// aloud, where the directories of tests are not.
    pub(crate) fn protected() -> Option<Fixture> {
        test_support::rights::is_run_protected().then(Fixture::new)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes an executable file and renames it into place, as package managers do.
    pub(crate) fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        replace_program(&path, content);
        path
    }

    /// Writes a script that executes an emulator, and counts how often it is started to be probed: not when
    /// a sweep only compares what it runs, under any accelerator.
    pub(crate) fn wrapper(&self, name: &str, target: &str) -> PathBuf {
        let count = self.path("count");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *accel=tcg:qtest:kvm*) ;; *) echo \"$0\" >> {} ;; esac\n\
             exec {target} \"$@\"\n",
            count.display()
        );
        self.program(name, script)
    }

    /// Returns how often a wrapper was started.
    pub(crate) fn starts(&self, emulator: &Path) -> usize {
        let text = fs::read_to_string(self.path("count")).unwrap_or_default();
        text.lines().filter(|line| Path::new(line) == emulator).count()
    }

    /// Replaces a program with another version: a longer file that does the same.
    pub(crate) fn upgrade(&self, name: &str) {
        let mut content = fs::read(self.path(name)).unwrap();
        content.extend_from_slice(b"\n#\n");
        self.program(name, content);
    }

    /// Waits until a file's change is old enough for a lookup to rely on its time stamps, which only time
    /// can bring about.
    pub(crate) fn age(&self, name: &str) {
        age(&self.path(name));
    }

    pub(crate) fn is_hit(&self, emulator: &Path) -> bool {
        matches!(self.cache.lookup(emulator), Ok(Lookup::Hit(_)))
    }

    pub(crate) fn is_missing(&self, emulator: &Path) -> bool {
        matches!(self.cache.lookup(emulator), Ok(Lookup::Missing))
    }

    /// Starts to watch, and waits until everything is watched.
    pub(crate) fn watch(&self, options: Options) -> Watching {
        self.begin(options).0
    }

    /// Starts to watch, and waits until everything is watched; returns also the events until then.
    pub(crate) fn begin(&self, options: Options) -> (Watching, Vec<Event>) {
        let (sender, events) = channel();
        let sink = move |event| drop(sender.send(event));
        let watcher = Watcher::start(self.cache.clone(), options, sink).unwrap();
        let watching = Watching { watcher, events };
        let events =
            watching.until(|event| matches!(event, Event::Notice(Notice::Watching { .. })));
        (watching, events)
    }
}

/// A running watcher and its events.
pub(crate) struct Watching {
    pub(crate) watcher: Watcher,
    pub(crate) events: Receiver<Event>,
}

impl Watching {
    /// Returns the events up to the first for which `is_last` is true.
    pub(crate) fn until(&self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let deadline = Instant::now() + DEADLINE;
        let mut events = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => events.push(event),
                Err(error) => panic!("{error}; events so far: {events:#?}"),
            }
            if events.last().is_some_and(&is_last) {
                return events;
            }
        }
    }

    /// Returns the events until an emulator was dropped, and the reason.
    pub(crate) fn dropped(&self, emulator: &Path) -> (Vec<Event>, String) {
        let events = self.until(|event| is_dropped(event, emulator));
        match events.last() {
            Some(Event::Dropped { reason, .. }) => (events.clone(), reason.clone()),
            other => panic!("not dropped but {other:?}"),
        }
    }

    /// Returns the events until an emulator was refreshed, and whether it was probed.
    pub(crate) fn refreshed(&self, emulator: &Path) -> (Vec<Event>, bool) {
        let events = self.until(
            |event| matches!(event, Event::Refreshed { emulator: of, .. } if of == emulator),
        );
        match events.last() {
            Some(Event::Refreshed { probed, .. }) => (events.clone(), *probed),
            other => panic!("not refreshed but {other:?}"),
        }
    }

    /// Returns the events until an emulator failed, and the reason.
    pub(crate) fn failed(&self, emulator: &Path) -> (Vec<Event>, String) {
        let events = self
            .until(|event| matches!(event, Event::Failed { emulator: of, .. } if of == emulator));
        match events.last() {
            Some(Event::Failed { reason, .. }) => (events.clone(), reason.clone()),
            other => panic!("not failed but {other:?}"),
        }
    }

    pub(crate) fn appeared(&self, emulator: &Path) -> Vec<Event> {
        self.until(|event| matches!(event, Event::Appeared { emulator: of } if of == emulator))
    }

    /// Returns the remaining events of changes up to now: those of later changes come later.
    /// `search` has to be among the search directories; `rewarm`: new emulators are probed.
    pub(crate) fn rest(&self, search: &Path, rewarm: bool) -> Vec<Event> {
        let (last, new) = (search.join("qemu-system-last"), search.join("new"));
        write_program(&new, "#!/bin/sh\nexit 1\n");
        fs::rename(&new, &last).unwrap();
        let mut events = self.appeared(&last);
        events.pop();
        if rewarm {
            events.extend(self.failed(&last).0);
            events.pop();
        }
        fs::remove_file(&last).unwrap();
        events
    }
}

pub(crate) fn is_dropped(event: &Event, emulator: &Path) -> bool {
    matches!(event, Event::Dropped { emulator: of, .. } if of == emulator)
}

pub(crate) fn rewarm() -> Options {
    Options::new().rewarm(true)
}

/// Runs a test, an ignored one, in namespaces of its own; prints that it is skipped and returns `false`
/// where they cannot be made. `options` are those of `unshare(1)`.
pub(crate) fn in_namespaces(options: &str, test: &str) -> bool {
    let can = Command::new("unshare").args([options, "true"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("SKIPPED: `unshare {options}` is not allowed here");
        return false;
    }
    let output = Command::new("unshare")
        .arg(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    // Parts that it skipped are printed.
    stdout.lines().filter(|line| line.contains("SKIPPED")).for_each(|line| println!("{line}"));
    true
}

/// Runs a program, which has to succeed.
pub(crate) fn command(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) {
    let mut command = Command::new(program);
    command.args(arguments.iter().map(AsRef::as_ref)).stdin(Stdio::null());
    let output = command.output().unwrap();
    let printed = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&printed));
}
