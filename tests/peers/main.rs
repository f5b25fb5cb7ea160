//! Held against libvirt itself, live: `make test-peers` installs it and runs these.
//!
//! libvirt runs embedded in `virsh`, without a daemon, with a root of its own; `tini` reaps what it
//! starts. All sides run on the first processor: libvirt 11.3 keeps the CPUID leaf 0x1f with the
//! number of the processor that it happened to run on.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

struct Scene(TempDir);

/// What libvirt wrote for one emulator.
struct Cached {
    emulator: String,
    xml: String,
}

impl Cached {
    fn number(&self, element: &str) -> String {
        let (_, rest) = self.xml.split_once(&format!("<{element}>")).unwrap();
        rest.split('<').next().unwrap().to_owned()
    }
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene(tempfile::tempdir().unwrap());
        // The user that libvirt runs emulators as must be able to look in.
        fs::set_permissions(scene.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Where libvirt, embedded with this root, keeps what it knows of emulators.
    fn capabilities(&self, root: &str) -> PathBuf {
        self.path(root).join("cache/qemu/capabilities")
    }

    /// Starts libvirt, which asks every emulator that it does not know.
    fn start_libvirt(&self, root: &str) -> Vec<String> {
        let trace = self.path("trace");
        let uri = format!("qemu:///embed?root={}", self.path(root).display());
        let output = on_first_processor("strace")
            .args(["-f", "-qq", "-e", "trace=execve", "-o"])
            .arg(&trace)
            .args(["tini", "-s", "--", "virsh", "-c", &uri, "version"])
            .output()
            .expect("`make test-peers` installs what is needed");
        assert!(output.status.success(), "{output:?}");
        let traced = fs::read_to_string(trace).unwrap();
        let started = traced.lines().filter(|line| line.contains("qemu-system"));
        started.map(str::to_owned).collect()
    }

    /// What libvirt wrote.
    fn cached(&self, root: &str) -> Vec<Cached> {
        let files = fs::read_dir(self.capabilities(root)).unwrap();
        let mut cached: Vec<Cached> = files
            .map(|file| {
                let xml = fs::read_to_string(file.unwrap().path()).unwrap();
                let (_, rest) = xml.split_once("<emulator>").unwrap();
                Cached { emulator: rest.split('<').next().unwrap().to_owned(), xml }
            })
            .collect();
        cached.sort_by(|a, b| a.emulator.cmp(&b.emulator));
        cached
    }

    fn export(&self, of: &Cached) -> Output {
        on_first_processor(env!("CARGO_BIN_EXE_capscache"))
            .arg("--root")
            .arg(self.path("ours"))
            .args(["export", &of.emulator, "--format", "libvirt-xml"])
            .args(["--self-ctime", &of.number("selfctime")])
            .args(["--self-version", &of.number("selfvers")])
            .output()
            .unwrap()
    }
}

fn on_first_processor(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]).env_remove("CAPSCACHE_ROOT").stdin(Stdio::null());
    command
}

#[test]
fn what_libvirt_keeps_of_every_emulator_here_is_what_we_export() {
    let scene = Scene::new();
    let started = scene.start_libvirt("theirs");
    let cached = scene.cached("theirs");
    assert!(cached.len() > 20 && started.len() >= cached.len(), "{} files", cached.len());
    let mut same = 0;
    for theirs in &cached {
        let ours = scene.export(theirs);
        assert!(ours.status.success(), "{}: {ours:?}", theirs.emulator);
        let ours = String::from_utf8(ours.stdout).unwrap();
        let differs = ours.lines().zip(theirs.xml.lines()).find(|(ours, theirs)| ours != theirs);
        assert!(ours == theirs.xml, "{}: {differs:?}", theirs.emulator);
        same += 1;
    }
    println!("{same} of {} files are the same, byte for byte", cached.len());
}

#[test]
fn libvirt_starts_on_our_exports_without_asking_any_emulator() {
    let scene = Scene::new();
    scene.start_libvirt("theirs");
    let seeded = scene.capabilities("seeded");
    fs::create_dir_all(&seeded).unwrap();
    let cached = scene.cached("theirs");
    for theirs in &cached {
        let digest = Sha256::digest(theirs.emulator.as_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(scene.capabilities("theirs").join(&name).with_extension("xml").exists());
        let file = Path::new(&seeded).join(name).with_extension("xml");
        fs::write(file, scene.export(theirs).stdout).unwrap();
    }
    let started = scene.start_libvirt("seeded");
    assert!(started.is_empty(), "{} started: {}", started.len(), started[0]);
    println!("libvirt took {} of our files and started no emulator", cached.len());
}
