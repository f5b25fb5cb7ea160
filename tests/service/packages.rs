//! Real package operations in a system that is thrown away, with the service inside it.
//!
//! `make test-packages` makes the system and runs this; where it is not there, nothing is tested.

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

/// What a QEMU from 10.0 on answers with yes, and what one with the module for OpenGL does.
const QUERIES: [&str; 2] = ["command:blockdev-set-active", "type:virtio-gpu-gl-device"];

/// Where `fixtures/roots.sh` puts systems; says what to do where this one is not.
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

/// A system of its own, and the service in it.
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

    /// What decides about the answers to the queries: whether the emulator is the new one, and whether
    /// the module is there.
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

/// When something happened to the files that emulators consist of, as the kernel tells us beside the
/// service.
struct Files {
    inotify: rustix::fd::OwnedFd,
    last: Mutex<Option<Instant>>,
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
        Files { inotify, last: Mutex::new(None) }
    }

    /// Notes events until told otherwise.
    fn note(&self, done: &AtomicBool) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1 << 16];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while !done.load(Ordering::Relaxed) {
            if reader.next().is_ok() {
                *self.last.lock().unwrap() = Some(Instant::now());
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// How long nothing happened.
    fn quiet(&self) -> Duration {
        self.last.lock().unwrap().map_or(Duration::MAX, |last| last.elapsed())
    }
}

/// What was told of one emulator.
#[derive(Debug, Default)]
struct Told {
    appeared: usize,
    dropped: usize,
    probed: usize,
    /// Refreshed, and somebody else than the watcher probed.
    looked_at: usize,
    failed: usize,
    /// Between the last event in the file system and the entry being dropped.
    quiet_before_drop: Option<Duration>,
    dropped_at: Option<Instant>,
    /// Between that and fresh answers.
    until_fresh: Option<Duration>,
    /// How long the probe took of that.
    probe: Duration,
}

/// What was told at a time, and how long nothing had happened to the files then.
struct Heard {
    at: Instant,
    quiet: Duration,
    events: Vec<Value>,
}

/// Notes what is told at the moment when it is, until the connection ends.
fn hear(monitor: &mut Client, files: &Files, heard: &Sender<Heard>) {
    while let Some(mut reply) = monitor.next() {
        assert_eq!(reply["parameters"]["missed"], 0);
        let Value::Array(events) = reply["parameters"]["events"].take() else { panic!("{reply}") };
        let (at, quiet) = (Instant::now(), files.quiet());
        if heard.send(Heard { at, quiet, events }).is_err() {
            return;
        }
    }
}

/// Collects what was and is told until these emulators are fresh, or were dropped for good.
fn collect(heard: &Receiver<Heard>, fresh: &[&str], gone: &[&str]) -> HashMap<String, Told> {
    let mut told: HashMap<String, Told> = HashMap::new();
    let is_done = |told: &HashMap<String, Told>| {
        let is = |emulator: &&str, of: fn(&Told) -> bool| told.get(*emulator).is_some_and(of);
        fresh.iter().all(|emulator| is(emulator, |told| told.until_fresh.is_some()))
            && gone.iter().all(|emulator| is(emulator, |told| told.dropped > 0))
    };
    while !is_done(&told) {
        let Heard { at, quiet, events } = heard.recv_timeout(DEADLINE).expect("something is told");
        for event in events {
            let Some(emulator) = event["emulator"].as_str() else { continue };
            let of = told.entry(emulator.to_owned()).or_default();
            match event["kind"].as_str().unwrap() {
                "appeared" => of.appeared += 1,
                "dropped" => {
                    of.dropped += 1;
                    of.quiet_before_drop = Some(quiet);
                    of.dropped_at = Some(at);
                    of.until_fresh = None;
                }
                "refreshed" => {
                    *(if event["probed"] == true { &mut of.probed } else { &mut of.looked_at }) +=
                        1;
                    of.until_fresh =
                        Some(of.dropped_at.map_or(Duration::ZERO, |dropped| at - dropped));
                    of.probe = Duration::from_millis(event["milliseconds"].as_u64().unwrap());
                }
                "failed" => of.failed += 1,
                other => panic!("{other}"),
            }
        }
    }
    told
}

/// A monitor of a service that has nothing to do.
fn monitor(system: &System) -> Client {
    let mut monitor = system.service.connect();
    monitor.begin("Monitor", json!({}));
    assert_eq!(monitor.receive()["parameters"]["events"], json!([]));
    monitor
}

fn print(operation: &str, told: &HashMap<String, Told>) {
    for (emulator, told) in told {
        println!(
            "{operation}: {emulator}: dropped {:?} after the last event, fresh {:?} later, the probe \
             took {:?}; dropped {} times, probed {} times, looked at {} times, failed {} times",
            told.quiet_before_drop.unwrap_or_default(),
            told.until_fresh.unwrap_or_default(),
            told.probe,
            told.dropped,
            told.probed,
            told.looked_at,
            told.failed
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
        wait_until("what was warmed is known", || {
            system.service.log().matches("refreshed").count() >= 2
        });
        let mut monitor = monitor(&system);
        let monitored = monitor.stream.try_clone().unwrap();
        let (tell, heard) = channel();
        scope.spawn({
            let files = &files;
            move || hear(&mut monitor, files, &tell)
        });
        for (operation, packages, fresh, gone) in [
            ("--install", "/packages/modules/*.deb", &both[..], &[][..]),
            ("--remove", "qemu-system-gui", &both, &[]),
            ("--install", "/packages/emulators/*.deb", &sparc, &[]),
            ("--remove", "qemu-system-sparc", &[], &sparc),
            ("--install", "/packages/upgrade/*.deb", &both, &[]),
        ] {
            heard.try_iter().for_each(drop);
            system.dpkg(operation, packages);
            let told = collect(&heard, fresh, gone);
            print(operation, &told);
            for emulator in fresh {
                let told = &told[*emulator];
                let had_entry = usize::from(both.contains(emulator));
                assert_eq!(
                    (told.dropped, told.probed, told.looked_at),
                    (had_entry, 1, 0),
                    "{told:?}\n{}",
                    system.service.log()
                );
                assert_eq!(told.appeared, 1 - had_entry);
            }
            for emulator in gone {
                assert_eq!((told[*emulator].dropped, told[*emulator].probed), (1, 0));
            }
            let expected = system.expected(old);
            let asked = json!({"emulator": X86_64, "queries": QUERIES});
            let answers = system.service.call("Query", asked)["answers"].take();
            assert_eq!(answers, json!(expected.map(|yes| if yes { "yes" } else { "no" })));
        }
        monitored.shutdown(Shutdown::Both).unwrap();
    });
    let got = system.service.call("Get", json!({"emulator": X86_64}));
    assert_eq!(got["version"]["major"], 10);
}

/// What a thousand queries a second were answered with.
#[derive(Debug, Default)]
struct Tally {
    right: AtomicUsize,
    /// The files changed between question and answer.
    undecided: AtomicUsize,
    unknown: AtomicUsize,
    refused: AtomicUsize,
    stale: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts a reply to a question that was asked when this was expected.
    fn count(&self, before: [bool; 2], reply: &Value, after: [bool; 2]) {
        // What is true when the answer is there is right, whatever was true before.
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
            let (asked, questions) = channel();
            // Asks whether there was an answer or not.
            scope.spawn(move || {
                let parameters = json!({"emulator": X86_64, "queries": QUERIES});
                let call = json!({"method": "io.capscache.Cache.Query", "parameters": parameters});
                let call = call.to_string() + "\0";
                let mut next = Instant::now() + EACH / CONNECTIONS * number;
                while !done.load(Ordering::Relaxed) {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += EACH;
                    asked.send(system.expected(old)).unwrap();
                    stream.write_all(call.as_bytes()).unwrap();
                }
            });
            scope.spawn(move || {
                for before in questions {
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
        // The new answers reach those who ask.
        let mut client = system.service.connect();
        wait_until("the new one answers", || {
            let reply = client.ask("Query", json!({"emulator": X86_64, "queries": QUERIES}));
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
    // Some are under way at each change of the files, and the emulator may be away for a moment; all
    // others are answered.
    assert!(right > all / 2, "{right} right of {all}");
    assert!(unknown + refused < all / 10, "{unknown} unknown and {refused} refused of {all}");
}
