//! A resource that a prober lacks is not attributed to the emulator: the prober gets marked answers, and the next one,
//! which has more, gets the right answer.

use std::fs;
use std::path::Path;
use std::process::Command;

use test_support::has;
use test_support::rights::can_change_user;

use crate::{Dir, Run, kvm_works, run, text, x86_64};

const QUERIES: [&str; 3] = ["machine:q35", "cpu:max@tcg", "device:virtio-blk-pci"];

/// Runs the query under a program that limits it.
fn query_under(dir: &Dir, under: &[&str]) -> Run {
    let mut command = Command::new(under[0]);
    dir.prepare(&mut command);
    command.args(&under[1..]).arg(env!("CARGO_BIN_EXE_capscache"));
    run(command.args(["query", &x86_64()]).args(QUERIES))
}

/// Checks that a limited query is answered correctly, with *unknown*, or with an error, and an unlimited one correctly.
fn is_not_attributed_to_the_emulator(what: &str, query: impl FnOnce(&Dir) -> Run) -> Run {
    let dir = Dir::new();
    let short = query(&dir);
    assert!(!short.stderr.contains("panicked"), "{what}: {short:?}");
    assert!(!short.stdout.contains("\tno\n"), "{what}: {short:?}");
    assert!(short.code != Some(3) || short.stderr.contains("incomplete"), "{what}: {short:?}");
    let mut arguments = vec!["query", "/usr/bin/qemu-system-x86_64"];
    arguments.extend(QUERIES);
    let expected: String = QUERIES.iter().map(|query| format!("{query}\tyes\n")).collect();
    assert_eq!(dir.answer(&arguments), expected, "{what}, then without");
    short
}

#[test]
fn under_any_limit_of_a_prober_the_next_one_gets_the_right_answer() {
    if !has("prlimit") {
        return;
    }
    let descriptors = (3..40).step_by(3).map(|most| format!("--nofile={most}"));
    let others = [
        format!("--as={}", 900 << 20),
        format!("--as={}", 300 << 20),
        format!("--data={}", 60 << 20),
        "--fsize=1000".to_owned(),
        "--cpu=1".to_owned(),
        "--stack=100000".to_owned(),
        "--memlock=0".to_owned(),
    ];
    let mut incomplete = 0;
    for limit in descriptors.chain(others) {
        let short =
            is_not_attributed_to_the_emulator(&limit, |dir| query_under(dir, &["prlimit", &limit]));
        incomplete += usize::from(short.stderr.contains("the answers are incomplete"));
    }
    if kvm_works() {
        assert!(incomplete > 1, "TCG is lost where addresses or data are limited");
    }
}

#[test]
fn a_shortage_is_reported_with_the_limit_to_raise() {
    if !has("prlimit") {
        return;
    }
    let emulator = x86_64();
    let warm = ["warm", &emulator];
    let query = ["query", &emulator, "machine:q35"];
    let inspect = ["inspect", &emulator];
    for (arguments, code) in [(&warm[..], 1), (&query, 2), (&inspect, 2)] {
        let dir = Dir::new();
        let mut command = Command::new("prlimit");
        dir.prepare(&mut command);
        command.arg("--nofile=12").arg(env!("CARGO_BIN_EXE_capscache"));
        let short = run(command.args(arguments));
        assert_eq!(short.code, Some(code), "{arguments:?}: {short:?}");
        const EXPECTED: &str =
            "Too many open files; raise the limit of descriptors: `ulimit -n` (`prlimit --nofile`)";
        let output = format!("{}{}", short.stdout, short.stderr);
        assert!(output.contains(EXPECTED), "{arguments:?}: {short:?}");
    }
    // Under KVM there are answers, and otherwise none.
    let short = query_under(&Dir::new(), &["prlimit", "--data=60000000"]);
    assert!(short.stderr.contains("; raise the memory limit: "), "{short:?}");
}

#[test]
fn where_no_process_may_be_created_no_failure_is_remembered() {
    if !can_change_user() || !has("setpriv") || !has("prlimit") {
        return;
    }
    let dir = Dir::new();
    let binary = dir.path("capscache");
    fs::copy(env!("CARGO_BIN_EXE_capscache"), &binary).unwrap();
    fs::create_dir(dir.root()).unwrap();
    std::os::unix::fs::chown(dir.root(), Some(54320), Some(54320)).unwrap();
    let query = |limit: &str| {
        let mut command = Command::new("setpriv");
        dir.prepare(&mut command);
        command.args(["--reuid=54320", "--regid=54320", "--clear-groups", "prlimit", limit]);
        run(command.arg(&binary).args(["query", &x86_64()]).args(QUERIES))
    };
    for most in 1..8 {
        let short = query(&format!("--nproc={most}"));
        assert!(!short.stderr.contains("panicked"), "{most}: {short:?}");
        assert!(!short.stdout.contains("\tno\n"), "{most}: {short:?}");
        let free = query("--nproc=4096");
        assert_eq!(free.code, Some(0), "{most}, then without: {free:?}");
        fs::remove_dir_all(dir.root()).unwrap();
        fs::create_dir(dir.root()).unwrap();
        std::os::unix::fs::chown(dir.root(), Some(54320), Some(54320)).unwrap();
    }
}

