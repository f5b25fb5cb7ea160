//! Full disks, file systems with missing operations, killed processes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use capscache::{Cache, Capabilities, GarbageReport, Lookup};
use serde_json::Value;
use test_support::rights::{can_mount, can_trace};
use test_support::{has, wait_until};

use crate::{Dir, Run, avr, emulator, run};

impl Dir {
    /// Runs a script in a new mount namespace; `$C` is the command and `$R` the root.
    fn in_namespace(&self, script: &str) -> Run {
        let mut command = Command::new("unshare");
        self.prepare(&mut command);
        command.env("C", env!("CARGO_BIN_EXE_capscache")).env("R", self.root());
        command.env("AVR", avr());
        std::fs::create_dir_all(self.root()).expect("a root");
        run(command.args(["-m", "sh", "-euc", script]))
    }
}

const NOT_WRITTEN: &str = "capscache: cannot store the answers: ";

#[test]
fn a_full_disk_costs_no_answer_and_leaves_nothing_behind() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    let run = dir.in_namespace(
        "mount -t tmpfs -o mode=755,size=16k none $R; $C query $AVR machine:uno; find $R -type f | wc -l >&2",
    );
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "machine:uno\tyes\n"), "{run:?}");
    let (reported, count) = run.stderr.split_once('\n').expect("two lines");
    assert!(
        reported.starts_with(NOT_WRITTEN) && reported.contains("No space left on device"),
        "{reported}"
    );
    // The lock, which is never removed.
    assert_eq!(count.trim(), "1", "{run:?}");
}

#[test]
fn a_read_only_root_costs_no_answer() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    let run = dir.in_namespace("mount -t tmpfs -o ro,mode=755 none $R; $C query $AVR machine:uno");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "machine:uno\tyes\n"), "{run:?}");
    assert!(run.stderr.starts_with(NOT_WRITTEN), "{run:?}");
    assert!(run.stderr.contains("Read-only file system"), "{run:?}");
}

#[test]
fn a_valid_entry_in_a_root_that_became_read_only_is_used_without_a_message() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    dir.answer(&["warm", &avr()]);
    let run = dir.in_namespace(
        "mount --bind $R $R; mount -o remount,bind,ro $R; $C query $AVR machine:uno --no-probe",
    );
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("machine:uno\tyes\n", ""), "{run:?}");
}

/// Runs the command where the kernel fails these system calls with this error.
fn with_failing(dir: &Dir, calls: &str, error: &str, arguments: &[&str]) -> Option<Run> {
    let mut command = Command::new("strace");
    dir.prepare(&mut command);
    command.args(["-f", "-qq", "-o", "/dev/null"]).arg(format!("--inject={calls}:error={error}"));
    if !can_trace() {
        return None;
    }
    Some(run(command.arg(env!("CARGO_BIN_EXE_capscache")).args(arguments)))
}

#[test]
fn a_file_system_without_locks_costs_nothing() {
    let dir = Dir::new();
    let query = ["query", &avr(), "machine:uno"];
    for error in ["EOPNOTSUPP", "ENOLCK"] {
        let Some(run) = with_failing(&dir, "flock", error, &query) else { return };
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("machine:uno\tyes\n", ""));
        assert!(dir.answer(&["status", &avr()]).ends_with(": valid\n"));
        dir.answer(&["invalidate", "--all"]);
    }
}

#[test]
fn a_file_system_where_nothing_can_be_renamed_or_synced_costs_no_answer() {
    let dir = Dir::new();
    let query = ["query", &avr(), "machine:uno"];
    for (calls, error) in
        [("rename,renameat,renameat2", "EXDEV"), ("fsync,fdatasync", "EIO"), ("mkdirat", "EDQUOT")]
    {
        let Some(run) = with_failing(&dir, calls, error, &query) else { return };
        assert_eq!((run.code, run.stdout.as_str()), (Some(0), "machine:uno\tyes\n"), "{run:?}");
        assert!(run.stderr.starts_with(NOT_WRITTEN), "{calls}: {run:?}");
        assert_eq!(dir.answer(&["gc"]), "nothing to remove\n", "{calls} left something");
        let Some(run) = with_failing(&dir, calls, error, &["warm", "--json", &avr()]) else {
            return;
        };
        assert_eq!(run.code, Some(1), "{run:?}");
        let warmed: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!(
            (&warmed[0]["result"], &warmed[0]["arch"]),
            (&"not-stored".into(), &"avr".into())
        );
        let reason = warmed[0]["reason"].as_str().expect("a reason");
        assert!(
            run.complaint().ends_with(reason) && reason.starts_with("cannot store the answers: ")
        );
    }
}

