use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use std::io::Read;

use rustix::io::FdFlags;
use rustix::process::WaitOptions;
use test_support::wait_until;

use super::*;
use crate::error::Exit;
use crate::session::fake::{Fake, block_on, write_program};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn launch(path: &Path) -> Launch<'_> {
    Launch {
        emulator: path,
        accelerator: "tcg:qtest",
        user: None,
        scratch: Path::new("/nowhere"),
        environment: &[],
        sandbox: &Sandbox::None,
    }
}

/// Starts `path`, waits for its end, and returns how it ended and its output.
fn run(path: &Path) -> Result<(Exit, String), StartError> {
    run_as(&launch(path))
}

fn run_as(launch: &Launch<'_>) -> Result<(Exit, String), StartError> {
    block_on(async {
        let mut spawned = spawn(launch, LONG)?;
        spawned.emulator.ended().await;
        let exit = spawned.emulator.end(Duration::from_secs(5)).await.unwrap();
        let mut output = String::new();
        spawned.output.read_to_string(&mut output).unwrap();
        Ok((exit, output))
    })
}

fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect()
}

#[test]
fn an_emulator_gets_the_command_line_of_a_probe() {
    let fake = Fake::new(r#"for word; do echo "$word"; done"#);
    let (exit, output) = run(&fake.path).unwrap();
    let words: Vec<_> = output.lines().collect();
    assert_eq!(exit, Exit::Status(0));
    let expected = "-S -no-user-config -nodefaults -display none -machine none,accel=tcg:qtest \
                    -chardev socket,id=qmp,fd=3 -qmp chardev:qmp";
    assert_eq!(words.join(" "), expected);
}

#[test]
fn the_environment_is_a_path_a_locale_and_a_directory_for_temporary_files() {
    let fake = Fake::new("tr '\\0' '\\n' < /proc/$$/environ");
    let (_, output) = run(&fake.path).unwrap();
    let names: Vec<_> = output.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(names, ["LC_ALL", "PATH", "TMPDIR"]);
    assert!(output.starts_with("LC_ALL=C\n"), "{output}");
    assert!(output.ends_with("\nTMPDIR=/nowhere\n"), "{output}");
}

#[test]
fn an_emulator_has_a_session_of_its_own_default_signals_and_no_new_privs() {
    // Not the status of the shell, which blocks signals while it forks.
    let fake = Fake::new("exec cat /proc/self/status /proc/self/stat");
    let (_, output) = run(&fake.path).unwrap();
    let status = fields(&output);
    // 32 and 33 are the C library's own.
    let ignored = u64::from_str_radix(status["SigIgn"], 16).unwrap();
    assert_eq!(ignored & !(3 << 31), 0, "{ignored:x}");
    assert_eq!(status["SigBlk"], "0000000000000000");
    assert_eq!(status["NoNewPrivs"], "1");
    // Process group, session and terminal.
    let ids: Vec<_> = output.lines().last().unwrap().split(' ').skip(4).take(3).collect();
    assert_eq!(ids, [status["Pid"], status["Pid"], "0"]);
}

#[test]
fn descriptors_file_size_core_size_and_cpu_time_are_limited() {
    let fake = Fake::new("exec cat /proc/self/limits");
    let (_, output) = run(&fake.path).unwrap();
    let limit = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(limit("Max open files"), "256 256");
    assert_eq!(limit("Max file size"), "1073741824 1073741824");
    assert_eq!(limit("Max core file size"), "0 0");
    assert_eq!(limit("Max cpu time"), "61 62");
    // QEMU reserves a gigabyte for translated code.
    assert_eq!(limit("Max address space"), "unlimited unlimited");
}

#[test]
fn an_emulator_that_writes_large_files_is_ended() {
    // Sparse but for its last page.
    let fake = Fake::new(r#"exec dd if=/dev/zero of="$0.large" bs=4096 seek=262143 count=2"#);
    assert_eq!(run(&fake.path).unwrap().0, Exit::Signal(libc::SIGXFSZ));
}

#[test]
fn an_emulator_that_spins_is_ended_by_its_cpu_limit() {
    let fake = Fake::new("while :; do :; done");
    let exit = block_on(async {
        let mut spawned = spawn(&launch(&fake.path), Duration::ZERO).unwrap();
        spawned.emulator.ended().await;
        spawned.emulator.end(LONG).await
    });
    assert_eq!(exit, Some(Exit::Signal(libc::SIGXCPU)));
}

#[test]
fn an_emulator_has_the_highest_oom_score() {
    let fake = Fake::new("exec cat /proc/self/oom_score_adj");
    assert_eq!(run(&fake.path).unwrap().1, "1000\n");
}

#[test]
fn the_stdin_of_an_emulator_cannot_be_read() {
    let fake = Fake::new("read line; echo $?");
    assert!(run(&fake.path).unwrap().1.ends_with("1\n"));
}

#[test]
fn an_emulator_leaves_no_core_file() {
    let fake = Fake::new("ulimit -c; ulimit -H -c; kill -ABRT $$");
    assert_eq!(run(&fake.path).unwrap(), (Exit::Signal(libc::SIGABRT), "0\n0\n".into()));
}

#[test]
fn an_emulator_does_not_inherit_descriptors_without_close_on_exec() {
    let unmarked = File::open("/dev/zero").unwrap();
    rustix::io::fcntl_setfd(&unmarked, FdFlags::empty()).unwrap();
    let fake = Fake::new("ls -l /proc/$$/fd");
    let (_, output) = run(&fake.path).unwrap();
    assert!(!output.contains("/dev/zero"), "{output}");
    for expected in ["0 -> pipe:", "1 -> pipe:", "2 -> pipe:", "3 -> socket:"] {
        assert!(output.contains(expected), "{expected} is not in {output}");
    }
}

#[test]
fn each_cause_of_a_failed_exec_has_an_error_of_its_own() {
    let fake = Fake::new("");
    let at = |name: &str| fake.dir.path().join(name);
    assert!(matches!(run(&at("nowhere")), Err(StartError::NotFound { .. })));
    assert!(matches!(run(&fake.path.join("below")), Err(StartError::NotFound { .. })));
    assert!(matches!(run(fake.dir.path()), Err(StartError::IsDirectory { .. })));
    std::fs::write(at("plain"), "text").unwrap();
    assert!(matches!(run(&at("plain")), Err(StartError::NotExecutable { .. })));
    write_program(&at("garbage"), "\x01\x02");
    assert!(matches!(run(&at("garbage")), Err(StartError::WrongFormat { .. })));
    write_program(&at("script"), "#!/no/such/interpreter\n");
    assert!(matches!(run(&at("script")), Err(StartError::NoInterpreter { .. })));
    let error = run(Path::new("a\0b")).unwrap_err();
    assert_eq!(error.to_string(), r"cannot pass arguments to start a\x00b");
}

#[test]
fn dropping_an_emulator_kills_its_group() {
    let fake = Fake::new("trap '' TERM HUP; sleep 1000 & while :; do sleep 1000; done");
    let spawned = block_on(async { spawn(&launch(&fake.path), LONG).unwrap() });
    let pid = spawned.emulator.pid();
    let began = Instant::now();
    drop(spawned);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    // The drop waits for its end, but not for long.
    wait_until("it is gone", || process::test_kill_process(pid) == Err(Errno::SRCH));
}

#[test]
fn an_emulator_dies_with_the_thread_that_started_it() {
    let fake = Fake::new("exec sleep 1000");
    let path = fake.path.clone();
    let thread = std::thread::spawn(move || {
        let spawned = block_on(async { spawn(&launch(&path), LONG).unwrap() });
        let pid = spawned.emulator.pid();
        // Nothing is dropped when a process is killed.
        std::mem::forget(spawned);
        pid
    });
    let pid = thread.join().unwrap();
    let status = process::waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1;
    assert_eq!(status.terminating_signal(), Some(libc::SIGKILL));
}

#[test]
fn a_program_that_ignores_sigchld_can_start_emulators() {
    const NAME: &str = "spawn::tests::a_program_that_ignores_sigchld_can_start_emulators";
    if std::env::var_os("CAPSCACHE_TEST_IGNORES_SIGCHLD").is_none() {
        // Ignored signals stay ignored on exec.
        let status = std::process::Command::new("env")
            .arg("--ignore-signal=CHLD")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env("CAPSCACHE_TEST_IGNORES_SIGCHLD", "1")
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    let ignored = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = u64::from_str_radix(fields(&ignored)["SigIgn"], 16).unwrap();
    assert_ne!(ignored & (1 << (libc::SIGCHLD - 1)), 0, "the test needs SIGCHLD ignored");

    // Fake scripts are written by std's Command, which waits for its child: impossible if SIGCHLD is ignored.
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(run(dir.path()), Err(StartError::IsDirectory { .. })));
    assert!(matches!(run(&dir.path().join("nowhere")), Err(StartError::NotFound { .. })));
    assert_eq!(run(Path::new("/bin/true")).unwrap().0, Exit::Unknown);
    let spawned = block_on(async { spawn(&launch(Path::new("/usr/bin/yes")), LONG) });
    // GNU yes refuses the options; whether it has ended by now or not, dropping it must not wait for ever.
    drop(spawned);
}