#[test]
fn a_prober_that_may_not_execute_written_memory_loses_tcg_for_itself_alone() {
    // PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN: since Linux 6.3.
    const DENY: &str = "import ctypes, os, sys\n\
        if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n\
        os.execv(sys.argv[1], sys.argv[1:])";
    if !has("python3") {
        return;
    }
    let mut is_denied = true;
    let short = is_not_attributed_to_the_emulator("MDWE", |dir| {
        let short = query_under(dir, &["python3", "-c", DENY]);
        is_denied = short.code != Some(77);
        short
    });
    if !is_denied {
        println!("SKIPPED: this kernel has no PR_SET_MDWE");
        return;
    }
    if kvm_works() {
        assert!(short.stdout.contains("cpu:max@tcg\tunknown"), "{short:?}");
        assert!(short.stderr.contains("may not execute memory"), "{short:?}");
    } else {
        // No accelerator is left that the emulator could start with.
        assert_eq!((short.code, short.stdout.as_str()), (Some(2), ""), "{short:?}");
        assert!(short.stderr.contains("Permission denied"), "{short:?}");
    }
}

#[test]
fn answers_of_a_prober_in_a_small_memory_cgroup_are_not_used_by_others() {
    let parents = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"];
    let made = parents.iter().find_map(|parent| {
        let group = Path::new(parent).join(format!("capscache-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let limit = ["memory.limit_in_bytes", "memory.max"];
        let limit = limit.map(|file| group.join(file)).into_iter().find(|file| file.exists());
        let set = limit.is_some_and(|file| fs::write(file, (30 << 20).to_string()).is_ok());
        if !set {
            let _ = fs::remove_dir(&group);
        }
        set.then_some(group)
    });
    let Some(group) = made else {
        println!("SKIPPED: no cgroup with a limit of memory can be made here");
        return;
    };
    let procs = text(&group.join("cgroup.procs"));
    let script = format!("echo $$ > {procs}; exec \"$@\"");
    is_not_attributed_to_the_emulator("a cgroup", |dir| {
        query_under(dir, &["sh", "-c", &script, "sh"])
    });
    // The last of its processes may be about to end.
    while fs::remove_dir(&group).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn modules_that_the_prober_may_not_open_do_not_make_devices_absent() {
    if !can_change_user() || !has("setpriv") {
        return;
    }
    let modules = Path::new("/usr/lib/x86_64-linux-gnu/qemu");
    if !modules.join("hw-usb-redirect.so").exists() {
        println!("SKIPPED: the modules of QEMU for x86_64 are needed");
        return;
    }
    for whole in [false, true] {
        let dir = Dir::new();
        let own = dir.path("lib/x86_64-linux-gnu/qemu");
        fs::create_dir_all(&own).unwrap();
        fs::create_dir(dir.path("bin")).unwrap();
        fs::copy(x86_64(), dir.path("bin/qemu-system-x86_64")).unwrap();
        for module in fs::read_dir(modules).unwrap() {
            let module = module.unwrap().path();
            fs::copy(&module, own.join(module.file_name().unwrap())).unwrap();
        }
        let binary = dir.path("capscache");
        fs::copy(env!("CARGO_BIN_EXE_capscache"), &binary).unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        };
        fs::create_dir(dir.root()).unwrap();
        mode(&dir.root(), 0o755);
        std::os::unix::fs::chown(dir.root(), Some(54320), Some(54320)).unwrap();
        let hidden = if whole { own.clone() } else { own.join("hw-usb-redirect.so") };
        mode(&hidden, 0o700);
        let query = |arguments: &[&str]| {
            let mut command = Command::new("setpriv");
            dir.prepare(&mut command);
            command.args(["--reuid=54320", "--regid=54320", "--clear-groups"]).arg(&binary);
            run(command.args(arguments))
        };
        let emulator = text(&dir.path("bin/qemu-system-x86_64"));
        let device = ["query", &emulator, "device:usb-redir", "type:no-such-thing", "machine:q35"];
        let short = query(&device);
        if whole {
            // TCG and qtest are modules of this QEMU too: without any it does not start.
            assert_eq!((short.code, short.stdout.as_str()), (Some(2), ""), "{short:?}");
            assert!(short.stderr.contains("Permission denied"), "{short:?}");
        } else {
            let expected =
                "device:usb-redir\tunknown\ntype:no-such-thing\tunknown\nmachine:q35\tyes\n";
            assert_eq!(short.stdout, expected, "{short:?}");
            assert!(short.stderr.contains("the answers are incomplete"), "{short:?}");
        }
        let flag = query(&["query", &emulator, "flag:usb-redir"]);
        assert_ne!(flag.stdout, "flag:usb-redir\tno\n", "{flag:?}");
        let xml = query(&["export", &emulator, "--format", "libvirt-xml"]);
        assert_eq!(xml.code, Some(2), "{xml:?}");
        // A prober that can open them is not delayed by it, and afterwards no process is.
        mode(&hidden, 0o755);
        let whole = query(&device);
        let expected = "device:usb-redir\tyes\ntype:no-such-thing\tno\nmachine:q35\tyes\n";
        assert_eq!((whole.stdout.as_str(), whole.stderr.as_str()), (expected, ""));
    }
}