/// Returns whether a process runs an executable of this directory, or works in it: a process that was forked and
/// has not executed a program yet does.
fn is_running(directory: &Path) -> bool {
    let pids = std::fs::read_dir("/proc").expect("/proc");
    let links =
        pids.filter_map(Result::ok).flat_map(|pid| ["exe", "cwd"].map(|n| pid.path().join(n)));
    links.filter_map(|link| link.read_link().ok()).any(|path| path.starts_with(directory))
}

/// The answers of a test's emulator, as far as they are quickly compared.
fn answers(caps: &Capabilities) -> (String, Vec<String>, Vec<String>) {
    let machines = caps.best().expect("an accelerator").machines();
    let machines = machines.map(|machine| machine.name().to_owned()).collect();
    let types = caps.types().map(|type_| type_.name().to_owned()).collect();
    (caps.arch().to_owned(), machines, types)
}

#[test]
fn a_writer_that_is_killed_at_any_time_leaves_only_files_that_gc_removes() {
    let dir = Dir::new();
    // Copies of the emulators, so that every process that runs them is one of this test.
    let own = |target| {
        let content = std::fs::read(emulator(target)).expect("QEMU is installed");
        dir.program(&format!("qemu-system-{target}"), content)
    };
    let emulators = [own("avr"), own("rx")];
    let warm = || {
        let mut command = dir.command();
        command.arg("warm").args(&emulators).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("it starts")
    };
    // In this process, which costs less than a command and reads the same files.
    let cache = Cache::open(dir.root()).expect("a cache");
    let hit = |emulator: &String| match cache.lookup(emulator).expect("nothing is damaged") {
        Lookup::Hit(caps) => Some(caps),
        Lookup::Missing => None,
        other => panic!("{emulator}: {other:?}"),
    };
    // On a machine with any load: some finish, most do not.
    let range_of_warming = || {
        let began = std::time::Instant::now();
        assert!(warm().wait().expect("a child of this process").success());
        began.elapsed().as_micros() * 3 / 2
    };
    let mut range_of_both = range_of_warming();
    let expected = emulators.each_ref().map(|emulator| answers(&hit(emulator).expect("a hit")));
    assert_ne!(expected[0], expected[1]);
    let release = cache.directory().to_owned();
    cache.invalidate(&emulators[0]).expect("it can");
    let mut range_of_one = range_of_warming();
    cache.invalidate_all().expect("it can");

    let (mut finished, mut half_done, mut removed) = (0, 0, 0);
    for round in 0..1000 {
        let mut warm = warm();
        let are_both_cold = round % 4 == 0;
        let range = if are_both_cold { &mut range_of_both } else { &mut range_of_one };
        // Multiples of the golden ratio modulo 1 are spread evenly over the time that it takes.
        let moment = *range * (round * 618_034 % 1_000_000) / 1_000_000;
        let moment = u64::try_from(moment).expect("some milliseconds");
        std::thread::sleep(Duration::from_micros(moment));
        warm.kill().expect("a child of this process");
        let has_finished = warm.wait().expect("a child of this process").success();
        finished += u32::from(has_finished);
        // Follows the load: 2 % down and 1 % up keep a third of them finishing.
        *range = if has_finished { *range * 98 / 100 } else { *range * 101 / 100 };
        // The kernel kills the processes that a killed prober started, in its own time.
        wait_until("no process is left running", || !is_running(dir.directory()));
        let (_, bad) = cache.verify_all().expect("a directory");
        assert!(bad.is_empty(), "round {round}: {bad:?}");
        let collected = cache.collect_garbage().expect("it can");
        removed += collected.temporaries + collected.scratch_directories;
        let expected_of_gc = GarbageReport {
            temporaries: collected.temporaries,
            scratch_directories: collected.scratch_directories,
            ..GarbageReport::default()
        };
        assert_eq!(collected, expected_of_gc, "round {round}");
        if release.exists() {
            for file in std::fs::read_dir(&release).expect("a directory") {
                let path = file.expect("a file").path();
                let is_kept = path.extension().is_some_and(|kind| kind == "lock" || kind == "caps");
                assert!(is_kept, "round {round}: {path:?} was left");
            }
        }
        let hits = emulators.each_ref().map(&hit);
        half_done += u32::from(hits[0].is_some() != hits[1].is_some());
        for (caps, expected) in hits.iter().zip(&expected) {
            assert!(caps.as_ref().is_none_or(|caps| answers(caps) == *expected), "round {round}");
        }
        // The next one finds both of them absent, or one.
        if round % 4 == 3 {
            cache.invalidate_all().expect("it can");
        } else {
            cache.invalidate(&emulators[0]).expect("it can");
        }
    }
    println!("{finished} finished, {half_done} half way, {removed} files were removed");
    assert!((10..990).contains(&finished), "{finished} of 1000 finished");
    assert!(removed > 0, "no kill left a file, so none was during a write");
}

