//! libvirt's own test data, which lie beside the project and are not part of it.

use std::fs;
use std::path::{Path, PathBuf};

use capscache_format::{Accelerator, Entry};
use capscache_libvirt::{Host, QemuCaps};
use capscache_probe::replay_under;

use crate::replies::REFERENCE;

/// The variable with the folder of the data.
const VARIABLE: &str = "CAPSCACHE_LIBVIRT_CORPUS";

/// Returns a folder of the data: `corpus` with recordings, `domcaps` with domain capabilities.
pub(crate) fn folder(name: &str) -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/libvirt");
    std::env::var_os(VARIABLE).map_or(beside, PathBuf::from).join(name)
}

/// Returns the files of a folder with an extension, ordered by name; none, and a message, if it is not there.
pub(crate) fn files(name: &str, extension: &str) -> Vec<PathBuf> {
    let folder = folder(name);
    let Ok(files) = fs::read_dir(&folder) else {
        println!(
            "SKIPPED: libvirt's data are not there: {}; {VARIABLE} names their folder",
            folder.display()
        );
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|own| own == extension));
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

/// Returns the accelerator of the first pass, where a recording does not identify it.
pub(crate) fn first_of(recording: &Path) -> Option<Accelerator> {
    recording.to_string_lossy().contains("+hvf").then_some(Accelerator::Hvf)
}

/// Derives the capabilities from a recording.
pub(crate) fn caps_of(recording: &Path, host: Host) -> QemuCaps {
    let text = fs::read_to_string(recording).unwrap();
    let model = replay_under(&text, first_of(recording)).unwrap();
    let entry = Entry::open(model.encode().unwrap()).unwrap();
    QemuCaps::from_entry(&entry, host, REFERENCE).unwrap()
}

/// Returns the number of the first line that differs, and this line in both texts.
pub(crate) fn difference(ours: &str, theirs: &str) -> Option<String> {
    let (mut one, mut other) = (ours.lines(), theirs.lines());
    (1..).map(|number| (number, one.next(), other.next())).find_map(|(number, ours, theirs)| {
        if ours.is_none() && theirs.is_none() {
            return Some(None);
        }
        (ours != theirs)
            .then(|| Some(format!("line {number}: ours {ours:?}, libvirt's {theirs:?}")))
    })?
}
