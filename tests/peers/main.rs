//! Comparison with libvirt itself, live: `make test-peers` installs it and runs these.
//!
//! libvirt runs embedded in `virsh`, without a daemon, with a separate root; `tini` reaps the processes that
//! it starts. It runs on the first processor: libvirt 11.3 keeps the CPUID leaf 0x1f with the number of
//! the processor that it happened to run on, and on the first one the leaf holds none.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod command_lines;
mod daemons;
#[path = "../support/dir.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod dir;
mod domain_capabilities;
mod guests;
mod releases;
mod seeding;
#[path = "../../run/tests/corpus/shell.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod shell;
mod systems;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};

use self::dir::Dir;

/// Makes a `/dev` without `kvm` in a directory, and becomes the rest of its arguments.
const WITHOUT_KVM: &str = "mount -t tmpfs dev \"$0\"; \
    for node in null zero full random urandom; do cp -a /dev/$node \"$0\"; done; \
    ln -s /proc/self/fd \"$0/fd\"; mkdir \"$0/shm\"; mount --bind \"$0\" /dev; exec \"$@\"";

/// Starts a program in new namespaces; processes that are left of them when it ends are killed.
const APART: [&str; 4] = ["unshare", "-mpf", "--kill-child", "--mount-proc"];

/// A directory with roots of libvirt and one of this cache. The user that libvirt runs emulators as can search it.
struct Scene {
    directory: Dir,
    has_kvm: bool,
    /// A program that changes the surroundings of its arguments.
    prefix: Vec<String>,
}

/// A run of libvirt.
struct Run {
    output: Output,
    /// The emulators that it started, a line of `strace` each.
    started: Vec<String>,
}

impl Run {
    /// Returns whether it exited by itself, with success or failure.
    fn is_over(&self) -> bool {
        matches!(self.output.status.code(), Some(0 | 1))
    }
}

/// Returns whether this process may make namespaces.
fn can_be_apart() -> bool {
    Command::new(APART[0]).args(&APART[1..]).arg("true").status().is_ok_and(|s| s.success())
}

impl Scene {
    fn new() -> Scene {
        Scene { directory: Dir::new(), has_kvm: true, prefix: Vec::new() }
    }

