//! Whole probes, each in a process of its own, so that its memory, and the files and processes that it leaves, can be
//! measured.

mod confined;
mod hostile;
mod outlived;
mod sandboxed;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capscache_format::{Entry, Fact, FactKey, FactKind, Tri};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use test_support::{DEADLINE, rights, wait_until};

use super::*;
use crate::session::fake::Fake;

/// Bound on the memory of a prober, for any emulator.
const MEMORY_KIB: u64 = 256 << 10;

/// The variable with the task of the prober below.
const TASK: &str = "CAPSCACHE_TEST_TASK";

/// The beginning of the line with the prober's report.
const MARK: &str = "PROBED ";

/// The task of a prober.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Task {
    emulator: PathBuf,
    /// The time limits of one process and of the whole probe, if not the defaults.
    seconds: Option<(u64, u64)>,
    devices: bool,
    /// Makes a transcript instead of an entry.
    record: bool,
    /// User, group, further groups.
    run_as: Option<(u32, u32, Vec<u32>)>,
    temporary: Option<PathBuf>,
    writable: Vec<PathBuf>,
    /// A path into the QMP schema to query.
    schema: String,
}

/// The report of a prober.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    result: Result<Outcome, String>,
    high_water_kib: u64,
    /// Descriptors that were open afterwards and not before.
    descriptors: Vec<String>,
    threads: usize,
    has_children: bool,
}

/// The outcome of a successful probe.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Outcome {
    /// The accelerators that answered.
    ran: BTreeSet<String>,
    /// The reasons why others did not.
    failures: Vec<String>,
    /// Command and reason.
    quarantined: Vec<(String, String)>,
    /// Command and QEMU's reason.
    refused: Vec<(String, String)>,
    restarts: u32,
    /// The output of the emulators, one text for each pass.
    outputs: Vec<String>,
    /// The answer to the schema query of the task: yes, no, unknown.
    schema: String,
    /// The length of the entry or the transcript.
    bytes: usize,
}

/// Not a test: the process in which the tests probe emulators.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn prober() {
    let Some(task) = std::env::var_os(TASK) else { return };
    let task: Task = serde_json::from_str(task.to_str().unwrap()).unwrap();
    // If tokio is built with its signal feature, it keeps a socket for signals as long as the process runs.
    drop(tokio::runtime::Builder::new_current_thread().enable_all().build());
    let (before, threads) = (descriptors(), threads_now());
    let result = run_task(&task);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let report = Report {
        result,
        high_water_kib: high_water_kib(),
        descriptors: descriptors().difference(&before).cloned().collect(),
        threads: threads_left(threads),
        has_children: rustix::process::waitid(WaitId::All, options).err() != Some(Errno::CHILD),
    };
    println!("{MARK}{}", serde_json::to_string(&report).unwrap());
}

fn run_task(task: &Task) -> Result<Outcome, String> {
    let Task { record, temporary, writable, .. } = task.clone();
    let mut options = Options { record, temporary, writable, ..Options::default() };
    if let Some((start, probe)) = task.seconds {
        options.limits.start = Duration::from_secs(start);
        options.limits.probe = Duration::from_secs(probe);
    }
    if task.devices {
        options.groups = Groups::DEVICES;
    }
    options.run_as = task.run_as.clone().map(|(uid, gid, groups)| User { uid, gid, groups });
    let probed = probe(&task.emulator, &options).map_err(|error| chain(&error))?;
    let report = &probed.model.report;
    let ran = |(key, fact): (FactKey, _)| {
        (key.kind == FactKind::Ran && fact != Fact::Refused).then(|| key.accelerator.name().into())
    };
    let (bytes, schema) = match &probed.transcript {
        Some(transcript) => (transcript.len(), Tri::Unknown),
        None => {
            let bytes = probed.model.encode().map_err(|error| chain(&error))?;
            let entry = Entry::open(bytes.as_slice()).unwrap();
            (bytes.len(), entry.schema().has(&task.schema))
        }
    };
    Ok(Outcome {
        ran: probed.model.facts().filter_map(ran).collect(),
        failures: report.passes.iter().filter_map(|pass| pass.failure.clone()).collect(),
        quarantined: report
            .quarantined
            .iter()
            .map(|query| (query.command.clone(), query.reason.clone()))
            .collect(),
        refused: report
            .refused
            .iter()
            .map(|query| (query.command.clone(), query.desc.clone()))
            .collect(),
        restarts: report.passes.iter().map(|pass| pass.restarts).sum(),
        outputs: report.passes.iter().map(|pass| pass.output_tail.clone()).collect(),
        schema: schema.to_string(),
        bytes,
    })
}

fn descriptors() -> BTreeSet<String> {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    // The descriptor of the directory that is being read is closed afterwards.
    let target = |path: PathBuf| fs::read_link(&path).ok().map(|to| format!("{path:?} is {to:?}"));
    open.filter_map(|entry| target(entry.path())).filter(|text| !text.contains("/fd\"")).collect()
}

