//! Resources that users share: probes, memory, threads. No user can take all of them.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};
use test_support::rights::can_change_user;

use crate::users::directory_of_roots;
use crate::{Client, Dir, NOBODY, as_user, avr, emulator, wait_until};

const MEBIBYTE: usize = 1 << 20;

/// Connections of other users.
fn of_users<T: Send>(count: u32, each: impl Fn() -> T + Sync) -> Vec<T> {
    (1..=count).map(|number| as_user(NOBODY - number, &each)).collect()
}

#[test]
fn a_user_who_has_many_emulators_probed_delays_others_by_one_probe_at_most() {
    const MANY: usize = 20;
    if !can_change_user() {
        return;
    }
    let (dir, opt) = (Dir::new(), directory_of_roots());
    let slow = |name: String| -> PathBuf {
        let path = opt.path().join(name);
        let script = format!("#!/bin/sh\nsleep 0.3\nexec {} \"$@\"\n", avr());
        fs::copy(dir.program("program", &script), &path).unwrap();
        path
    };
    let theirs: Vec<_> = (0..MANY).map(|number| slow(format!("qemu-system-{number:02}"))).collect();
    let (other, own) = (slow("qemu-system-other".into()), slow("qemu-system-own".into()));
    let service = dir.serve(&["--jobs", "1", "--search", opt.path().to_str().unwrap()]);
    let get = |emulator: &Path| {
        let mut client = service.connect();
        let parameters = json!({"emulator": emulator});
        client.send(&json!({"method": "io.capscache.Cache.Get", "parameters": parameters}));
        client
    };
    // The number of their emulators that are probed.
    let probed = || {
        let listed = service.call("List", json!({}));
        let entries = listed["entries"].as_array().unwrap();
        let is_theirs = |entry: &&Value| theirs.iter().any(|path| entry["emulator"] == json!(path));
        entries.iter().filter(is_theirs).count()
    };
    let _waiting: Vec<Client> =
        as_user(NOBODY, || theirs.iter().map(|emulator| get(emulator)).collect());
    wait_until("the first is probed", || probed() > 0);
    // Root has a separate place, and another user the next one.
    let before = probed();
    assert_eq!(get(&own).receive()["parameters"]["arch"], "avr");
    let during = probed() - before;
    assert!(during <= 3, "{during} of theirs were probed during one of root's");
    let before = probed();
    assert_eq!(as_user(NOBODY - 1, || get(&other)).receive()["parameters"]["arch"], "avr");
    let during = probed() - before;
    assert!(during <= 3, "{during} of theirs were probed during one of another user's");
    assert!(probed() < MANY);
}

#[test]
fn unread_replies_and_unfinished_calls_of_nine_users_take_nothing_from_root() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let export = json!({
        "method": "io.capscache.Cache.Export",
        "parameters": {"emulator": emulator("x86_64"), "format": "json"},
    });
    let document = |client: &mut Client| {
        let reply = client.receive();
        reply["parameters"]["document"].as_str().unwrap().len()
    };
    let mut client = service.connect();
    client.send(&export);
    let length = document(&mut client);
    let mut unread = of_users(9, || {
        let mut client = service.connect();
        client.send(&export);
        client
    });
    let arrived = |client: &Client| rustix::io::ioctl_fionread(&client.stream).unwrap();
    wait_until("eight are written", || unread.iter().filter(|one| arrived(one) > 0).count() >= 8);
    client.send(&export);
    assert_eq!(document(&mut client), length);
    for client in &mut unread {
        assert_eq!(document(client), length, "root did not wait until theirs were given up");
    }

    let unfinished = vec![b'x'; MEBIBYTE - 1];
    let kept = of_users(9, || {
        let clients = (0..17).map(|_| {
            let mut client = service.connect();
            // A connection beyond the limit is closed, at once or while it is written.
            let _ = client.stream.write_all(&unfinished);
            client
        });
        clients.collect::<Vec<_>>()
    });
    let padding = "x".repeat(MEBIBYTE - 200);
    client.send(&json!({"method": "io.capscache.Cache.GetInfo", "padding": padding}));
    assert_eq!(client.receive()["parameters"]["format"], capscache::format::layout::FORMAT_VERSION);
    drop(kept);
}

/// A file system whose server never replies, until this is dropped.
struct Hanging {
    _mounted: Mounted,
    /// The connection of the server; without it all waiting callers get an error.
    _server: File,
}