    /// Returns a scene without `/dev/kvm` for any user; returns `None` and reports a skip where that is not possible.
    fn without_kvm() -> Option<Scene> {
        if !can_be_apart() {
            println!("SKIPPED: no namespaces can be made here: KVM is not hidden from libvirt");
            return None;
        }
        let scene = Scene { has_kvm: false, ..Scene::new() };
        fs::create_dir(scene.path("dev")).unwrap();
        Some(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path(name)
    }

    /// The prefix of a command that uses this scene's `/dev`.
    fn surroundings(&self) -> Vec<String> {
        let dev = self.path("dev").display().to_string();
        let hide = ["sh", "-euc", WITHOUT_KVM, &dev];
        let words: &[&[&str]] = if self.has_kvm { &[] } else { &[&APART, &hide] };
        let words = words.concat().into_iter().map(str::to_owned);
        self.prefix.iter().cloned().chain(words).collect()
    }

    /// Runs libvirt embedded, which first probes every emulator that it searches for and has no file of.
    fn libvirt(&self, root: &str, arguments: &[&str]) -> Run {
        let trace = self.path("trace");
        let uri = format!("qemu:///embed?root={}", self.path(root).display());
        let mut surroundings = self.surroundings();
        if surroundings.is_empty() && can_be_apart() {
            // A libvirt that crashes leaves emulators behind.
            surroundings.extend(APART.map(str::to_owned));
        }
        // strace follows every started process, and so waits for those that are left behind.
        let output = Command::new("timeout")
            .args(["-s", "KILL", "300", "strace", "-f", "-qq"])
            .args(["-e", "trace=execve", "-e", "status=successful", "-o"])
            .arg(&trace)
            .args(["taskset", "-c", "0"])
            .args(surroundings)
            .args(["tini", "-s", "--", "virsh", "-c", &uri])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("`make test-peers` installs what is needed");
        let traced = fs::read_to_string(trace).unwrap();
        assert!(
            traced.contains("/virsh\""),
            "strace reports started processes: {traced} {output:?}"
        );
        let started = traced.lines().filter(|line| line.contains("qemu-system"));
        Run { started: started.map(str::to_owned).collect(), output }
    }

    /// Starts libvirt; returns the capabilities of this host that it reports, without the host's random name.
    fn start_libvirt(&self, root: &str) -> (String, Vec<String>) {
        let Run { output, started } = self.libvirt(root, &["capabilities"]);
        assert!(output.status.success(), "{output:?}");
        let answer = String::from_utf8(output.stdout).unwrap();
        let named = |line: &&str| !line.trim_start().starts_with("<uuid>");
        (answer.lines().filter(named).collect::<Vec<_>>().join("\n"), started)
    }

    /// The path of libvirt's file on an emulator.
    fn file(&self, root: &str, emulator: &str) -> PathBuf {
        let digest = Sha256::digest(emulator.as_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.path(root).join("cache/qemu/capabilities").join(name).with_extension("xml")
    }

    /// The files of libvirt, by emulator.
    fn cached(&self, root: &str) -> BTreeMap<String, String> {
        let files = fs::read_dir(self.path(root).join("cache/qemu/capabilities")).unwrap();
        let content = |file: fs::DirEntry| {
            let xml = fs::read_to_string(file.path()).unwrap();
            let emulator = element(&xml, "emulator").to_owned();
            assert_eq!(
                self.file(root, &emulator),
                file.path(),
                "the name of the file of {emulator}"
            );
            (emulator, xml)
        };
        files.map(|file| content(file.unwrap())).collect()
    }

    fn capscache(&self, arguments: &[&str]) -> Output {
        let mut words = self.surroundings();
        words.push(env!("CARGO_BIN_EXE_capscache").to_owned());
        let mut command = Command::new(&words[0]);
        self.directory.prepare(&mut command);
        command.args(&words[1..]).args(arguments).output().unwrap()
    }

    /// Every emulator of this host.
    fn emulators(&self) -> Vec<String> {
        let warmed = self.capscache(&["warm", "--all"]);
        assert!(warmed.status.success(), "{warmed:?}");
        let list = self.capscache(&["list", "--json"]).stdout;
        let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
        let entries = list.as_array().unwrap().iter();
        entries.map(|entry| entry["emulator"].as_str().unwrap().to_owned()).collect()
    }

    /// The export that libvirt is to keep of an emulator, for the libvirt that wrote `theirs`.
    fn export(&self, emulator: &str, theirs: &str) -> Output {
        let arguments = ["export", emulator, "--format", "libvirt-xml", "--self-ctime"];
        let of_libvirt =
            [element(theirs, "selfctime"), "--self-version", element(theirs, "selfvers")];
        self.capscache(&[&arguments[..], &of_libvirt].concat())
    }

    /// Checks that libvirt and this command refuse an emulator for the same reason.
    fn check_refusal(&self, emulator: &str, theirs: &Output, ours: &Output) {
        let [their_error, our_error] = [theirs, ours].map(|refused| {
            assert!(!refused.status.success(), "{emulator}: {refused:?}");
            String::from_utf8_lossy(&refused.stderr)
        });
        let is_unnamed = their_error.contains("Unknown QEMU arch")
            && our_error.contains("it has no name for the architecture");
        let has_no_accelerator = !self.has_kvm
            && their_error.contains("invalid accelerator tcg")
            && our_error.contains("runs under neither hardware nor TCG");
        assert!(is_unnamed || has_no_accelerator, "{emulator}: {their_error}, but {our_error}");
    }

    /// Makes libvirt probe every emulator of this host, and compares.
    fn compare(&self) {
        let emulators = self.emulators();
        let (_, started) = self.start_libvirt("theirs");
        let any = self.cached("theirs").into_values().next().expect("libvirt wrote nothing");
        assert!(!started.is_empty(), "libvirt wrote files and strace reported no emulator");
        let (mut refused, mut crashes) = (Vec::new(), Vec::new());
        for emulator in &emulators {
            if self.file("theirs", emulator).exists() {
                continue;
            }
            // libvirt searches for one name of each architecture. Others have to be named to it.
            let arguments = ["domcapabilities", "--emulatorbin", emulator];
            let theirs = self.libvirt("theirs", &arguments);
            if !theirs.is_over() {
                println!("libvirt crashed when it probed {emulator}: nothing to compare");
                crashes.push(emulator);
            } else if !self.file("theirs", emulator).exists() {
                self.check_refusal(emulator, &theirs.output, &self.export(emulator, &any));
                refused.push(emulator);
            }
        }
        let cached = self.cached("theirs");
        let settled = cached.len() + refused.len() + crashes.len();
        assert_eq!(settled, emulators.len(), "{refused:?} {crashes:?} of {emulators:?}");
        for (emulator, theirs) in &cached {
            let ours = self.export(emulator, theirs);
            assert!(ours.status.success(), "{emulator}: {ours:?}");
            let ours = String::from_utf8(ours.stdout).unwrap();
            let differs = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
            assert!(ours == *theirs, "{emulator}: ours, theirs: {differs:?}");
        }
        println!(
            "of {} emulators {} files are the same, byte for byte, and {} are refused by both sides",
            emulators.len(),
            cached.len(),
            refused.len()
        );
    }
}

/// The content of an element that has no others in it.
fn element<'x>(xml: &'x str, name: &str) -> &'x str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    rest.split('<').next().unwrap()
}

