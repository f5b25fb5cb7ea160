//! Operations that another user on the socket may have done, and those that are refused.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::json;
use test_support::rights::can_change_user;

use crate::{Client, Dir, NOBODY, Service, as_user, avr, emulator, has, wait_until};

/// The files in a directory, at any depth.
fn files(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path.display().to_string());
        }
    }
    files.sort();
    files
}

/// A directory that only root can rename: below `/tmp` every user could rename directories.
pub(crate) fn directory_of_roots() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/opt").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn refused(client: &mut Client, method: &str, parameters: serde_json::Value) -> String {
    let (error, facts) = client.error(method, parameters);
    assert_eq!(error, "NotPermitted", "{facts}");
    facts["reason"].as_str().unwrap().to_owned()
}

#[test]
fn another_user_reads_everything_and_has_installed_emulators_probed() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let own = dir.wrapper("qemu-system-mine", &avr());
    service.call("Get", json!({"emulator": own}));
    as_user(NOBODY, || {
        let mut client = service.connect();
        // An emulator that root had probed, in any directory.
        let answer = client.call("Query", json!({"emulator": own, "queries": ["machine:uno"]}));
        assert_eq!(answer["answers"], json!(["yes"]));
        assert_eq!(client.call("List", json!({}))["entries"][0]["emulator"], own.as_str());
        let exported = client.call("Export", json!({"emulator": own, "format": "json"}));
        assert!(exported["document"].as_str().unwrap().contains("\"avr\""));
        // An installed emulator, of which the groups are filled as well.
        let groups = json!({"emulator": emulator("rx"), "groups": ["objects"]});
        assert_eq!(client.call("Get", groups)["arch"], "rx");
    });
}

#[test]
fn another_user_cannot_warm_or_invalidate() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    service.call("Get", json!({"emulator": avr()}));
    as_user(NOBODY, || {
        let mut client = service.connect();
        let emulators = json!({"emulators": [avr()]});
        assert!(refused(&mut client, "Invalidate", emulators.clone()).contains("drop entries"));
        assert!(refused(&mut client, "Warm", emulators.clone()).contains("warm entries"));
        client.begin("Warm", emulators);
        let reply = client.receive();
        assert_eq!(reply["error"], "io.capscache.Cache.NotPermitted");
    });
    assert_eq!(service.call("Status", json!({"emulator": avr()}))["state"], "valid");
}

#[test]
fn another_user_cannot_have_a_file_run_that_is_not_an_installed_emulator() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let ran = dir.path("ran");
    fs::create_dir(dir.path("theirs")).unwrap();
    fs::set_permissions(dir.path("theirs"), fs::Permissions::from_mode(0o777)).unwrap();
    let script = format!("#!/bin/sh\ntouch {}\n", ran.display());
    let theirs = dir.program("theirs/qemu-system-theirs", &script);
    symlink(&theirs, dir.path("theirs/qemu-system-link")).unwrap();
    let link = dir.path("theirs/qemu-system-link");
    let before = files(&dir.root());
    as_user(NOBODY, || {
        let mut client = service.connect();
        for emulator in [
            theirs.as_str(),
            link.to_str().unwrap(),
            "/bin/true",
            "/usr/bin/env",
            "/etc/shadow",
            "/root/secret",
            "/proc/self/exe",
            "/dev/zero",
        ] {
            for (method, parameters) in [
                ("Get", json!({"emulator": emulator})),
                ("Query", json!({"emulator": emulator, "queries": ["machine:q35"]})),
                ("Export", json!({"emulator": emulator, "format": "json"})),
            ] {
                let why = refused(&mut client, method, parameters);
                assert!(why.contains("is not known, and not among"), "{why}");
            }
            let status = client.call("Status", json!({"emulator": emulator, "thorough": true}));
            assert_eq!(status, json!({"state": "missing"}));
        }
    });
    assert!(!ran.exists());
    assert_eq!(files(&dir.root()), before, "nothing was written");
}

