//! The recorded right to open KVM is compared with that of the caller, and so are the parameters of its modules.
//! Each test has its own `/dev`, in a mount namespace.

use std::fs;
use std::path::{Path, PathBuf};

use capscache::format::{InputKind, Scope};
use capscache::{Accelerator, Cache, Lookup, Stale, Tri, Validation};

/// A user in no group that matters, and a group that may open the node.
const USER: u32 = 54321;
const GROUP: u32 = 54322;

/// A `/dev` whose node of KVM the group may open, and a root that belongs to the user.
const OWN_DEV: &str = "top=$(dirname $ROOT); dev=$top/dev; mkdir $dev; mount -t tmpfs -o mode=755 none $dev; \
    for node in null zero urandom kvm; do cp -a /dev/$node $dev; done; \
    chgrp 54322 $dev/kvm; chmod 660 $dev/kvm; chmod 666 $dev/null $dev/zero $dev/urandom; \
    mount --bind $dev /dev; chmod 755 $top; mkdir $ROOT; chown 54321 $ROOT";

fn run(test: &str) {
    if !test_support::kvm_opens() {
        return;
    }
    let root = tempfile::tempdir().expect("a root");
    let cache = root.path().join("cache");
    let Some(mut child) = crate::child_after(OWN_DEV, test, &[("ROOT", &cache)]) else { return };
    crate::succeeds(&mut child);
}

fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("ROOT").expect("a variable"))
}

fn open() -> Cache {
    crate::builder(root()).trusted_owner(USER).open().expect("a cache")
}

/// Works as the user, in these further groups.
fn as_user<T>(groups: &[u32], work: impl FnOnce() -> T) -> T {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let (uid, gid) = (rustix::process::Uid::from_raw, rustix::process::Gid::from_raw);
    let groups: Vec<_> = groups.iter().copied().map(gid).collect();
    set_thread_groups(&groups).expect("root may");
    set_thread_res_gid(gid(USER), gid(USER), gid(0)).expect("root may");
    set_thread_res_uid(uid(USER), uid(USER), uid(0)).expect("root may");
    let result = work();
    set_thread_res_uid(uid(0), uid(0), uid(0)).expect("it was root");
    set_thread_res_gid(gid(0), gid(0), gid(0)).expect("it was root");
    set_thread_groups(&[]).expect("root may");
    result
}

fn usable(cache: &Cache) -> Tri {
    let caps = cache.get(test_support::native()).expect("answers");
    caps.answer(&"cpu:max@kvm".parse().expect("a query"))
}

fn stale(cache: &Cache) -> Option<Stale> {
    match cache.lookup(test_support::native()).expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => Some(stale),
        Lookup::Hit(_) => None,
        other => panic!("neither a hit nor stale but {other:?}"),
    }
}

#[test]
fn a_user_who_joins_or_leaves_the_group_of_kvm_gets_answers_for_the_present_rights() {
    run("rights::child_that_changes_groups");
}

#[test]
#[ignore = "has a /dev of its own, in a mount namespace"]
fn child_that_changes_groups() {
    // An open cache and one that is opened again.
    let kept = open();
    let fresh = open;
    as_user(&[], || assert_eq!(usable(&kept), Tri::Unknown));
    as_user(&[], || assert_eq!((stale(&kept), stale(&fresh())), (None, None)));
    for cache in [kept.clone(), fresh()] {
        as_user(&[GROUP], || {
            let stale = stale(&cache).expect("stale");
            assert_eq!((stale.input, stale.scope), (InputKind::Kvm, Scope::Host));
        });
    }
    as_user(&[GROUP], || assert_eq!(usable(&fresh()), Tri::Yes));
    as_user(&[GROUP], || assert_eq!((usable(&kept), stale(&kept)), (Tri::Yes, None)));
    // And a right that is lost.
    as_user(&[], || assert_eq!(stale(&kept).expect("stale").input, InputKind::Kvm));
    as_user(&[], || assert_eq!(usable(&fresh()), Tri::Unknown));
    // The rights of that user mean nothing for root.
    assert_eq!(stale(&fresh()).expect("stale").input, InputKind::Kvm);
}

