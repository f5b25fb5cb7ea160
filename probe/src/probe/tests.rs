//! Whole probes, each in a process of its own: what it leaves behind and how much memory it takes are the process's.

mod confined;
mod hostile;
mod outlived;
mod sandboxed;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capscache_format::{Entry, Tri};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use test_support::rights;

use super::*;
use crate::session::fake::Fake;

/// What a prober may take, whatever an emulator does.
const MEMORY_KIB: u64 = 256 << 10;

/// How the prober below is told what to do.
const TASK: &str = "CAPSCACHE_TEST_TASK";

/// How the line begins on which the prober tells what came of it.
const MARK: &str = "PROBED ";

/// What a prober is to do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Task {
    emulator: PathBuf,
    /// How long one process and the whole probe may take, if not as long as usual.
    seconds: Option<(u64, u64)>,
    devices: bool,
    /// To make a transcript and no entry, as nobody makes both.
    record: bool,
    /// User, group, further groups.
    run_as: Option<(u32, u32, Vec<u32>)>,
    temporary: Option<PathBuf>,
    writable: Vec<PathBuf>,
    /// A path into the QMP schema to be looked for.
    schema: String,
}

/// What a prober tells.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    result: Result<Brought, String>,
    high_water_kib: u64,
    /// Descriptors that were open afterwards and not before.
    descriptors: Vec<String>,
    threads: usize,
    has_children: bool,
}

/// What a probe brought.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Brought {
    /// The accelerators that answered.
    ran: BTreeSet<String>,
    /// Why the others did not.
    failures: Vec<String>,
    /// Command and reason.
    quarantined: Vec<(String, String)>,
    /// Command and QEMU's reason.
    refused: Vec<(String, String)>,
    restarts: u32,
    /// What the emulators wrote, one text for each pass.
    outputs: Vec<String>,
    /// What the schema has at the path that was looked for: yes, no, unknown.
    schema: String,
    /// How long the entry or the transcript is.
    bytes: usize,
}

/// Not a test: the process in which the tests have emulators probed.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn prober() {
    let Some(task) = std::env::var_os(TASK) else { return };
    let task: Task = serde_json::from_str(task.to_str().unwrap()).unwrap();
    // Where tokio is built to look after signals, it keeps a socket for them as long as the process lives.
    drop(tokio::runtime::Builder::new_current_thread().enable_all().build());
    let (before, threads) = (descriptors(), threads_now());
    let result = bring(&task);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let told = Told {
        result,
        high_water_kib: high_water_kib(),
        descriptors: descriptors().difference(&before).cloned().collect(),
        threads: threads_now() - threads,
        has_children: rustix::process::waitid(WaitId::All, options).err() != Some(Errno::CHILD),
    };
    println!("{MARK}{}", serde_json::to_string(&told).unwrap());
}

fn bring(task: &Task) -> Result<Brought, String> {
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
    Ok(Brought {
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
    // The directory that is being read has no link any more afterwards.
    let target = |path: PathBuf| fs::read_link(&path).ok().map(|to| format!("{path:?} is {to:?}"));
    open.filter_map(|entry| target(entry.path())).filter(|text| !text.contains("/fd\"")).collect()
}

fn threads_now() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

fn high_water_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// A prober that runs, and where it makes its temporary directory.
struct Prober {
    child: Child,
    temporary: TempDir,
}

impl Prober {
    /// Starts a prober by a command that ends with what it is to run, or directly.
    fn start(task: &Task, wrapper: &[&str], temporary: TempDir) -> Prober {
        // Others may have to pass through.
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

    /// Waits for what it has to tell, and checks what holds for every probe.
    fn wait(self) -> Result<Brought, String> {
        let output = self.child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.split_once(MARK)).expect(&text).1;
        let told: Told = serde_json::from_str(line).unwrap();
        eprintln!("{} KiB at most", told.high_water_kib);
        assert!(told.high_water_kib < MEMORY_KIB, "{} KiB", told.high_water_kib);
        assert_eq!(told.descriptors, [""; 0]);
        assert_eq!((told.threads, told.has_children), (0, false));
        assert_eq!(fs::read_dir(self.temporary.path()).unwrap().count(), 0);
        told.result
    }
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Has a fake probed in a process of its own, in which nothing is left of it afterwards.
fn probed(fake: &Fake, task: Task) -> Result<Brought, String> {
    let began = Instant::now();
    let allowed = task
        .seconds
        .map_or(Options::default().limits.probe, |(_, probe)| Duration::from_secs(probe));
    let task = Task { emulator: fake.path.clone(), ..task };
    let result = Prober::start(&task, &[], tempfile::tempdir().unwrap()).wait();
    // Far more than a machine under load takes beyond the deadline.
    assert!(began.elapsed() < allowed + Duration::from_secs(10), "{:?}", began.elapsed());
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
fn the_report_has_what_lost_emulators_wrote() {
    let fake = Fake::qemu("query-qmp-schema) echo 'cannot do that' >&2; exit 1;;");
    let report = probe(&fake.path, &Options::default()).unwrap().model.report;
    let lost = "cannot do that\n[it exited with status 1: cannot do that]\n";
    assert_eq!(report.passes[0].output_tail, lost.repeat(2));
    assert_eq!(report.passes[0].restarts, 2);
}

/// Whether KVM can be used; says so where it cannot.
fn kvm_works() -> bool {
    let works = host::kvm_opens(None).unwrap();
    if !works {
        println!("SKIPPED: /dev/kvm cannot be opened here, so nothing was asked under KVM");
    }
    works
}
