//! The units for systemd: well-formed, locked down, and emulators are probed all the same.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use test_support::rights::{can_change_user, can_make_nodes, can_mount};

use crate::{Client, Dir, NOBODY, emulator, has};

fn dist(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist").join(name)
}

fn unit(name: &str) -> String {
    fs::read_to_string(dist("systemd").join(name)).unwrap()
}

/// The units with the command that was built, in a directory.
fn installed(dir: &Dir) -> [PathBuf; 2] {
    let service = unit("capscache.service");
    let command = env!("CARGO_BIN_EXE_capscache");
    assert!(service.contains("ExecStart=/usr/bin/capscache serve"));
    // Its page is not installed here.
    let here =
        |text: &str| text.replace("/usr/bin/capscache", command).replace("Documentation=", "#");
    [("capscache.service", service), ("capscache.socket", unit("capscache.socket"))].map(
        |(name, text)| {
            fs::write(dir.path(name), here(&text)).unwrap();
            dir.path(name)
        },
    )
}

fn run(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> (bool, String) {
    let run = Command::new(program).args(arguments).output().unwrap();
    let text = [run.stdout, run.stderr].concat();
    (run.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let dir = Dir::new();
    let units = installed(&dir);
    let (good, output) = run("systemd-analyze", &[&"verify", &"--man=no", &units[0], &units[1]]);
    assert!(good, "{output}");
    let of_ours: Vec<_> = output.lines().filter(|line| line.contains("capscache")).collect();
    assert!(of_ours.is_empty(), "{output}");
    assert_eq!(
        unit("capscache.socket").lines().find(|line| line.starts_with("ListenStream=")),
        Some("ListenStream=/run/capscache/io.capscache.Cache")
    );
}

#[test]
fn systemd_finds_nothing_wrong_with_the_drop_ins_for_libvirt() {
    if !has("systemd-analyze") {
        return;
    }
    for daemon in ["libvirtd", "virtqemud"] {
        let dir = Dir::new();
        let name = format!("{daemon}.service.d/capscache.conf");
        let drop_in = unit(&name);
        let seed = format!("/usr/bin/capscache libvirt seed --daemon {daemon}");
        let start = format!("ExecStartPre=-/usr/bin/timeout 60 {seed}\n");
        assert!(drop_in.contains(&start), "{drop_in}");
        let command = env!("CARGO_BIN_EXE_capscache");
        fs::create_dir(dir.path(&format!("{daemon}.service.d"))).unwrap();
        fs::write(dir.path(&name), drop_in.replace("/usr/bin/capscache", command)).unwrap();
        let service = dir.path(&format!("{daemon}.service"));
        fs::write(&service, "[Service]\nExecStart=/bin/true\n").unwrap();
        let (good, output) = run("systemd-analyze", &[&"verify", &"--man=no", &service]);
        assert!(good, "{output}");
        assert!(!output.contains("capscache.conf"), "{output}");
    }
}

#[test]
fn the_service_is_locked_down() {
    if !has("systemd-analyze") {
        return;
    }
    let dir = Dir::new();
    let [service, _] = installed(&dir);
    // In tenths, as systemd 252 counts them. Two of these are for `setpriority`, the one of its set that is
    // allowed.
    let (good, output) = run(
        "systemd-analyze",
        &[&"security", &"--offline=true", &"--threshold=7", &"--no-pager", &service],
    );
    assert!(good, "{output}");
}

/// The system calls in a set of systemd.
fn calls(set: &str) -> HashSet<String> {
    let (good, output) = run("systemd-analyze", &[&"syscall-filter", &set]);
    assert!(good, "{output}");
    let names = output.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#'));
    let mut calls = HashSet::new();
    for name in names.filter(|name| !name.is_empty()) {
        if name.starts_with('@') {
            calls.extend(self::calls(name));
        } else {
            calls.insert(name.to_owned());
        }
    }
    calls
}

/// The system calls that the service may make: its lines add to the list, or take away, in their order
/// (`systemd.exec(5)`, SystemCallFilter).
fn allowed() -> HashSet<String> {
    let unit = unit("capscache.service");
    let filters = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let mut allowed = calls("@default");
    for filter in filters {
        let (takes, names) = match filter.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, filter),
        };
        for name in names.split_whitespace() {
            let named = if name.starts_with('@') { calls(name) } else { [name.to_owned()].into() };
            if takes {
                allowed.retain(|call| !named.contains(call));
            } else {
                allowed.extend(named);
            }
        }
    }
    allowed
}