#[test]
fn a_node_that_is_behind_a_devices_rule_is_unknown_until_the_rule_is_removed() {
    run("rights::child_under_a_devices_rule");
}

#[test]
#[ignore = "has a /dev of its own, in a mount namespace"]
fn child_under_a_devices_rule() {
    // The devices controller of version 1: of version 2 a program in the kernel decides.
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a list");
    let point = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let is_devices = kind.starts_with("cgroup ") && kind.contains("devices");
        is_devices.then(|| PathBuf::from(mount.split(' ').nth(4).expect("a mount point")))
    });
    let group = point.map(|point| point.join(format!("capscache-test-{}", std::process::id())));
    let Some(group) = group.filter(|group| fs::create_dir(group).is_ok()) else {
        println!("SKIPPED: no cgroup of the devices controller can be made here");
        return;
    };
    let write = |group: &Path, file: &str, text: &str| {
        fs::write(group.join(file), text).expect("a cgroup takes it");
    };
    write(&group, "cgroup.procs", "0");
    write(&group, "devices.deny", "c 10:232 rwm");
    let cache = open();
    assert_eq!(usable(&cache), Tri::Unknown);
    assert_eq!(stale(&cache), None);
    write(&group, "devices.allow", "c 10:232 rwm");
    assert_eq!(stale(&cache).expect("stale").input, InputKind::Kvm);
    assert_eq!(usable(&cache), Tri::Yes);
    write(&group, "devices.deny", "c 10:232 rwm");
    assert_eq!(stale(&cache).expect("stale").input, InputKind::Kvm);
    write(group.parent().expect("a parent"), "cgroup.procs", "0");
    fs::remove_dir(group).expect("it is empty");
}

#[test]
fn changed_parameters_behind_the_same_node_and_further_nodes_cost_a_probe_of_kvm() {
    run("rights::child_whose_modules_are_loaded_again");
}

#[test]
#[ignore = "has a /dev of its own, in a mount namespace"]
fn child_whose_modules_are_loaded_again() {
    let cache = open();
    assert_eq!(usable(&cache), Tri::Yes);
    assert_eq!(stale(&cache), None);
    // To a process, a module that is loaded again is another directory.
    let modules = fs::read_dir("/sys/module").expect("modules").flatten().map(|entry| entry.path());
    let mut modules: Vec<PathBuf> = modules
        .filter(|path| path.file_name().expect("a name").as_encoded_bytes().starts_with(b"kvm"))
        .map(|path| path.join("parameters"))
        .filter(|path| path.is_dir())
        .collect();
    modules.sort();
    let Some(driver) = modules.last() else {
        println!("SKIPPED: KVM is not a module with parameters here");
        return;
    };
    let aside = root().join("../parameters");
    let sh = |script: &str| {
        let status = std::process::Command::new("sh").args(["-ec", script]).status();
        assert!(status.expect("a shell").success(), "{script}");
    };
    let (driver, aside) = (driver.display(), aside.display());
    sh(&format!("cp -r {driver} {aside}; chmod -R a+r {aside}; mount --bind {aside} {driver}"));
    assert_eq!(stale(&cache), None, "the same values cost no probe");
    let again = format!("cp -r {aside} {aside}2; echo 7 > {aside}2/npt");
    sh(&format!("umount {driver}; {again}; mount --bind {aside}2 {driver}"));
    let found = stale(&cache).expect("stale");
    assert_eq!((found.input, found.scope), (InputKind::Kvm, Scope::Host), "{found}");
    assert_eq!((usable(&cache), stale(&cache)), (Tri::Yes, None));
    let caps = cache.get(test_support::native()).expect("answers");
    assert!(caps.accelerators().any(|accelerator| accelerator == Accelerator::Kvm));
    // A further node shows when the other trigger moves, or in a thorough lookup; where KVM offers SEV at once.
    sh("mknod /dev/sev c 10 124");
    match cache.lookup_with(test_support::native(), Validation::Thorough).expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => assert!(stale.found.contains("/dev/sev"), "{stale}"),
        other => panic!("not stale but {other:?}"),
    }
}
