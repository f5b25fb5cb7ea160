//! Guests in scopes of a real systemd: one for users, in namespaces of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use capscache_run::{Placement, Scope, ScopeError};

use crate::locks::ROOT;
use crate::{Dir, ENTRY, answers, guest};

/// The variable by which the test within the namespaces knows that it is there.
const WITHIN: &str = "CAPSCACHE_TEST_SYSTEMD";

/// Enters the control group `$0`, and starts the script `$1` in namespaces of its own.
const ENTER: &str = r#"
    echo 0 > "$0/cgroup.procs" &&
    exec unshare -m -p -f -C --kill-child --mount-proc sh -c "$1" sh "$2" "$3"
"#;

/// Starts systemd with a bus, and then a test: `$1` is the program, `$2` the name.
const SCRIPT: &str = r#"
    set -e
    mount --make-rprivate /
    mount -t tmpfs tmpfs /run
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir -p /run/user /run/systemd/system /run/units /run/empty
    chmod 700 /run/user
    unit() { printf '%s\n' '[Unit]' 'DefaultDependencies=no' "$@" > "/run/units/$name"; }
    name=default.target unit 'Requires=dbus.socket dbus.service' 'After=dbus.socket dbus.service'
    name=dbus.socket unit '[Socket]' 'ListenStream=/run/user/bus'
    name=dbus.service unit 'Requires=dbus.socket' '[Service]' \
        'ExecStart=/usr/bin/dbus-daemon --session --address=systemd: --nofork --nopidfile'
    export XDG_RUNTIME_DIR=/run/user SYSTEMD_UNIT_PATH=/run/units SYSTEMD_LOG_TARGET=null
    export SYSTEMD_GENERATOR_PATH=/run/empty SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/empty
    /lib/systemd/systemd --user --unit=default.target &
    export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/user/bus
    for i in $(seq 300); do
        busctl --system status org.freedesktop.systemd1 > /run/status 2>&1 && break
        sleep 0.1
    done
    exec "$1" --exact "$2" --nocapture
"#;

/// Makes a control group in which systemd can make others, if this system permits it.
fn control_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })?;
    let group = mount.join(format!("capscache-test-{}", std::process::id()));
    fs::create_dir(&group).is_ok().then_some(group)
}

/// Removes a control group with those that systemd has made in it.
fn remove(group: &Path) {
    let children = fs::read_dir(group).into_iter().flatten().flatten();
    children.filter(|child| child.path().is_dir()).for_each(|child| remove(&child.path()));
    test_support::wait_until("the control group is empty", || fs::remove_dir(group).is_ok());
}

#[test]
fn a_guest_is_in_a_scope_of_systemd_before_it_runs_and_the_scope_ends_with_it() {
    let programs = ["/lib/systemd/systemd", "/usr/bin/dbus-daemon", "/usr/bin/busctl"];
    if let Some(missing) = programs.iter().find(|program| !Path::new(program).exists()) {
        println!("SKIPPED: {missing} is not installed");
        return;
    }
    if !rustix::process::geteuid().is_root() || !test_support::rights::can_mount() {
        println!("SKIPPED: only root can run systemd in namespaces of its own");
        return;
    }
    let Some(group) = control_group() else {
        println!("SKIPPED: no control group can be made here");
        return;
    };
    let dir = Dir::new();
    fs::write(dir.path("entry"), answers()).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", ENTER]).arg(&group).arg(SCRIPT);
    command.arg(std::env::current_exe().unwrap()).arg("scopes::within_systemd");
    command.env(ENTRY, dir.path("entry")).env(ROOT, dir.path("root")).env(WITHIN, "1");
    let output = command.output().unwrap();
    remove(&group);
    let output = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&output);
    assert_eq!(text.matches("scope: capscache-placed-").count(), 2, "{text}");
    assert!(text.contains("test result: ok. 1 passed"), "{text}");
    println!("{text}");
}

/// The part of the test that runs within the namespaces; does nothing by itself.
#[test]
fn within_systemd() {
    if std::env::var_os(WITHIN).is_none() {
        return;
    }
    let root = capscache_run::Root::new(std::env::var_os(ROOT).unwrap()).unwrap();
    let start = |scope| {
        let guest = capscache_domain::Guest::from_xml(&guest("placed")).unwrap();
        let run = capscache_run::Run::new(guest, root.clone()).scope(scope);
        run.prepare(&crate::entry()).unwrap().start().unwrap()
    };
    let group = |pid| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
    };
    for scope in [Scope::Required, Scope::Auto] {
        let mut running = start(scope);
        // Where a guest starts without a scope as well, systemd has 200 ms; here it was just started.
        let until = std::time::Instant::now() + test_support::DEADLINE;
        while scope == Scope::Auto
            && std::time::Instant::now() < until
            && matches!(running.placement(), Placement::Failed(ScopeError::TimedOut { .. }))
        {
            running.quit();
            running.wait();
            running = start(scope);
        }
        let Placement::Scope { unit } = running.placement() else {
            panic!("{:?}", running.placement());
        };
        println!("scope: {unit}");
        for (step, time) in running.timing().steps() {
            println!("{step}: {}", time.as_micros());
        }
        let path = group(running.pid());
        assert_eq!(path, format!("/machine.slice/{unit}"));
        running.quit();
        running.wait();
        let directory = format!("/sys/fs/cgroup{path}");
        test_support::wait_until("the scope is removed", || !Path::new(&directory).exists());
    }
    let running = start(Scope::None);
    assert!(matches!(running.placement(), Placement::Inherited));
    assert_eq!(group(running.pid()), group(std::process::id().cast_signed()));
}
