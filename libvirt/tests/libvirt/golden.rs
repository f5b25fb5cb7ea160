//! The project's own recordings and their XML, so that a change of it shows.
//!
//! `UPDATE_GOLDEN=1` rewrites the files. They were compared with libvirt itself, see
//! `docs/libvirt.md`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use capscache_format::Entry;
use capscache_libvirt::{CapsError, Host, QemuCaps};
use capscache_probe::replay;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::replies::REFERENCE;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn unpacked(file: &Path) -> String {
    let mut text = String::new();
    let file = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// The entry of a recording.
pub(crate) fn fixture(name: &str) -> Entry<Vec<u8>> {
    let text = unpacked(&fixtures().join(format!("{name}.qmp.gz")));
    Entry::open(replay(&text).unwrap().encode().unwrap()).unwrap()
}

#[test]
fn every_fixture_yields_the_reviewed_xml() {
    let mut names: Vec<String> = fs::read_dir(fixtures())
        .unwrap()
        .filter_map(|file| {
            Some(file.unwrap().file_name().to_str()?.strip_suffix(".qmp.gz")?.to_owned())
        })
        .collect();
    names.sort();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let entry = fixture(&name);
        let emulator = format!("/usr/bin/qemu-system-{}", entry.arch());
        let host = Host { emulator, ..Host::default() };
        let caps = match QemuCaps::from_entry(&entry, host, REFERENCE) {
            Ok(caps) => caps,
            Err(CapsError::UnknownArchitecture { arch }) => {
                assert_eq!(arch, "avr", "{name}");
                continue;
            }
            Err(CapsError::NoAccelerator) => {
                assert_eq!(name, "qemu-7.2-x86_64-microvm", "it has no TCG");
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let xml = caps.to_xml();
        assert_eq!(QemuCaps::from_xml(&xml, REFERENCE).unwrap(), caps, "{name}");
        let golden = fixtures().join("libvirt").join(format!("{name}.xml.gz"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(golden.parent().unwrap()).unwrap();
            let mut packed = GzEncoder::new(File::create(&golden).unwrap(), Compression::best());
            packed.write_all(xml.as_bytes()).unwrap();
            packed.finish().unwrap();
        }
        let expected = unpacked(&golden);
        let line = xml.lines().zip(expected.lines()).position(|(ours, theirs)| ours != theirs);
        assert!(xml == expected, "{name}: line {line:?} differs");
    }
}