fn threads_now() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Returns how many threads there are beyond a number. The kernel wakes who joins a thread before it removes that from
/// `/proc`, so that one that ends is waited for.
fn threads_left(before: usize) -> usize {
    let deadline = Instant::now() + DEADLINE;
    while threads_now() > before && Instant::now() < deadline {
        std::thread::yield_now();
    }
    threads_now() - before
}

fn high_water_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// A running prober, and the directory in which it makes its temporary directory.
struct Prober {
    child: Child,
    temporary: TempDir,
}

impl Prober {
    /// Starts a prober, by a wrapper command if there is one.
    fn start(task: &Task, wrapper: &[&str], temporary: TempDir) -> Prober {
        // Emulators of other users need search permission.
        open_to_all(temporary.path());
        let prober = std::env::current_exe().unwrap();
        let mut words = wrapper.iter().map(std::ffi::OsStr::new).chain([prober.as_os_str()]);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .args(["--exact", "probe::tests::prober", "--ignored", "--nocapture"])
            .env(TASK, serde_json::to_string(task).unwrap())
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Prober { child, temporary }
    }

    /// Waits for its report, and checks what holds for every probe.
    fn wait(self) -> Result<Outcome, String> {
        let output = self.child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.split_once(MARK)).expect(&text).1;
        let report: Report = serde_json::from_str(line).unwrap();
        eprintln!("{} KiB at most", report.high_water_kib);
        assert!(report.high_water_kib < MEMORY_KIB, "{} KiB", report.high_water_kib);
        assert_eq!(report.descriptors, [""; 0]);
        assert_eq!((report.threads, report.has_children), (0, false));
        assert_eq!(fs::read_dir(self.temporary.path()).unwrap().count(), 0);
        report.result
    }
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Probes a fake in a process of its own, and checks that nothing is left of it.
fn probed(fake: &Fake, task: Task) -> Result<Outcome, String> {
    let began = Instant::now();
    let allowed = task
        .seconds
        .map_or(Options::default().limits.probe, |(_, probe)| Duration::from_secs(probe));
    let task = Task { emulator: fake.path.clone(), ..task };
    let result = Prober::start(&task, &[], tempfile::tempdir().unwrap()).wait();
    // Far more than a machine under load takes beyond the deadline.
    assert!(began.elapsed() < allowed + DEADLINE, "{:?}", began.elapsed());
    fake.assert_gone();
    result
}

#[test]
fn the_report_has_one_pass_for_each_group_with_its_own_commands() {
    let fake = Fake::qemu(
        r#"query-commands) answer '[{"name": "query-cpu-model-expansion"}, {"name": "query-cpu-definitions"}]';;
        query-cpu-definitions) answer '[{"name": "one"}]';;"#,
    );
    let groups = Groups::DEVICES | Groups::OBJECTS | Groups::CPU_MODELS;
    let options = Options { groups, ..Options::default() };
    let report = probe(&fake.path, &options).unwrap().model.report;
    let passes: Vec<_> = report
        .passes
        .iter()
        .map(|pass| (pass.source.group().unwrap().name(), pass.source.accelerator().unwrap()))
        .collect();
    let expected =
        ["core", "devices", "objects", "cpu-models"].map(|group| (group, Accelerator::Tcg));
    assert_eq!(passes, expected);
    let commands = |pass: &PassReport| {
        pass.commands.iter().map(|row| (row.execute.clone(), row.count)).collect::<Vec<_>>()
    };
    let rows = |row: &[(&str, u32)]| {
        row.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>()
    };
    assert_eq!(commands(&report.passes[1]), rows(&[("device-list-properties", 2)]));
    assert_eq!(commands(&report.passes[2]), rows(&[("qom-list-properties", 2)]));
    assert_eq!(commands(&report.passes[3]), rows(&[("query-cpu-model-expansion", 2)]));
    for pass in &report.passes[1..] {
        let of_commands: u64 = pass.commands.iter().map(|row| row.micros).sum();
        assert_eq!(pass.micros, of_commands);
    }
    assert!(report.passes[0].commands.iter().any(|row| row.execute == "qom-list-types"));
    assert!(report.passes[0].micros > 0);
}

#[test]
fn the_report_has_the_output_of_lost_emulators() {
    let fake = Fake::qemu("query-qmp-schema) echo 'cannot do that' >&2; exit 1;;");
    let report = probe(&fake.path, &Options::default()).unwrap().model.report;
    let lost = "cannot do that\n[it exited with status 1: cannot do that]\n";
    assert_eq!(report.passes[0].output_tail, lost.repeat(2));
    assert_eq!(report.passes[0].restarts, 2);
}

/// Returns whether KVM can be used; prints that the test is skipped where not.
fn kvm_works() -> bool {
    let works = host::kvm_opens(None).unwrap();
    if !works {
        println!("SKIPPED: /dev/kvm cannot be opened here, so nothing was queried under KVM");
    }
    works
}