#[test]
fn the_existence_of_a_file_that_another_user_cannot_examine_is_not_revealed() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    fs::create_dir(dir.path("closed")).unwrap();
    fs::set_permissions(dir.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    dir.wrapper("closed/qemu-system-there", &avr());
    as_user(NOBODY, || {
        let mut client = service.connect();
        let mut why = |name: &str| {
            let path = dir.path("closed").join(name);
            let why = refused(&mut client, "Get", json!({"emulator": path}));
            why.replace(name, "NAME")
        };
        assert_eq!(why("qemu-system-there"), why("qemu-system-absent"));
    });
}

#[test]
fn a_file_of_another_user_in_place_of_a_cached_emulator_is_not_run() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    fs::create_dir(dir.path("theirs")).unwrap();
    let theirs = dir.wrapper("theirs/qemu-system-theirs", &avr());
    service.call("Get", json!({"emulator": theirs}));
    let ran = dir.path("ran");
    std::os::unix::fs::chown(dir.path("theirs"), Some(NOBODY), None).unwrap();
    as_user(NOBODY, || {
        let path = Path::new(&theirs);
        fs::remove_file(path).unwrap();
        fs::write(path, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut client = service.connect();
        let why = refused(&mut client, "Get", json!({"emulator": theirs}));
        assert!(why.contains("does not belong to root; only root"), "{why}");
    });
    assert!(!ran.exists());
}

#[test]
fn a_script_of_roots_that_names_a_file_of_another_user_is_not_run_for_others() {
    if !can_change_user() {
        return;
    }
    let opt = directory_of_roots();
    let dir = Dir::new();
    let ran = dir.path("ran");
    let theirs = dir.program("theirs", format!("#!/bin/sh\ntouch {}\n", ran.display()));
    std::os::unix::fs::chown(&theirs, Some(NOBODY), None).unwrap();
    let wrapper = opt.path().join("qemu-system-ours");
    fs::copy(dir.wrapper("wrapper", &theirs), &wrapper).unwrap();
    let service = dir.serve(&["--search", opt.path().to_str().unwrap()]);
    as_user(NOBODY, || {
        let why = refused(&mut service.connect(), "Get", json!({"emulator": wrapper}));
        assert!(why.contains("theirs belongs to the user 65534"), "{why}");
    });
    assert!(!ran.exists());
}

#[test]
fn a_script_whose_text_does_not_name_all_that_it_runs_is_not_run_for_others() {
    if !can_change_user() {
        return;
    }
    let (opt, dir) = (directory_of_roots(), Dir::new());
    fs::create_dir(dir.path("theirs")).unwrap();
    let ran = dir.path("ran");
    let theirs = dir
        .program("theirs/u", format!("#!/bin/sh\n: > {}\nexec {} \"$@\"\n", ran.display(), avr()));
    std::os::unix::fs::chown(&theirs, Some(NOBODY), None).unwrap();
    let directory = dir.path("theirs");
    let directory = directory.to_str().unwrap();
    let scripts = [
        format!("exec ${{Q:-{theirs}}} \"$@\""),
        format!("cd {directory}; exec ./u \"$@\""),
        format!("cd {directory}\nexec ./u \"$@\""),
        format!("A={directory}\nexec $A/u \"$@\""),
        format!("set {directory}/?\nQ=$1; shift; exec $Q \"$@\""),
        format!("exec $(ls {directory}/*) \"$@\""),
        format!("eval \"exec {directory}/\"u '\"$@\"'"),
        format!("exec {directory}\\/u \"$@\""),
        "read Q < /proc/1/comm; exec $Q \"$@\"".to_owned(),
        ". /etc/default/qemu-that-is-missing; exec $Q \"$@\"".to_owned(),
    ];
    let mut emulators = Vec::new();
    for (number, script) in scripts.iter().enumerate() {
        let path = opt.path().join(format!("qemu-system-{number}"));
        fs::copy(dir.program("new", format!("#!/bin/sh\n{script}\n")), &path).unwrap();
        emulators.push(path);
    }
    let relative = opt.path().join("qemu-system-relative");
    fs::copy(dir.program("new", "#!theirs/u\n"), &relative).unwrap();
    emulators.push(relative);
    let service = dir.serve(&["--search", opt.path().to_str().unwrap()]);
    as_user(NOBODY, || {
        for emulator in &emulators {
            let why = refused(&mut service.connect(), "Get", json!({"emulator": emulator}));
            let reasons = ["does not name all that it runs", "belongs to the user 65534"];
            assert!(reasons.iter().any(|reason| why.contains(reason)), "{why}");
        }
    });
    assert!(!ran.exists());
    // Root has it probed; afterwards every user is answered.
    assert_eq!(service.call("Get", json!({"emulator": emulators[3]}))["arch"], "avr");
    as_user(NOBODY, || {
        assert_eq!(service.call("Get", json!({"emulator": emulators[3]}))["arch"], "avr");
    });
}

