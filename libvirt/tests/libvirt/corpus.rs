//! libvirt's own recordings, if present: the XML that libvirt writes from each, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use capscache_format::Entry;
use capscache_libvirt::{Host, QemuCaps};
use capscache_probe::replay_under;

use crate::folder::{caps_of, difference, files, first_of};
use crate::replies::REFERENCE;

/// The recordings of emulators.
fn recordings() -> Vec<PathBuf> {
    files("corpus", "replies")
}

/// The capabilities derived from a recording, and libvirt's XML of it.
fn written(recording: &Path) -> (QemuCaps, String) {
    let expected = fs::read_to_string(recording.with_extension("xml")).unwrap();
    let text = |name: &str| {
        let (_, rest) = expected.split_once(&format!("<{name}>")).unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    let host = Host {
        emulator: text("emulator"),
        microcode_version: text("microcodeVersion").parse().unwrap(),
        ..Host::default()
    };
    (caps_of(recording, host), expected)
}

#[test]
fn every_recording_of_libvirt_yields_its_xml_byte_for_byte() {
    let recordings = recordings();
    let differs = |recording: &PathBuf| {
        let (caps, expected) = written(recording);
        let line = difference(&caps.to_xml(), &expected)?;
        Some(format!("{}: {line}\n", recording.display()))
    };
    let different: Vec<String> = recordings.iter().filter_map(differs).collect();
    let (all, wrong) = (recordings.len(), different.len());
    println!(
        "{}qemucaps: {} identical, {wrong} different of {all}",
        different.concat(),
        all - wrong
    );
    assert_eq!(wrong, 0, "{different:?}");
}

#[test]
fn the_xml_of_libvirt_is_the_same_after_reading_and_writing() {
    for recording in recordings() {
        let (caps, expected) = written(&recording);
        let read = QemuCaps::from_xml(&expected, REFERENCE).unwrap();
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
        let first = first_of(&recording);
        let of = |text: &str| {
            let entry = Entry::open(replay_under(text, first).unwrap().encode().unwrap()).unwrap();
            QemuCaps::from_entry(&entry, Host::default(), REFERENCE).unwrap().to_xml()
        };
        assert!(of(&turned) == of(&text), "{}", recording.display());
    }
}
