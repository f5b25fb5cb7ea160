//! Real package operations in a temporary system, with the service inside it.
//!
//! `make test-packages` makes the system and runs this; without the system, the tests are skipped.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use serde_json::{Value, json};
use test_support::rights::can_change_user;

use crate::{Client, DEADLINE, Dir, Ends, Service, wait_until};

const X86_64: &str = "/usr/bin/qemu-system-x86_64";
const I386: &str = "/usr/bin/qemu-system-i386";
const MODULES: &str = "usr/lib/x86_64-linux-gnu/qemu";

/// Queries that a QEMU from 10.0 on answers with yes, and one with the module for OpenGL.
const QUERIES: [&str; 2] = ["command:blockdev-set-active", "type:virtio-gpu-gl-device"];

/// The system that `fixtures/roots.sh` makes; reports a skip with a remedy where it is missing.
fn template() -> Option<PathBuf> {
    let roots = std::env::var_os("ROOTS").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("../fixture-roots"),
        PathBuf::from,
    );
    let template = roots.join("packages");
    if !can_change_user() || !template.join("packages").is_dir() {
        println!(
            "SKIPPED: no system to install packages in; `make test-packages` makes one, as root"
        );
        return None;
    }
    Some(template)
}

/// A temporary system, and the service in it.
struct System {
    dir: Dir,
    service: Service,
}

impl System {
    fn new(template: &Path) -> System {
        let dir = Dir::new();
        let system = dir.path("system");
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(template).arg(&system));
        fs::copy(env!("CARGO_BIN_EXE_capscache"), system.join("usr/bin/capscache")).unwrap();
        let script = r#"
            set -e
            mount --make-rprivate /
            mount -t proc proc "$SYSTEM/proc"
            mount --rbind /dev "$SYSTEM/dev"
            mount -t tmpfs tmp "$SYSTEM/tmp"
            exec chroot "$SYSTEM" /usr/bin/capscache serve -v --rewarm
        "#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", script]).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("SYSTEM", &system);
        // The supervisor's socket has another name inside.
        let notify = system.join("run/notify");
        let supervisor = crate::Supervisor::new(&notify);
        command.env("NOTIFY_SOCKET", "/run/notify");
        let log = fs::File::create(dir.path("log")).unwrap();
        let child = command.stderr(log).spawn().unwrap();
        let service = Service {
            child,
            supervisor,
            socket: system.join("run/capscache/io.capscache.Cache"),
            log: dir.path("log"),
            ended: None,
        };
        service.supervisor.wait_for("READY=1");
        service.wait_for_watcher();
        System { dir, service }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.dir.path("system").join(inside.trim_start_matches('/'))
    }

    fn dpkg(&self, operation: &str, packages: &str) {
        let script = format!("exec dpkg {operation} {packages}");
        let mut chroot = Command::new("chroot");
        chroot.arg(self.path("/")).args(["sh", "-c", &script]);
        run(chroot.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C"));
    }

    /// The expected answers to the queries: whether the emulator is the new one, and whether the module is
    /// installed.
    fn expected(&self, old: u64) -> [bool; 2] {
        let emulator = fs::metadata(self.path(X86_64)).map(|status| status.ino());
        let module = self.path(MODULES).join("hw-display-virtio-gpu-gl.so");
        [emulator.is_ok_and(|inode| inode != old), module.exists()]
    }
}

fn run(command: &mut Command) {
    let run = command.output().unwrap();
    assert!(run.status.success(), "{command:?}: {}", String::from_utf8_lossy(&run.stderr));
}

/// The times of changes to the files of emulators, as the kernel reports them to this test.
struct Files {
    inotify: rustix::fd::OwnedFd,
    changes: Mutex<Option<Changes>>,
}

/// The changes of an operation.
struct Changes {
    first: Instant,
    last: Instant,
    /// The longest time between two of them.
    pause: Duration,
}