#[test]
fn libvirts_file_on_every_emulator_here_equals_the_export() {
    Scene::new().compare();
}

#[test]
fn libvirts_file_on_every_emulator_without_kvm_equals_the_export() {
    if let Some(scene) = Scene::without_kvm() {
        scene.compare();
        let native = format!("/usr/bin/qemu-system-{}", std::env::consts::ARCH);
        let xml = scene.cached("theirs").remove(&native).expect("this host's own emulator");
        assert!(!xml.contains("type='kvm'"), "KVM was hidden from libvirt");
    }
}

#[test]
fn libvirt_starts_on_the_exports_without_probing_any_emulator() {
    let scene = Scene::new();
    let (theirs, _) = scene.start_libvirt("theirs");
    let cached = scene.cached("theirs");
    for (emulator, theirs) in &cached {
        let file = scene.file("seeded", emulator);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, scene.export(emulator, theirs).stdout).unwrap();
    }
    let seeds = scene.cached("seeded");

    let (seeded, started) = scene.start_libvirt("seeded");
    assert!(started.is_empty(), "{} started: {}", started.len(), started[0]);
    assert!(scene.cached("seeded") == seeds, "libvirt replaced a file that it did not accept");
    assert!(seeded == theirs, "libvirt reports this host as it does with its own files");
    println!("libvirt took {} of our files and started no emulator", cached.len());

    // Where one is missing, older than its emulator, or of another host, libvirt probes that emulator and
    // no other.
    let (missing, _) = seeds.first_key_value().unwrap();
    fs::remove_file(scene.file("seeded", missing)).unwrap();
    let (older, xml) = seeds.last_key_value().unwrap();
    let xml = xml.replace("<qemuctime>1", "<qemuctime>0");
    fs::write(scene.file("seeded", older), xml).unwrap();
    let mut expected = vec![missing, older];
    let has_cpuid = |(_, xml): &(&String, &String)| xml.contains("<cpuid eax_in='0x00000007'");
    if let Some((elsewhere, xml)) = seeds.iter().find(has_cpuid) {
        fs::write(
            scene.file("seeded", elsewhere),
            xml.replace("eax_in='0x00000007'", "eax_in='0x00000006'"),
        )
        .unwrap();
        expected.push(elsewhere);
    }
    let (_, started) = scene.start_libvirt("seeded");
    // A wrapper starts a file of the same name elsewhere.
    let name = |emulator: &str| format!("/{}\"", emulator.rsplit('/').next().unwrap());
    for emulator in &expected {
        assert!(
            started.iter().any(|line| line.contains(&name(emulator))),
            "{emulator} was not probed"
        );
    }
    for line in &started {
        assert!(expected.iter().any(|emulator| line.contains(&name(emulator))), "{line}");
    }
    assert!(scene.cached("seeded") == seeds, "libvirt wrote the same again");
}