#[test]
fn a_script_of_roots_that_names_a_file_of_another_user_is_not_run_in_the_background_either() {
    if !test_support::rights::is_run_protected() {
        return;
    }
    if !can_change_user() {
        return;
    }
    let opt = directory_of_roots();
    let dir = Dir::new();
    let ran = dir.path("ran");
    let script = format!("#!/bin/sh\ntouch {}\nexec {} \"$@\"\n", ran.display(), avr());
    let theirs = dir.program("theirs", &script);
    let owner = |uid| std::os::unix::fs::chown(&theirs, Some(uid), None).unwrap();
    owner(NOBODY);
    let service = dir.serve(&["--rewarm", "--search", opt.path().to_str().unwrap()]);
    service.wait_for_watcher();
    let mut monitor = service.connect();
    monitor.begin("Monitor", json!({}));
    monitor.receive();
    // The kinds of events about an emulator, up to an event of this kind.
    let mut until = |emulator: &Path, last: &str| -> Vec<String> {
        let (mut kinds, mut reason) = (Vec::new(), String::new());
        while kinds.last().is_none_or(|kind| kind != last) {
            for event in monitor.receive()["parameters"]["events"].as_array().unwrap() {
                if event["emulator"].as_str() == emulator.to_str() {
                    kinds.push(event["kind"].as_str().unwrap().to_owned());
                    reason = event["reason"].as_str().unwrap_or_default().to_owned();
                }
            }
        }
        if last == "failed" {
            assert!(reason.contains("theirs belongs to the user 65534"), "{reason}");
            assert!(!ran.exists());
        }
        kinds
    };
    let install = |name: &str, target: &str| {
        let (new, path) = (opt.path().join("new"), opt.path().join(name));
        fs::copy(dir.wrapper("new", target), &new).unwrap();
        fs::rename(new, &path).unwrap();
        path
    };
    // A new one, also where another script of root's is between.
    let appears = install("qemu-system-appears", &theirs);
    assert_eq!(until(&appears, "failed"), ["appeared", "failed"]);
    let between = install("between", &theirs);
    let nested = install("qemu-system-nested", between.to_str().unwrap());
    assert_eq!(until(&nested, "failed"), ["appeared", "failed"]);
    // A good one that is replaced.
    let cached = install("qemu-system-cached", &avr());
    assert_eq!(until(&cached, "refreshed"), ["appeared", "refreshed"]);
    install("qemu-system-cached", &theirs);
    assert_eq!(until(&cached, "failed"), ["dropped", "failed"]);

    // It is reported once, and tried again when no other user could have written it.
    for emulator in [&appears, &nested, &cached] {
        let failed = format!("failed {}: ", emulator.display());
        assert_eq!(service.log().matches(&failed).count(), 1);
    }
    owner(0);
    until(&cached, "refreshed");
    assert!(ran.exists());
}