/// A mount that lasts until this is dropped.
struct Mounted(PathBuf);

impl Hanging {
    /// Mounts it; returns `None` and reports a skip where that is not possible.
    fn over(directory: PathBuf) -> Option<Hanging> {
        let mounted = File::options().read(true).write(true).open("/dev/fuse").and_then(|server| {
            let options = format!(
                "fd={},rootmode=40000,user_id=0,group_id=0,allow_other\0",
                server.as_raw_fd()
            );
            let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).unwrap();
            mount("hangs", &directory, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options)?;
            Ok(server)
        });
        match mounted {
            Ok(server) => Some(Hanging { _mounted: Mounted(directory), _server: server }),
            Err(error) => {
                println!("SKIPPED: FUSE cannot be mounted here: {error}");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_file_system_that_hangs_blocks_only_calls_about_its_files() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    fs::create_dir(dir.path("hangs")).unwrap();
    let on_it = dir.wrapper("hangs/qemu-system-there", &avr());
    let mut command = dir.command();
    command.args(["serve", "--socket"]).arg(dir.socket()).env("WATCHDOG_USEC", "2000000");
    let service = dir.start(command);
    let query = |emulator: &str| json!({"emulator": emulator, "queries": ["machine:uno"]});
    for emulator in [&on_it, &avr()] {
        // The second time it is answered at once.
        for _ in 0..2 {
            assert_eq!(service.call("Query", query(emulator))["answers"], json!(["yes"]));
        }
    }
    let Some(hanging) = Hanging::over(dir.path("hangs")) else { return };
    let call_times = |times: usize| -> Vec<Client> {
        let call = |number: usize| {
            let mut client = service.connect();
            let (method, parameters) = match number % 3 {
                0 => ("Query", query(&on_it)),
                1 => ("Status", json!({"emulator": on_it, "thorough": true})),
                _ => ("Get", json!({"emulator": on_it})),
            };
            let method = format!("io.capscache.Cache.{method}");
            client.send(&json!({"method": method, "parameters": parameters}));
            client
        };
        (0..times).map(call).collect()
    };
    let mut theirs = call_times(6);
    theirs.extend(of_users(8, || call_times(6)).into_iter().flatten());
    let status: Value = json!({"emulator": avr(), "thorough": true});
    as_user(NOBODY, || {
        assert_eq!(service.call("Query", query(&avr()))["answers"], json!(["yes"]));
        assert_eq!(service.call("Status", status.clone())["state"], "valid");
    });
    // Also for callers that wait for it.
    assert_eq!(
        service.call("GetInfo", json!({}))["format"],
        capscache::format::layout::FORMAT_VERSION
    );
    for _ in 0..2 {
        service.supervisor.wait_for("WATCHDOG=1");
    }
    for client in &theirs {
        let arrived = rustix::io::ioctl_fionread(&client.stream).unwrap();
        assert_eq!(arrived, 0, "its files were not examined");
    }
    drop(hanging);
    for mut client in theirs {
        client.receive();
    }
    assert_eq!(service.call("Query", query(&on_it))["answers"], json!(["yes"]));
}

#[test]
fn a_full_disk_is_logged_once_and_every_call_is_answered() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    fs::create_dir(dir.root()).unwrap();
    let mounted = mount("small", dir.root(), "tmpfs", MountFlags::empty(), c"size=1m,mode=755");
    if let Err(error) = mounted {
        println!("SKIPPED: tmpfs cannot be mounted here: {error}");
        return;
    }
    let _small = Mounted(dir.root());
    let filler = dir.root().join("filler");
    let fill = || drop(File::create(&filler).unwrap().write_all(&[0; 2 * MEBIBYTE]));
    fill();
    let service = dir.serve(&[]);
    let warm = |targets: [&str; 2]| {
        for target in targets {
            let got = service.call("Get", json!({"emulator": emulator(target)}));
            assert_eq!(got["arch"], target, "{got}");
        }
    };
    let logged = || service.log().matches("cannot store the answers").count();
    warm(["avr", "rx"]);
    assert_eq!(logged(), 1, "{}", service.log());
    fs::remove_file(&filler).unwrap();
    warm(["or1k", "or1k"]);
    assert_eq!(service.call("List", json!({}))["entries"].as_array().unwrap().len(), 1);
    fill();
    warm(["microblaze", "tricore"]);
    assert_eq!(logged(), 2, "after something was kept it is news again: {}", service.log());
}
