//! Releases of libvirt in systems of their own, on recorded emulators: the files that they keep, the domain capabilities that
//! they print, and the replays for them.
//!
//! `make test-peers` makes the systems (`fixtures/roots.sh`); `fixtures/oracle.sh` has libvirt start each recording in the
//! place of QEMU. What a file has of this host is compared with no recording: [`HOST_ELEMENTS`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::Scene;
use crate::systems::{run_in, systems};

/// The path of each emulator in a system, from `fixtures/oracle.sh`.
const EMULATOR: &str = "/run/oracle/qemu";

/// Elements of a file about this host, its files and libvirt's, and not about the emulator.
const HOST_ELEMENTS: [&str; 10] = [
    "qemuctime",
    "qemumoddirmtime",
    "selfctime",
    "selfvers",
    "microcodeVersion",
    "hostCPUSignature",
    "kernelVersion",
    "cpudata",
    "kvmSupportsNesting",
    "kvmSupportsSecureGuest",
];

/// Reasons of libvirt to keep no file: a part of its message, and the reason in short.
const REFUSALS: [(&str, &str); 4] = [
    ("unknown architecture: ", "it has no name for the architecture"),
    ("Unknown QEMU arch ", "it has no name for the architecture"),
    (" is required, but ", "it refuses so old a QEMU"),
    ("cannot run under kvm", "neither hardware nor TCG was recorded"),
];

/// Returns the recordings of this project and of libvirt's test suite, by name.
fn recordings() -> BTreeMap<String, PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let beside = || project.join("../shared/libvirt");
    let corpus = std::env::var_os("CAPSCACHE_LIBVIRT_CORPUS").map_or_else(beside, PathBuf::from);
    let corpus = corpus.join("corpus");
    if !corpus.is_dir() {
        println!("SKIPPED: no {}: libvirt's recordings are not served", corpus.display());
    }
    let mut recordings = BTreeMap::new();
    for (folder, extension) in [(project.join("fixtures"), ".qmp.gz"), (corpus, ".replies")] {
        for file in fs::read_dir(folder).into_iter().flatten() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if let Some(name) = name.strip_suffix(extension) {
                recordings.insert(name.to_owned(), path);
            }
        }
    }
    recordings
}

/// Returns a file of libvirt's without what is about this host.
fn without_host(xml: &str) -> String {
    let (mut kept, mut skipped) = (String::new(), None);
    for line in xml.split_inclusive('\n') {
        let tag = line.trim_start().trim_start_matches(['<', '/']);
        let name = tag.split(['>', ' ', '/']).next().unwrap_or_default();
        if let Some(outer) = skipped {
            if name == outer && line.trim_start().starts_with("</") {
                skipped = None;
            }
        } else if HOST_ELEMENTS.contains(&name) {
            let is_whole = line.contains("</") || line.trim_end().ends_with("/>");
            skipped = (!is_whole).then_some(name);
        } else {
            kept.push_str(line);
        }
    }
    kept
}

/// The map of CPU models in a system.
const CPU_MAP: &str = "usr/share/libvirt/cpu_map";

/// Returns domain capabilities without what is about this host: its limits, and its CPU where guests have another architecture.
fn without_this_host(xml: &str) -> String {
    let is_foreign = !["x86_64", "i686"].iter().any(|arch| xml.contains(&format!("<arch>{arch}<")));
    let (mut kept, mut is_skipped) = (String::new(), false);
    for line in xml.trim_end().split_inclusive('\n') {
        let text = line.trim();
        let is_of_host = text.starts_with("<mode name='host-");
        if is_foreign && is_of_host {
            is_skipped = !text.ends_with("/>");
        } else if is_skipped {
            is_skipped = text != "</mode>";
        } else if !["<vcpu ", "<maxphysaddr ", "<!-- the mode host-model "]
            .iter()
            .any(|start| text.starts_with(start))
        {
            kept.push_str(line);
        }
    }
    kept.trim_end().to_owned()
}

/// Result of the comparison with one release.
#[derive(Default)]
struct Result {
    identical: usize,
    /// Name and first lines that differ.
    different: Vec<String>,
    /// Name and reason.
    without_file: Vec<String>,
}

/// Replays a recording for a release in a format.
fn replay(scene: &Scene, recording: &Path, release: &str, format: &[&str]) -> Output {
    let recording = recording.to_str().unwrap();
    let arguments = ["replay", recording, "--emulator", EMULATOR, "--libvirt", release, "--format"];
    scene.capscache(&[&arguments[..], format].concat())
}