#[test]
fn a_clock_that_was_set_back_hides_no_change() {
    if !has("faketime") {
        return;
    }
    let dir = Dir::new();
    let size = |target| std::fs::metadata(emulator(target)).expect("QEMU is installed").len();
    let place = |target: &str| {
        let mut content = std::fs::read(emulator(target)).expect("QEMU is installed");
        content.resize(usize::try_from(size("avr").max(size("rx"))).expect("a size"), 0);
        dir.program("qemu-system", content)
    };
    let an_hour_ago = |arguments: &[&str]| {
        let mut command = Command::new("faketime");
        dir.prepare(&mut command);
        run(command.args(["-f", "-1h", env!("CARGO_BIN_EXE_capscache")]).args(arguments))
    };
    // A file that changed in the future may change again: content decides.
    for (target, machine) in [("avr", "uno"), ("rx", "gdbsim-r5f562n7"), ("avr", "uno")] {
        let path = place(target);
        let query = format!("machine:{machine}");
        for _ in 0..2 {
            let run = an_hour_ago(&["query", &path, &query]);
            assert_eq!(run.stdout, format!("{query}\tyes\n"), "{run:?}");
        }
        assert!(an_hour_ago(&["status", &path]).stdout.ends_with(": valid\n"));
    }
}

#[test]
fn an_upgraded_library_is_detected_by_the_next_lookup() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    let status = dir.in_namespace(
        "mkdir etc; cp -rP /etc/ld.so.* /etc/alternatives etc; mount --bind etc /etc; mkdir lib; library=$(ldd $AVR | sed -n 's/.*libz[.]so[^ ]* => \\([^ ]*\\).*/\\1/p'); \
         cp -L $library lib/libz.so.1; pwd > /etc/ld.so.conf.d/0.conf; sed -i 's|$|/lib|' /etc/ld.so.conf.d/0.conf; \
         /sbin/ldconfig; touch later; until [ \"$(find later -newer lib/libz.so.1)\" ]; do touch later; done; \
         $C warm $AVR >&2; $C query $AVR machine:uno --no-probe >&2; \
         cp -L $library lib/new; mv lib/new lib/libz.so.1; /sbin/ldconfig; $C status $AVR >&2; \
         cp -L $library lib/new; printf x >> lib/new; mv lib/new lib/libz.so.1; /sbin/ldconfig; \
         $C status $AVR --json || true",
    );
    let stale: serde_json::Value = serde_json::from_str(&status.stdout).unwrap_or_default();
    assert_eq!(stale["state"], "stale", "{status:?}");
    assert_eq!(stale["reason"]["input"], "libraries", "{status:?}");
    assert!(status.stderr.ends_with(": valid\n"), "the same build was installed again: {status:?}");
}
