//! Emulators from recordings.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use capscache_format::Entry;
use capscache_probe::replay;
use flate2::read::GzDecoder;

/// Entries of recorded emulators, by architecture.
#[derive(Default)]
pub(crate) struct Emulators(HashMap<String, Entry<Vec<u8>>>);

impl Emulators {
    /// Returns the entry of QEMU 7.2 for an architecture.
    pub(crate) fn entry(&mut self, arch: &str) -> &Entry<Vec<u8>> {
        self.0.entry(arch.to_owned()).or_insert_with(|| {
            let name = format!("../fixtures/qemu-7.2-{arch}.qmp.gz");
            let file = File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
            let mut text = String::new();
            GzDecoder::new(file).read_to_string(&mut text).unwrap();
            Entry::open(replay(&text).unwrap().encode().unwrap()).unwrap()
        })
    }
}