impl Files {
    fn watch(system: &System) -> Files {
        use inotify::{CreateFlags, WatchFlags};
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB;
        for directory in ["usr/bin", MODULES] {
            inotify::add_watch(&inotify, system.path(directory), flags).unwrap();
        }
        Files { inotify, changes: Mutex::new(None) }
    }

    /// Records the times of events until `done`.
    fn note(&self, done: &AtomicBool) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1 << 16];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while !done.load(Ordering::Relaxed) {
            if reader.next().is_ok() {
                let now = Instant::now();
                let mut changes = self.changes.lock().unwrap();
                let changes =
                    changes.get_or_insert(Changes { first: now, last: now, pause: Duration::ZERO });
                changes.pause = changes.pause.max(now - changes.last);
                changes.last = now;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Begins an operation.
    fn begin(&self) {
        *self.changes.lock().unwrap() = None;
    }

    /// Returns whether the operation was too slow, or paused for too long, for the watcher to take it for one change: after
    /// 200 ms without an event, or 2 s with some, it checks the files, which are those of half an operation. On a busy host
    /// either side may run late, hence the margin.
    fn is_slow(&self) -> bool {
        let changes = self.changes.lock().unwrap();
        changes.as_ref().is_some_and(|changes| {
            changes.pause >= Duration::from_millis(100)
                || changes.last - changes.first >= Duration::from_secs(1)
        })
    }

    /// The time since the last event.
    fn quiet(&self) -> Duration {
        self.changes
            .lock()
            .unwrap()
            .as_ref()
            .map_or(Duration::MAX, |changes| changes.last.elapsed())
    }
}

/// The events about one emulator.
#[derive(Debug, Default)]
struct Events {
    appeared: usize,
    dropped: usize,
    probed: usize,
    /// Refreshed, and the watcher did not probe.
    unprobed: usize,
    failed: usize,
    /// The time between the last event in the file system and the drop of the entry.
    quiet_before_drop: Option<Duration>,
    dropped_at: Option<Instant>,
    /// The time between that and fresh answers.
    until_fresh: Option<Duration>,
    /// The part of that which the probe took.
    probe: Duration,
}

/// Events of the service with the time of their arrival, and the time since the last change of the files.
struct Received {
    at: Instant,
    quiet: Duration,
    events: Vec<Value>,
}

/// Receives events and the times of their arrival, until the connection ends.
fn receive_events(monitor: &mut Client, files: &Files, sender: &Sender<Received>) {
    while let Some(mut reply) = monitor.next() {
        assert_eq!(reply["parameters"]["missed"], 0);
        let Value::Array(events) = reply["parameters"]["events"].take() else { panic!("{reply}") };
        let (at, quiet) = (Instant::now(), files.quiet());
        if sender.send(Received { at, quiet, events }).is_err() {
            return;
        }
    }
}

/// Collects received events until these emulators are fresh, or were dropped for good.
fn collect(
    received: &Receiver<Received>,
    fresh: &[&str],
    gone: &[&str],
) -> HashMap<String, Events> {
    let mut collected: HashMap<String, Events> = HashMap::new();
    let is_done = |collected: &HashMap<String, Events>| {
        let is =
            |emulator: &&str, of: fn(&Events) -> bool| collected.get(*emulator).is_some_and(of);
        fresh.iter().all(|emulator| is(emulator, |events| events.until_fresh.is_some()))
            && gone.iter().all(|emulator| is(emulator, |events| events.dropped > 0))
    };
    while !is_done(&collected) {
        let Received { at, quiet, events } = received.recv_timeout(DEADLINE).expect("an event");
        for event in events {
            let Some(emulator) = event["emulator"].as_str() else { continue };
            let of = collected.entry(emulator.to_owned()).or_default();
            match event["kind"].as_str().unwrap() {
                "appeared" => of.appeared += 1,
                "dropped" => {
                    of.dropped += 1;
                    of.quiet_before_drop = Some(quiet);
                    of.dropped_at = Some(at);
                    of.until_fresh = None;
                }
                "refreshed" => {
                    *(if event["probed"] == true { &mut of.probed } else { &mut of.unprobed }) += 1;
                    of.until_fresh =
                        Some(of.dropped_at.map_or(Duration::ZERO, |dropped| at - dropped));
                    of.probe = Duration::from_millis(event["milliseconds"].as_u64().unwrap());
                }
                "failed" => of.failed += 1,
                other => panic!("{other}"),
            }
        }
    }
    collected
}

/// A monitor of a service that has nothing to do.
fn monitor(system: &System) -> Client {
    let mut monitor = system.service.connect();
    monitor.begin("Monitor", json!({}));
    assert_eq!(monitor.receive()["parameters"]["events"], json!([]));
    monitor
}

fn print(operation: &str, events: &HashMap<String, Events>) {
    for (emulator, events) in events {
        println!(
            "{operation}: {emulator}: dropped {:?} after the last event, fresh {:?} later, the probe \
             took {:?}; dropped {} times, probed {} times, unprobed {} times, failed {} times",
            events.quiet_before_drop.unwrap_or_default(),
            events.until_fresh.unwrap_or_default(),
            events.probe,
            events.dropped,
            events.probed,
            events.unprobed,
            events.failed
        );
    }
}

#[test]
fn each_package_operation_costs_each_emulator_one_probe() {
    let Some(template) = template() else { return };
    let system = System::new(&template);
    let warmed = system.service.call("Warm", json!({"emulators": [X86_64, I386]}));
    assert!(
        warmed["warmed"].as_array().unwrap().iter().all(|warmed| warmed["outcome"] == "probed")
    );
    let old = fs::metadata(system.path(X86_64)).unwrap().ino();
    let files = Files::watch(&system);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        scope.spawn(|| files.note(&done));
        let sparc = ["/usr/bin/qemu-system-sparc", "/usr/bin/qemu-system-sparc64"];
        let both = [X86_64, I386];
        wait_until("the warmed entries are logged", || {
            system.service.log().matches("refreshed").count() >= 2
        });
        let mut monitor = monitor(&system);
        let monitored = monitor.stream.try_clone().unwrap();
        let (sender, received) = channel();
        scope.spawn({
            let files = &files;
            move || receive_events(&mut monitor, files, &sender)
        });
        for (operation, packages, fresh, gone) in [
            ("--install", "/packages/modules/*.deb", &both[..], &[][..]),
            ("--remove", "qemu-system-gui", &both, &[]),
            ("--install", "/packages/emulators/*.deb", &sparc, &[]),
            ("--remove", "qemu-system-sparc", &[], &sparc),
            ("--install", "/packages/upgrade/*.deb", &both, &[]),
        ] {
            received.try_iter().for_each(drop);
            files.begin();
            system.dpkg(operation, packages);
            let events = collect(&received, fresh, gone);
            print(operation, &events);
            for emulator in fresh {
                let events = &events[*emulator];
                let had_entry = usize::from(both.contains(emulator));
                let counts = (events.dropped, events.probed, events.unprobed);
                let log = system.service.log();
                if files.is_slow() {
                    println!("SKIPPED: {operation} was too slow to be one change: {counts:?}");
                    assert!(counts.0 >= had_entry && counts.1 >= 1, "{events:?}\n{log}");
                } else {
                    assert_eq!(counts, (had_entry, 1, 0), "{events:?}\n{log}");
                }
                assert_eq!(events.appeared, 1 - had_entry);
            }
            for emulator in gone {
                assert_eq!((events[*emulator].dropped, events[*emulator].probed), (1, 0));
            }
            let expected = system.expected(old);
            let query = json!({"emulator": X86_64, "queries": QUERIES});
            let answers = system.service.call("Query", query)["answers"].take();
            assert_eq!(answers, json!(expected.map(|yes| if yes { "yes" } else { "no" })));
        }
        monitored.shutdown(Shutdown::Both).unwrap();
    });
    let got = system.service.call("Get", json!({"emulator": X86_64}));
    assert_eq!(got["version"]["major"], 10);
}

