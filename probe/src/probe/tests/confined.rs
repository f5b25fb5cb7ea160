//! The environment and the privileges of an emulator, and its end when its prober is killed.

use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::session::fake::write_program;

/// A user who owns nothing.
const UNPRIVILEGED: u32 = 65534;

/// A group without members.
const GROUP: u32 = 4242;

fn as_nobody(fake: &Fake, groups: &[u32]) -> Task {
    open_to_all(fake.dir.path());
    let run_as = Some((UNPRIVILEGED, UNPRIVILEGED, groups.to_vec()));
    Task { emulator: fake.path.clone(), run_as, ..Task::default() }
}

fn start(task: &Task, wrapper: &[&str]) -> Prober {
    Prober::start(task, wrapper, tempfile::tempdir().unwrap())
}

#[test]
fn root_can_have_an_emulator_run_as_another_user() {
    if !rights::can_change_user() {
        return;
    }
    let fake = Fake::qemu(
        r#"query-kvm) { id -u; id -g; id -G; stat -c '%u %g %a' "$TMPDIR"
            touch "$TMPDIR/file" && echo wrote; readlink /proc/self/ns/net; } >&2; answer '{}';;"#,
    );
    let outcome = start(&as_nobody(&fake, &[GROUP]), &[]).wait().unwrap();
    let mut lines = outcome.outputs[0].lines();
    for expected in ["65534", "65534", "65534 4242", "65534 65534 700", "wrote"] {
        assert_eq!(lines.next(), Some(expected), "{outcome:?}");
    }
    let ours = fs::read_link("/proc/self/ns/net").unwrap();
    let may = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|s| s.success());
    // Without that capability it has the network of root.
    assert_eq!(lines.next() != ours.to_str(), may, "{outcome:?}");
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
        "cannot execute {} as user 65534: permission denied; check its mode, the directories above it, and for a noexec mount",
        fake.path.display()
    );
    assert_eq!(start(&task, &[]).wait(), Err(expected));
}

#[test]
fn a_prober_that_may_not_become_another_user_reports_that() {
    if !rights::can_change_user() {
        return;
    }
    let fake = Fake::qemu("");
    let error = start(&as_nobody(&fake, &[]), &["setpriv", "--bounding-set", "-setuid"]).wait();
    let expected = format!(
        "cannot run {} as user 65534: this requires root, or CAP_SETUID and CAP_SETGID: \
         Operation not permitted (os error 1)",
        fake.path.display()
    );
    assert_eq!(error, Err(expected));
    let no_user = Task { run_as: Some((u32::MAX, 1, vec![])), ..as_nobody(&fake, &[]) };
    let error = start(&no_user, &[]).wait().unwrap_err();
    assert!(error.ends_with(": 4294967295 is not a valid uid or gid"), "{error}");
}

/// Runs a command in a namespace where only root and [`GROUP`] may open `/dev/kvm`.
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
        let outcome = start(&as_nobody(&fake, &[]), &unshare).wait().unwrap();
        assert_eq!(outcome.ran.iter().collect::<Vec<_>>(), ["tcg"]);
        let outcome = start(&as_nobody(&fake, &[GROUP]), &unshare).wait().unwrap();
        assert_eq!(outcome.ran.iter().collect::<Vec<_>>(), ["kvm", "tcg"]);
        assert_eq!(outcome.failures, [""; 0]);
    }
}

#[test]
fn a_killed_prober_leaves_no_process_and_the_next_probe_removes_its_files() {
    // A wrapper that forks: its child is not a child of the prober.
    let fake = Fake::new(r#"trap '' TERM HUP; "$0.inner" "$@"; exit $?"#);
    let inner = fake.dir.path().join("qemu-system-fake.inner");
    write_program(
        &inner,
        "#!/bin/sh\ntrap '' TERM HUP\n: > \"$0.runs\"\nwhile :; do sleep 1; done\n",
    );
    let writable = vec![fake.dir.path().to_owned()];
    let task = Task { emulator: fake.path.clone(), writable, ..Task::default() };
    let mut prober = start(&task, &[]);
    let runs = fake.dir.path().join("qemu-system-fake.inner.runs");
    wait_until("the wrapper runs", || runs.exists());
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
fn an_emulator_has_no_ambient_capabilities() {
    if !rights::can_change_user() {
        return;
    }
    let fake = Fake::qemu("query-kvm) grep CapAmb /proc/self/status >&2; answer '{}';;");
    let task = Task { emulator: fake.path.clone(), ..Task::default() };
    // Like systemd for `AmbientCapabilities=`.
    let service = ["setpriv", "--inh-caps", "+sys_nice", "--ambient-caps", "+sys_nice"];
    let outcome = start(&task, &service).wait().unwrap();
    assert_eq!(outcome.outputs, ["CapAmb:\t0000000000000000\n"]);
}

#[test]
fn a_limit_that_is_lower_already_stays() {
    let fake = Fake::qemu("query-kvm) ulimit -n >&2; ulimit -H -n >&2; answer '{}';;");
    let task = Task { emulator: fake.path.clone(), ..Task::default() };
    let outcome = start(&task, &["sh", "-c", r#"ulimit -n 100; exec "$0" "$@""#]).wait().unwrap();
    assert_eq!(outcome.outputs, ["100\n100\n"]);
}

#[test]
fn an_emulator_is_probed_without_a_temporary_directory_if_none_can_be_made() {
    let fake = Fake::qemu(r#"query-kvm) ls -d "$TMPDIR" >&2; answer '{}';;"#);
    let temporary = Some(PathBuf::from("/proc/nowhere"));
    let task = Task { emulator: fake.path.clone(), temporary, ..Task::default() };
    let outcome = start(&task, &[]).wait().unwrap();
    assert!(outcome.outputs[0].contains("/proc/nowhere/capscache-probe-"), "{outcome:?}");
    assert_eq!(outcome.quarantined, []);
}