#[test]
fn emulators_in_searched_directories_that_other_users_can_write_to_are_not_run() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    fs::create_dir(dir.path("opt")).unwrap();
    let ran = dir.path("ran");
    let script = format!("#!/bin/sh\ntouch {}\n", ran.display());
    let theirs = dir.program("opt/qemu-system-theirs", &script);
    std::os::unix::fs::chown(&theirs, Some(NOBODY), None).unwrap();
    let service = dir.serve(&["--search", dir.path("opt").to_str().unwrap()]);
    as_user(NOBODY, || {
        let why = refused(&mut service.connect(), "Get", json!({"emulator": theirs}));
        assert!(why.contains("does not belong to root; only root"), "{why}");
    });
    assert!(!ran.exists());
}

#[test]
fn emulators_in_a_searched_directory_of_root_are_probed_for_every_user() {
    if !can_change_user() {
        return;
    }
    let opt = directory_of_roots();
    let dir = Dir::new();
    let wrapper = opt.path().join("qemu-system-ours");
    fs::copy(dir.wrapper("copy", &avr()), &wrapper).unwrap();
    fs::copy(dir.wrapper("copy", &avr()), opt.path().join("other-name")).unwrap();
    let service = dir.serve(&["--search", opt.path().to_str().unwrap()]);
    as_user(NOBODY, || {
        let mut client = service.connect();
        assert_eq!(client.call("Get", json!({"emulator": wrapper}))["arch"], "avr");
        let other = opt.path().join("other-name");
        assert!(refused(&mut client, "Get", json!({"emulator": other})).contains("not among"));
    });
}

#[test]
fn a_searched_directory_that_is_a_link_is_searched_by_its_name_too() {
    if !can_change_user() {
        return;
    }
    let opt = directory_of_roots();
    let (real, link) = (opt.path().join("real"), opt.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink("real", &link).unwrap();
    symlink("real", opt.path().join("other")).unwrap();
    let dir = Dir::new();
    fs::copy(dir.wrapper("copy", &avr()), real.join("qemu-system-ours")).unwrap();
    let service = dir.serve(&["--search", link.to_str().unwrap()]);
    as_user(NOBODY, || {
        let mut client = service.connect();
        for directory in [&link, &real] {
            let emulator = directory.join("qemu-system-ours");
            assert_eq!(client.call("Get", json!({"emulator": emulator}))["arch"], "avr");
        }
        // So that a user cannot have as many entries made as there are spellings of a path.
        let other = json!({"emulator": opt.path().join("other/qemu-system-ours")});
        assert!(refused(&mut client, "Get", other).contains("not among"));
    });
}

#[test]
fn a_flood_of_paths_leaves_nothing_on_the_disk_and_nothing_in_the_log() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = dir.serve(&[]);
    service.call("Get", json!({"emulator": avr()}));
    wait_until("the watcher has refreshed it", || service.log().contains("refreshed"));
    let (before, log) = (files(&dir.root()), service.log());
    as_user(NOBODY, || {
        let mut client = service.connect();
        for number in 0..500 {
            let path = format!("/tmp/{number}/{}", "long".repeat(200));
            refused(&mut client, "Get", json!({"emulator": path}));
            client.call("Status", json!({"emulator": path}));
        }
    });
    assert_eq!(files(&dir.root()), before);
    assert_eq!(service.log(), log);
}

/// A service of a user without any rights, started by such a command; returns `None` and reports a skip where
/// that user cannot run it.
fn served_by_nobody(dir: &Dir, mut command: Command) -> Option<Service> {
    use std::os::unix::process::CommandExt;
    let binary = Path::new(env!("CARGO_BIN_EXE_capscache"));
    if as_user(NOBODY, || fs::File::open(binary).is_err()) {
        println!("SKIPPED: only root can run {}", binary.display());
        return None;
    }
    fs::create_dir(dir.root()).unwrap();
    fs::create_dir(dir.path("run")).unwrap();
    for name in ["root", "run"] {
        std::os::unix::fs::chown(dir.path(name), Some(NOBODY), None).unwrap();
    }
    // The supervisor's socket is in a directory of root's.
    fs::set_permissions(dir.directory(), fs::Permissions::from_mode(0o1777)).unwrap();
    let socket = dir.path("run/socket");
    dir.prepare(&mut command);
    command.arg(binary).args(["serve", "--socket"]).arg(&socket).uid(NOBODY);
    let mut service = dir.start(command);
    service.socket = socket;
    Some(service)
}