/// The answers to a thousand queries a second.
#[derive(Debug, Default)]
struct Tally {
    right: AtomicUsize,
    /// The files changed between query and answer.
    undecided: AtomicUsize,
    unknown: AtomicUsize,
    refused: AtomicUsize,
    stale: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts a reply; `before` and `after` are the expected answers when the query was sent and answered.
    fn count(&self, before: [bool; 2], reply: &Value, after: [bool; 2]) {
        // An answer that is true when it arrives is right, whatever was true before.
        let expected = json!(after.map(|yes| if yes { "yes" } else { "no" }));
        let answers = &reply["parameters"]["answers"];
        let count = |of: &AtomicUsize| of.fetch_add(1, Ordering::Relaxed);
        if reply["error"] != Value::Null {
            count(&self.refused);
        } else if *answers == expected {
            count(&self.right);
        } else if before != after {
            count(&self.undecided);
        } else if answers.as_array().unwrap().iter().any(|answer| answer == "unknown") {
            count(&self.unknown);
        } else {
            self.stale.lock().unwrap().push(format!("{answers} instead of {expected}"));
        }
    }
}

#[test]
fn a_thousand_queries_a_second_get_no_stale_answer_while_packages_change() {
    const CONNECTIONS: u32 = 100;
    const EACH: Duration = Duration::from_millis(100);
    let Some(template) = template() else { return };
    let system = System::new(&template);
    system.service.call("Warm", json!({"emulators": [X86_64]}));
    let old = fs::metadata(system.path(X86_64)).unwrap().ino();
    let (tally, done) = (Tally::default(), AtomicBool::new(false));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for number in 0..CONNECTIONS {
            let (system, tally, done) = (&system, &tally, &done);
            let mut client = system.service.connect();
            let mut stream = client.stream.try_clone().unwrap();
            let (sender, queries) = channel();
            // Queries at a fixed rate, not waiting for answers.
            scope.spawn(move || {
                let parameters = json!({"emulator": X86_64, "queries": QUERIES});
                let call = json!({"method": "io.capscache.Cache.Query", "parameters": parameters});
                let call = call.to_string() + "\0";
                let mut next = Instant::now() + EACH / CONNECTIONS * number;
                while !done.load(Ordering::Relaxed) {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += EACH;
                    sender.send(system.expected(old)).unwrap();
                    stream.write_all(call.as_bytes()).unwrap();
                }
            });
            scope.spawn(move || {
                for before in queries {
                    let reply = client.receive();
                    tally.count(before, &reply, system.expected(old));
                }
            });
        }
        for (operation, packages) in [
            ("--install", "/packages/modules/*.deb"),
            ("--remove", "qemu-system-gui"),
            ("--install", "/packages/emulators/*.deb"),
            ("--remove", "qemu-system-sparc"),
            ("--install", "/packages/upgrade/*.deb"),
        ] {
            system.dpkg(operation, packages);
        }
        // The new answers reach other callers.
        let mut client = system.service.connect();
        wait_until("the new one answers", || {
            let reply = client.reply_to("Query", json!({"emulator": X86_64, "queries": QUERIES}));
            reply["parameters"]["answers"] == json!(["yes", "no"])
        });
    });
    let Tally { right, undecided, unknown, refused, stale } = tally;
    let [right, undecided, unknown, refused] =
        [right, undecided, unknown, refused].map(AtomicUsize::into_inner);
    let stale = stale.into_inner().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let all = right + undecided + unknown + refused + stale.len();
    println!(
        "{:.1} s, {:.0} queries a second: {right} right, {undecided} while files changed, {unknown} unknown, {refused} refused, \
         {} stale",
        seconds,
        all as f64 / seconds,
        stale.len()
    );
    assert!(stale.is_empty(), "{stale:?}");
    // Some queries are in flight at each change of the files, and the emulator may be absent for a moment; all
    // others are answered.
    assert!(right > all / 2, "{right} right of {all}");
    assert!(unknown + refused < all / 10, "{unknown} unknown and {refused} refused of {all}");
}
