//! Emulators of another user.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use capscache_run::User;

use crate::{Dir, entry, guest, guest_of, guest_with};

/// Returns the words of a line of a process's status.
fn status(pid: i32, name: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn an_emulator_of_another_user_keeps_no_privileges_and_owns_only_its_files() {
    if !rustix::process::geteuid().is_root() {
        return println!("SKIPPED: only root can start an emulator of another user");
    }
    let dir = Dir::new();
    fs::set_permissions(dir.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let user = User::find(&test_support::NOBODY.to_string()).unwrap();
    let prepared = dir.run(&guest("other")).user(Some(user.clone())).prepare(&entry()).unwrap();
    let running = prepared.start().unwrap();
    assert_eq!(status(running.pid(), "Uid"), vec![user.uid.to_string(); 4]);
    assert_eq!(status(running.pid(), "Gid"), vec![user.gid.to_string(); 4]);
    assert_eq!(status(running.pid(), "Groups"), [""; 0]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(running.pid(), set), ["0000000000000000"], "{set}");
    }
    for file in dir.files() {
        let metadata = fs::symlink_metadata(dir.path("root").join(&file)).unwrap();
        let is_of_guest = file.starts_with("run/guest/other");
        assert_eq!(metadata.uid(), if is_of_guest { user.uid } else { 0 }, "{file}");
        let mode = if metadata.is_dir() && !is_of_guest { 0o711 } else { 0o755 };
        assert_eq!(metadata.mode() & 0o777 & !mode, 0, "{file}");
    }
}

#[test]
fn a_user_that_cannot_reach_the_root_is_reported_by_its_emulator() {
    if !rustix::process::geteuid().is_root() {
        return println!("SKIPPED: only root can start an emulator of another user");
    }
    let dir = Dir::new();
    fs::set_permissions(dir.path("."), fs::Permissions::from_mode(0o700)).unwrap();
    let user = User::find(&test_support::NOBODY.to_string()).unwrap();
    let run = dir.run(&guest_of("shut", "", "")).user(Some(user));
    let error = run.prepare(&entry()).unwrap().start().unwrap_err();
    assert!(error.to_string().contains("master-key.aes"), "{error}");
    assert!(error.to_string().contains("Permission denied"), "{error}");
}

#[test]
fn the_process_of_an_interface_runs_as_the_user_and_ends_with_the_guest() {
    if !rustix::process::geteuid().is_root() || !test_support::has("passt") {
        return println!("SKIPPED: it needs root and passt");
    }
    let dir = Dir::new();
    fs::set_permissions(dir.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let user = User::find(&test_support::NOBODY.to_string()).unwrap();
    let interface = "<interface type='user'><backend type='passt'/></interface>";
    let run = dir.run(&guest_with("net", "", "", interface)).user(Some(user.clone()));
    let path = ("PATH".to_owned(), std::env::var("PATH").unwrap());
    let running = run.environment(vec![path]).prepare(&entry()).unwrap().start().unwrap();
    let socket = dir.path("root/run/guest/net").to_str().unwrap().to_owned();
    let helpers = || -> Vec<i32> {
        let processes = fs::read_dir("/proc").unwrap().map(|process| process.unwrap());
        let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
        let is_helper = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("passt") && line.contains(&socket) && *pid != running.pid()
        };
        numbers.filter(is_helper).collect()
    };
    let found = helpers();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(status(found[0], "Uid"), vec![user.uid.to_string(); 4]);
    running.quit();
    running.wait();
    assert_eq!(helpers(), [0; 0]);
}
