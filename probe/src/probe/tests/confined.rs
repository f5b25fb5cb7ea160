//! What an emulator gets and may, and what becomes of it without its prober.

use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::session::fake::write_program;

/// Somebody who owns nothing.
const NOBODY: u32 = 65534;

/// A group that nobody is in.
const GROUP: u32 = 4242;

fn as_nobody(fake: &Fake, groups: &[u32]) -> Task {
    open_to_all(fake.dir.path());
    let run_as = Some((NOBODY, NOBODY, groups.to_vec()));
    Task { emulator: fake.path.clone(), run_as, ..Task::default() }
}

fn start(task: &Task, wrapper: &[&str]) -> Prober {
    Prober::start(task, wrapper, tempfile::tempdir().unwrap())
}

#[test]
fn root_can_have_an_emulator_run_as_somebody_else() {
    if !rights::can_change_user() {
        return;
    }
    let fake = Fake::qemu(
        r#"query-kvm) { id -u; id -g; id -G; stat -c '%u %g %a' "$TMPDIR"
            touch "$TMPDIR/file" && echo wrote; readlink /proc/self/ns/net; } >&2; answer '{}';;"#,
    );
    let brought = start(&as_nobody(&fake, &[GROUP]), &[]).wait().unwrap();
    let mut lines = brought.outputs[0].lines();
    for expected in ["65534", "65534", "65534 4242", "65534 65534 700", "wrote"] {
        assert_eq!(lines.next(), Some(expected), "{brought:?}");
    }
    let ours = fs::read_link("/proc/self/ns/net").unwrap();
    let may = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|s| s.success());
    // Without that right it has the network of root.
    assert_eq!(lines.next() != ours.to_str(), may, "{brought:?}");
}

#[test]
fn a_user_who_may_not_run_the_emulator_is_named() {
    if !rights::can_change_user() {
        return;
    }
    let fake = Fake::new("exit 1");
    let task = as_nobody(&fake, &[]);
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(fake.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let expected = format!(
        "{} may not be executed by user 65534: look at its mode, at the directories above it, and for a noexec mount",
        fake.path.display()
    );
    assert_eq!(start(&task, &[]).wait(), Err(expected));
}

#[test]
fn a_prober_that_may_not_become_somebody_else_says_so() {
    if !rights::can_change_user() {
        return;
    }
    let fake = Fake::qemu("");
    let told = start(&as_nobody(&fake, &[]), &["setpriv", "--bounding-set", "-setuid"]).wait();
    let expected = format!(
        "cannot run {} as user 65534: that takes root, or CAP_SETUID and CAP_SETGID: \
         Operation not permitted (os error 1)",
        fake.path.display()
    );
    assert_eq!(told, Err(expected));
    let no_user = Task { run_as: Some((u32::MAX, 1, vec![])), ..as_nobody(&fake, &[]) };
    let told = start(&no_user, &[]).wait().unwrap_err();
    assert!(told.ends_with(": 4294967295 is no user and no group"), "{told}");
}

/// Runs a command where `/dev/kvm` is open to [`GROUP`], and otherwise to root alone.
const GROUP_HAS_KVM: &str = r#"mount -t tmpfs kvm "$0" && mknod -m 660 "$0/kvm" c 10 232 &&
    chgrp 4242 "$0/kvm" && mount --bind "$0/kvm" /dev/kvm && exec "$@""#;

#[test]
fn kvm_is_used_if_it_opens_for_the_user_who_runs_the_emulator() {
    if !rights::can_change_user() || !kvm_works() {
        return;
    }
    let mount = tempfile::tempdir().unwrap();
    open_to_all(mount.path());
    let unshare = ["unshare", "-m", "sh", "-c", GROUP_HAS_KVM, mount.path().to_str().unwrap()];
    if !Command::new(unshare[0]).args(&unshare[1..]).arg("true").status().unwrap().success() {
        println!("SKIPPED: no mount namespace with a node can be made here");
        return;
    }
    let native = format!("qemu-system-{}", std::env::consts::ARCH);
    let real = Fake::installed(&native);
    for fake in [Some(Fake::native_qemu("")), real].into_iter().flatten() {
        let brought = start(&as_nobody(&fake, &[]), &unshare).wait().unwrap();
        assert_eq!(brought.ran.iter().collect::<Vec<_>>(), ["tcg"]);
        let brought = start(&as_nobody(&fake, &[GROUP]), &unshare).wait().unwrap();
        assert_eq!(brought.ran.iter().collect::<Vec<_>>(), ["kvm", "tcg"]);
        assert_eq!(brought.failures, [""; 0]);
    }
}

#[test]
fn a_killed_prober_leaves_no_process_and_what_it_leaves_else_goes_with_the_next_probe() {
    // A wrapper that forks: its child is none of the prober's.
    let fake = Fake::new(r#"trap '' TERM HUP; "$0.inner" "$@"; exit $?"#);
    let inner = fake.dir.path().join("qemu-system-fake.inner");
    write_program(
        &inner,
        "#!/bin/sh\ntrap '' TERM HUP\n: > \"$0.runs\"\nwhile :; do sleep 1; done\n",
    );
    let writable = vec![fake.dir.path().to_owned()];
    let task = Task { emulator: fake.path.clone(), writable, ..Task::default() };
    let mut prober = start(&task, &[]);
    let patience = Instant::now() + Duration::from_secs(5);
    while !fake.dir.path().join("qemu-system-fake.inner.runs").exists() {
        assert!(Instant::now() < patience, "the wrapper does not run");
        std::thread::yield_now();
    }
    prober.child.kill().unwrap();
    assert_eq!(prober.child.wait().unwrap().signal(), Some(libc::SIGKILL));
    fake.assert_gone();

    let Prober { temporary, .. } = prober;
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    let next = Fake::qemu("");
    let task = Task { emulator: next.path.clone(), ..Task::default() };
    // Checks that nothing is left.
    Prober::start(&task, &[], temporary).wait().unwrap();
}

#[test]
fn an_emulator_keeps_no_capability_that_its_user_has_not() {
    if !rights::can_change_user() {
        return;
    }
    let fake = Fake::qemu("query-kvm) grep CapAmb /proc/self/status >&2; answer '{}';;");
    let task = Task { emulator: fake.path.clone(), ..Task::default() };
    // As systemd does for `AmbientCapabilities=`.
    let service = ["setpriv", "--inh-caps", "+sys_nice", "--ambient-caps", "+sys_nice"];
    let brought = start(&task, &service).wait().unwrap();
    assert_eq!(brought.outputs, ["CapAmb:\t0000000000000000\n"]);
}

#[test]
fn a_limit_that_is_lower_already_stays() {
    let fake = Fake::qemu("query-kvm) ulimit -n >&2; ulimit -H -n >&2; answer '{}';;");
    let task = Task { emulator: fake.path.clone(), ..Task::default() };
    let brought = start(&task, &["sh", "-c", r#"ulimit -n 100; exec "$0" "$@""#]).wait().unwrap();
    assert_eq!(brought.outputs, ["100\n100\n"]);
}

#[test]
fn without_room_for_temporary_files_an_emulator_is_probed_all_the_same() {
    let fake = Fake::qemu(r#"query-kvm) ls -d "$TMPDIR" >&2; answer '{}';;"#);
    let temporary = Some(PathBuf::from("/proc/nowhere"));
    let task = Task { emulator: fake.path.clone(), temporary, ..Task::default() };
    let brought = start(&task, &[]).wait().unwrap();
    assert!(brought.outputs[0].contains("/proc/nowhere/capscache-probe-"), "{brought:?}");
    assert_eq!(brought.quarantined, []);
}
