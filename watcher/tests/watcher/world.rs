//! A directory with emulators, a cache, and a watcher whose events are waited for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use capscache::{Cache, CacheOptions, Lookup};
use capscache_watcher::{Event, Notice, Options, Watcher};
use tempfile::TempDir;
use test_support::{DEADLINE, age, replace_program, write_program};

/// A small emulator, so that tests are quick.
pub(crate) const AVR: &str = "/usr/bin/qemu-system-avr";
/// Another small one.
pub(crate) const RX: &str = "/usr/bin/qemu-system-rx";

/// Opens a cache whose wrappers may write to the directories of the tests, to count.
pub(crate) fn open(root: impl Into<PathBuf>) -> Cache {
    let writable = vec![std::env::temp_dir()];
    Cache::open_with(root, CacheOptions { writable, ..CacheOptions::default() }).unwrap()
}

pub(crate) struct World {
    root: TempDir,
    pub(crate) cache: Cache,
}

impl World {
    pub(crate) fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path().join("cache"));
        World { root, cache }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// An executable file that replaces what was there, as package managers do it.
    pub(crate) fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        replace_program(&path, content);
        path
    }

    /// A script that becomes an emulator, and counts how often it is started to be asked: not when a sweep
    /// only compares what it runs, under whatever accelerator there is.
    pub(crate) fn wrapper(&self, name: &str, target: &str) -> PathBuf {
        let count = self.path("count");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *accel=tcg:qtest:kvm*) ;; *) echo \"$0\" >> {} ;; esac\n\
             exec {target} \"$@\"\n",
            count.display()
        );
        self.program(name, script)
    }

    /// How often a wrapper was started.
    pub(crate) fn starts(&self, emulator: &Path) -> usize {
        let text = fs::read_to_string(self.path("count")).unwrap_or_default();
        text.lines().filter(|line| Path::new(line) == emulator).count()
    }

    /// Another version of a program: more of it, which does nothing.
    pub(crate) fn upgrade(&self, name: &str) {
        let mut content = fs::read(self.path(name)).unwrap();
        content.extend_from_slice(b"\n#\n");
        self.program(name, content);
    }

    /// Waits until a file's change is old enough for a lookup to rely on its time stamps: nothing else
    /// can make it so.
    pub(crate) fn age(&self, name: &str) {
        age(&self.path(name));
    }

    pub(crate) fn is_hit(&self, emulator: &Path) -> bool {
        matches!(self.cache.lookup(emulator), Ok(Lookup::Hit(_)))
    }

    pub(crate) fn is_missing(&self, emulator: &Path) -> bool {
        matches!(self.cache.lookup(emulator), Ok(Lookup::Missing))
    }

    /// Starts to watch, and waits until that is so.
    pub(crate) fn watch(&self, options: Options) -> Watching {
        self.begin(options).0
    }

    /// Starts to watch, and waits until that is so; also what was told until then.
    pub(crate) fn begin(&self, options: Options) -> (Watching, Vec<Event>) {
        let (sender, events) = channel();
        let sink = move |event| drop(sender.send(event));
        let rewarm = options.rewarm;
        let watcher = Watcher::start(self.cache.clone(), options, sink).unwrap();
        let watching = Watching { watcher, events, rewarm };
        let told = watching.until(|event| matches!(event, Event::Notice(Notice::Watching { .. })));
        (watching, told)
    }
}

/// A watcher that runs, and what it tells.
pub(crate) struct Watching {
    pub(crate) watcher: Watcher,
    pub(crate) events: Receiver<Event>,
    rewarm: bool,
}

impl Watching {
    /// What was told until something was, which is the last of it.
    pub(crate) fn until(&self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let deadline = Instant::now() + DEADLINE;
        let mut told = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => told.push(event),
                Err(error) => panic!("{error}; told so far: {told:#?}"),
            }
            if told.last().is_some_and(&is_last) {
                return told;
            }
        }
    }

    /// What was told until an emulator was dropped, and why it was.
    pub(crate) fn dropped(&self, emulator: &Path) -> (Vec<Event>, String) {
        let told = self.until(|event| is_dropped(event, emulator));
        match told.last() {
            Some(Event::Dropped { reason, .. }) => (told.clone(), reason.clone()),
            other => panic!("not dropped but {other:?}"),
        }
    }

    /// What was told until an emulator was refreshed, and whether it was probed.
    pub(crate) fn refreshed(&self, emulator: &Path) -> (Vec<Event>, bool) {
        let told = self.until(
            |event| matches!(event, Event::Refreshed { emulator: told, .. } if told == emulator),
        );
        match told.last() {
            Some(Event::Refreshed { probed, .. }) => (told.clone(), *probed),
            other => panic!("not refreshed but {other:?}"),
        }
    }

    /// What was told until an emulator failed, and why it did.
    pub(crate) fn failed(&self, emulator: &Path) -> (Vec<Event>, String) {
        let told = self.until(
            |event| matches!(event, Event::Failed { emulator: told, .. } if told == emulator),
        );
        match told.last() {
            Some(Event::Failed { reason, .. }) => (told.clone(), reason.clone()),
            other => panic!("not failed but {other:?}"),
        }
    }

    pub(crate) fn appeared(&self, emulator: &Path) -> Vec<Event> {
        self.until(|event| matches!(event, Event::Appeared { emulator: told } if told == emulator))
    }

    /// What else was told of what happened up to now: whatever happens later than that is told later.
    /// `search` has to be among the directories that are searched.
    pub(crate) fn rest(&self, search: &Path) -> Vec<Event> {
        let (last, new) = (search.join("qemu-system-last"), search.join("new"));
        write_program(&new, "#!/bin/sh\nexit 1\n");
        fs::rename(&new, &last).unwrap();
        let mut told = self.appeared(&last);
        told.pop();
        if self.rewarm {
            told.extend(self.failed(&last).0);
            told.pop();
        }
        fs::remove_file(&last).unwrap();
        told
    }
}

pub(crate) fn is_dropped(event: &Event, emulator: &Path) -> bool {
    matches!(event, Event::Dropped { emulator: told, .. } if told == emulator)
}

pub(crate) fn rewarm() -> Options {
    Options { rewarm: true, ..Options::default() }
}

/// Runs a test, an ignored one, in namespaces of its own; `false`, and said so, where they cannot be
/// made. `options` are those of `unshare(1)`.
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
    // What it could not do is not hidden.
    stdout.lines().filter(|line| line.contains("SKIPPED")).for_each(|line| println!("{line}"));
    true
}

/// Runs a program, which has to succeed.
pub(crate) fn command(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) {
    let mut command = Command::new(program);
    command.args(arguments.iter().map(AsRef::as_ref)).stdin(Stdio::null());
    let output = command.output().unwrap();
    let told = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told));
}