#[test]
fn the_files_of_each_release_on_recorded_emulators_equal_the_replays() {
    let recordings = recordings();
    let scene = Scene::new();
    let mut failures = Vec::new();
    for (name, system) in systems() {
        let into = scene.path(name);
        fs::create_dir(&into).unwrap();
        let Some(printed) = run_in(&system, "oracle.sh", &into, recordings.values()) else {
            continue;
        };
        let release = printed.trim();
        let Some(result) = compare(&scene, &system, &into, &recordings, release) else { continue };
        let Result { identical, different, without_file } = result;
        println!(
            "libvirt {release}: {identical} identical, {} different of {} recordings",
            different.len(),
            recordings.len()
        );
        without_file.iter().for_each(|line| println!("  no file: {line}"));
        different.iter().for_each(|line| println!("  different: {line}"));
        assert!(identical > 0, "libvirt {release} has kept nothing");
        failures.extend(different.into_iter().map(|line| format!("{release}: {line}")));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Compares the files in a directory with the replays for a release; reports a skip if that is unknown.
fn compare(
    scene: &Scene,
    system: &Path,
    theirs: &Path,
    recordings: &BTreeMap<String, PathBuf>,
    release: &str,
) -> Option<Result> {
    let mut result = Result::default();
    for (name, recording) in recordings {
        if name.contains("+hvf") {
            let reason = "libvirt on Linux starts no emulator under Apple's framework";
            result.without_file.push(format!("{name}: {reason}"));
            continue;
        }
        let ours = replay(scene, recording, release, &["libvirt-xml"]);
        let complaint = String::from_utf8_lossy(&ours.stderr);
        if complaint.contains("--libvirt'") || complaint.contains("cannot use the release") {
            println!("SKIPPED: libvirt {release}: {}", complaint.trim());
            return None;
        }
        let map = system.join(CPU_MAP);
        let domain = ["domcapabilities", "--cpu-map", map.to_str().unwrap()];
        let domain = replay(scene, recording, release, &domain);
        let read = |kind| fs::read_to_string(theirs.join(format!("{name}.{kind}")));
        let Ok(theirs) = read("xml") else {
            let log = read("log").unwrap();
            let reason = REFUSALS.iter().find(|(message, _)| log.contains(message));
            let (_, reason) = reason.unwrap_or_else(|| panic!("{name}: {log}"));
            assert!(!ours.status.success(), "{name}: libvirt {release} keeps nothing: {reason}");
            result.without_file.push(format!("{name}: {reason}"));
            continue;
        };
        let ours = without_host(&String::from_utf8(ours.stdout).unwrap())
            + &without_this_host(&String::from_utf8(domain.stdout).unwrap());
        let theirs = without_host(&theirs) + &without_this_host(&read("domcaps").unwrap());
        if ours == theirs {
            result.identical += 1;
            continue;
        }
        let lines: Vec<_> = theirs.lines().collect();
        let more: Vec<_> = ours.lines().filter(|line| !lines.contains(line)).take(4).collect();
        let lines: Vec<_> = ours.lines().collect();
        let less: Vec<_> = theirs.lines().filter(|line| !lines.contains(line)).take(4).collect();
        let unanswered = read("unanswered").unwrap().lines().count();
        result.different.push(format!(
            "{name}: ours alone {more:?}, theirs alone {less:?} {complaint}; {unanswered} commands without a record"
        ));
    }
    Some(result)
}

#[test]
fn what_domain_capabilities_have_of_the_host_is_left_out_of_the_comparison() {
    let xml = |arch| {
        format!(
            "<d>\n  <arch>{arch}</arch>\n  <vcpu max='8'/>\n  <cpu>\n    \
            <mode name='host-passthrough' supported='no'/>\n    <mode name='host-model' supported='yes'>\n      \
            <maxphysaddr limit='46'/>\n      <model>z14</model>\n    </mode>\n    <mode name='custom'/>\n"
        )
    };
    let kept = "\n    <mode name='custom'/>";
    assert_eq!(
        without_this_host(&xml("s390x")),
        format!("<d>\n  <arch>s390x</arch>\n  <cpu>{kept}")
    );
    assert_eq!(
        without_this_host(&xml("x86_64")),
        "<d>\n  <arch>x86_64</arch>\n  <cpu>\n    <mode name='host-passthrough' supported='no'/>\n    \
         <mode name='host-model' supported='yes'>\n      <model>z14</model>\n    </mode>"
            .to_owned()
            + kept
    );
}

#[test]
fn what_a_file_has_of_the_host_is_left_out_of_the_comparison() {
    let xml = "<qemuCaps>\n  <emulator>q</emulator>\n  <selfvers>1</selfvers>\n  <flag name='kvm'/>\n  \
        <cpudata arch='x86'>\n    <cpuid eax_in='0x1'/>\n  </cpudata>\n  <arch>x86_64</arch>\n  \
        <kvmSupportsNesting/>\n</qemuCaps>\n";
    assert_eq!(
        without_host(xml),
        "<qemuCaps>\n  <emulator>q</emulator>\n  <flag name='kvm'/>\n  <arch>x86_64</arch>\n</qemuCaps>\n"
    );
}