#[test]
fn the_own_user_of_a_service_may_do_everything_and_root_too() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let Some(service) = served_by_nobody(&dir, Command::new("env")) else { return };
    let emulators = json!({"emulators": [avr()]});
    as_user(NOBODY, || {
        let warmed = service.call("Warm", emulators.clone());
        assert_eq!(warmed["warmed"][0]["outcome"], "probed");
    });
    assert_eq!(service.call("Invalidate", emulators.clone())["dropped"][0], avr());
    as_user(NOBODY - 1, || {
        refused(&mut service.connect(), "Invalidate", emulators.clone());
    });
}

/// Requests entries over many connections, without receiving any of them.
fn request_entries(service: &Service, reply: usize) -> Vec<Client> {
    const CONNECTIONS: usize = 20;
    let call = json!({"method": "io.capscache.Cache.Get", "parameters": {"emulator": avr()}});
    let calls = (call.to_string() + "\0").repeat(EACH);
    let clients: Vec<Client> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = service.connect();
            client.stream.write_all(calls.as_bytes()).unwrap();
            client
        })
        .collect();
    let arrived = |client: &Client| rustix::io::ioctl_fionread(&client.stream).unwrap();
    wait_until("all is answered", || {
        clients.iter().all(|client| arrived(client) == (EACH * reply) as u64)
    });
    clients
}

/// Calls over one connection: their replies fit its buffer.
const EACH: usize = 50;

/// Receives everything; returns the number of descriptors.
fn receive(clients: Vec<Client>) -> usize {
    let mut descriptors = 0;
    for client in clients {
        let mut replies = 0;
        while replies < EACH {
            let (bytes, files) = client.receive_bytes();
            replies += bytes.iter().filter(|byte| **byte == 0).count();
            descriptors += files.len();
        }
    }
    descriptors
}

#[test]
fn a_client_that_receives_no_descriptor_does_not_take_those_of_others() {
    use std::os::unix::process::CommandExt;
    const LIMIT: usize = 512;
    if !can_change_user() || !has("prlimit") {
        return;
    }
    let dir = Dir::new();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={LIMIT}:{LIMIT}")).arg("--");
    let Some(service) = served_by_nobody(&dir, command) else { return };
    let get = || -> (usize, usize) {
        let mut client = service.connect();
        let call = json!({"method": "io.capscache.Cache.Get", "parameters": {"emulator": avr()}});
        client.send(&call);
        let (bytes, files) = client.receive_bytes();
        (bytes.len(), files.len())
    };
    let (reply, files) = get();
    assert_eq!(files, 1);
    let theirs = as_user(NOBODY - 1, || request_entries(&service, reply));
    assert_eq!(get(), (reply, 1));
    assert_eq!(as_user(NOBODY - 2, get), (reply, 1));
    assert_eq!(receive(theirs), LIMIT / 8);
    assert_eq!(as_user(NOBODY - 1, get), (reply, 1), "closed connections do not count");

    // The own user may take all, and is answered nevertheless.
    let own = as_user(NOBODY, || request_entries(&service, reply));
    assert_eq!(get(), (reply, 0));
    let mut query = dir.command();
    query.args(["query", &avr(), "machine:uno"]).env("CAPSCACHE_SOCKET", &service.socket);
    let answer = query.uid(NOBODY - 1).output().unwrap();
    assert_eq!(answer.stdout, b"machine:uno\tyes\n", "it opens the file that is named: {answer:?}");
    let received = receive(own);
    assert!((LIMIT - 64..=LIMIT + 1).contains(&received), "{received}");
    assert_eq!(get(), (reply, 1));
}