#[test]
fn of_privileged_and_resource_calls_only_setpriority_is_allowed() {
    if !has("systemd-analyze") {
        return;
    }
    let allowed = allowed();
    let of = |set: &str| -> Vec<String> { calls(set).intersection(&allowed).cloned().collect() };
    assert_eq!(of("@resources"), ["setpriority"]);
    // What is in both sets was taken away.
    assert_eq!(of("@privileged"), [""; 0]);
    assert!(allowed.contains("execve") && allowed.contains("getpriority"));
}

/// A document without the times that a probe took.
fn stable(mut document: Value) -> Value {
    document.as_object_mut().unwrap().remove("report");
    document
}

#[test]
fn emulators_answer_the_same_without_the_system_calls_that_are_filtered() {
    if !has("systemd-analyze") || !has("strace") {
        return;
    }
    let (allowed, all) = (allowed(), calls("@known"));
    let dir = Dir::new();
    let native = emulator(std::env::consts::ARCH);
    let export = |name: &str, strace: &[&str]| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(dir.path(name)).args(strace);
        command.arg("--").arg(env!("CARGO_BIN_EXE_capscache"));
        dir.prepare(&mut command);
        let root = dir.path(&format!("root-{name}"));
        let run = command.arg("--root").arg(root).args(["export", &native]).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        stable(serde_json::from_slice(&run.stdout).unwrap())
    };
    let free = export("free", &["-e", "trace=all"]);
    let trace = fs::read(dir.path("free")).unwrap();
    let trace = String::from_utf8_lossy(&trace);
    let used: HashSet<String> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name.to_owned())
        .filter(|name| all.contains(name))
        .collect();
    assert!(used.contains("execve") && used.contains("memfd_create"), "{used:?}");
    let filtered: Vec<_> = used.difference(&allowed).collect();
    println!("filtered of what is used: {filtered:?}");
    assert!(!filtered.is_empty(), "the filter would not affect it");
    let names: Vec<_> = filtered.iter().map(|name| name.as_str()).collect();
    let inject = format!("inject={}:error=EPERM", names.join(","));
    assert_eq!(export("filtered", &["-e", &inject]), free);
}

#[test]
fn without_privileges_on_a_read_only_system_kvm_and_tcg_are_both_probed() {
    if !can_change_user() || !can_mount() || !can_make_nodes() || !has("setpriv") {
        return;
    }
    let dir = Dir::new();
    let binary = Path::new(env!("CARGO_BIN_EXE_capscache"));
    let others_run_it = crate::as_user(NOBODY, || fs::File::open(binary).is_ok());
    if !others_run_it {
        println!("SKIPPED: only root can run {}", binary.display());
        return;
    }
    // The settings of the unit, as far as they work without systemd: another user in the group of
    // /dev/kvm, no capabilities, nothing writable but the cache and a /tmp of its own, no network.
    let kvm = Path::new("/dev/kvm");
    let has_kvm = fs::File::options().read(true).write(true).open(kvm).is_ok()
        && std::env::consts::ARCH == "x86_64";
    for name in ["root", "run"] {
        fs::create_dir(dir.path(name)).unwrap();
        std::os::unix::fs::chown(dir.path(name), Some(NOBODY), None).unwrap();
    }
    let socket = dir.path("run/socket");
    let script = r#"
        set -e
        mount --make-rprivate /
        for directory in "$DIR/root" "$DIR/run"; do mount --bind "$directory" "$directory"; done
        mkdir -p "$DIR/dev" && mount -t tmpfs dev "$DIR/dev"
        mknod "$DIR/dev/null" c 1 3; mknod "$DIR/dev/zero" c 1 5; mknod "$DIR/dev/urandom" c 1 9
        chmod 666 "$DIR"/dev/*; mkdir "$DIR/dev/shm"
        if [ -n "$KVM" ]; then mknod "$DIR/dev/kvm" c 10 232; chown root:$KVM "$DIR/dev/kvm"; chmod 660 "$DIR/dev/kvm"; fi
        mount --bind "$DIR/dev" /dev
        mount -o remount,bind,ro /
        exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --groups "$USER_ID${KVM:+,$KVM}" \
            --bounding-set -all --inh-caps -all --ambient-caps -all --no-new-privs \
            "$CAPSCACHE" serve --socket "$DIR/run/socket"
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--", "sh", "-c", script]);
    dir.prepare(&mut command);
    command.env("DIR", dir.directory()).env("CAPSCACHE", binary);
    command.env("USER_ID", NOBODY.to_string()).env("KVM", if has_kvm { "64999" } else { "" });
    let _service = dir.start(command);
    let got = Client::connect(&socket).call("Get", json!({"emulator": emulator("x86_64")}));
    let expected = if has_kvm { json!(["kvm", "tcg"]) } else { json!(["tcg"]) };
    assert_eq!(got["accelerators"], expected);
    assert!(got["entry"].as_str().unwrap().starts_with(dir.root().to_str().unwrap()));
}
