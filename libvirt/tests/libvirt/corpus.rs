//! libvirt's own recordings, if present: the XML that libvirt writes from each, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use capscache_format::{Accelerator, Entry};
use capscache_libvirt::{Host, QemuCaps};
use capscache_probe::replay_under;

/// The recordings, which lie beside the project and are not part of it.
fn recordings() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/libvirt/corpus");
    let Ok(files) = fs::read_dir(&corpus) else {
        println!("SKIPPED: libvirt's recordings are not there: {}", corpus.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "replies"));
    files.sort();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    files
}

/// The capabilities derived from a recording, and libvirt's XML of it.
fn written(recording: &Path) -> (QemuCaps, String) {
    let expected = fs::read_to_string(recording.with_extension("xml")).unwrap();
    let text = |name: &str| {
        let (_, rest) = expected.split_once(&format!("<{name}>")).unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    let is_hvf = recording.to_string_lossy().contains("+hvf");
    let first = is_hvf.then_some(Accelerator::Hvf);
    let model = replay_under(&fs::read_to_string(recording).unwrap(), first).unwrap();
    let entry = Entry::open(model.encode().unwrap()).unwrap();
    let host = Host {
        emulator: text("emulator"),
        microcode_version: text("microcodeVersion").parse().unwrap(),
        ..Host::default()
    };
    (QemuCaps::from_entry(&entry, host).unwrap(), expected)
}

#[test]
fn every_recording_of_libvirt_yields_its_xml_byte_for_byte() {
    for recording in recordings() {
        let (caps, expected) = written(&recording);
        let xml = caps.to_xml();
        let line = xml.lines().zip(expected.lines()).position(|(ours, theirs)| ours != theirs);
        assert!(xml == expected, "{}: line {line:?} differs", recording.display());
    }
}

#[test]
fn the_xml_of_libvirt_is_the_same_after_reading_and_writing() {
    for recording in recordings() {
        let (caps, expected) = written(&recording);
        let read = QemuCaps::from_xml(&expected).unwrap();
        assert_eq!(read, caps, "{}", recording.display());
        assert!(read.to_xml() == expected, "{}", recording.display());
    }
}

#[test]
fn the_order_of_queries_in_a_recording_does_not_matter() {
    for recording in recordings() {
        let text = fs::read_to_string(&recording).unwrap();
        let objects: Vec<&str> = text.trim_end().split("\n\n").collect();
        let mut pairs: Vec<[&str; 2]> = objects.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
        // Each pass in reverse order after its first command.
        let starts: Vec<usize> = (0..pairs.len())
            .filter(|at| pairs[*at][0].contains("\"qmp_capabilities\""))
            .chain([pairs.len()])
            .collect();
        for pass in starts.windows(2) {
            pairs[pass[0] + 1..pass[1]].reverse();
        }
        let turned = pairs.concat().join("\n\n") + "\n";
        let is_hvf = recording.to_string_lossy().contains("+hvf");
        let first = is_hvf.then_some(Accelerator::Hvf);
        let of = |text: &str| {
            let entry = Entry::open(replay_under(text, first).unwrap().encode().unwrap()).unwrap();
            QemuCaps::from_entry(&entry, Host::default()).unwrap().to_xml()
        };
        assert!(of(&turned) == of(&text), "{}", recording.display());
    }
}
