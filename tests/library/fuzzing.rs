//! What the fuzzer found worth keeping, tried again: see `fuzz/`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use capscache::{Entry, FormatError};
use flate2::read::GzDecoder;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzzer uses it as a crate")]
mod targets;

/// Hands out every input of a target's corpus; how many there are.
fn replay(target: &str, run: impl Fn(&[u8])) -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let packed = File::open(corpus.join(target).with_extension("tar.gz")).expect("a corpus");
    let mut archive = tar::Archive::new(GzDecoder::new(packed));
    let mut count = 0;
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an input");
        let mut input = Vec::new();
        entry.read_to_end(&mut input).expect("an input");
        if entry.header().entry_type().is_file() {
            run(&input);
            count += 1;
        }
    }
    count
}

/// SplitMix64, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).expect("a length")).expect("a length")
    }
}

#[test]
fn a_thousand_random_damages_of_a_real_entry_are_found_and_survived() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qemu-7.2-avr.qmp.gz");
    let mut transcript = String::new();
    let packed = File::open(fixture).expect("a fixture");
    GzDecoder::new(packed).read_to_string(&mut transcript).expect("gzip");
    let model = capscache::replay(&transcript).expect("a model");
    let real = model.encode().expect("a file");
    let (mut on_open, mut by_verify) = (0, 0);
    for seed in 0..1000 {
        let mut random = Random(seed);
        let mut bytes = real.clone();
        // One in eight is near the front, where header and section table are.
        let end = if seed % 8 == 0 { 256 } else { bytes.len() };
        for _ in 0..=random.below(32) {
            let at = random.below(end);
            bytes[at] ^= 1 << random.below(8);
        }
        if random.below(16) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        if bytes == real {
            continue;
        }
        match Entry::open(&bytes) {
            Err(_) => on_open += 1,
            Ok(entry) => {
                let found = entry.verify();
                let is_found = matches!(found, Err(FormatError::WrongDigest { .. }));
                assert!(is_found, "seed {seed}: {found:?}");
                by_verify += 1;
            }
        }
        // As it is, and once more where the sums are made to fit.
        targets::open(&bytes);
    }
    assert!(on_open > 100 && by_verify > 500, "{on_open} on open, {by_verify} by verify");
}

#[test]
fn any_bytes_can_be_opened_as_an_entry() {
    assert!(replay("open", targets::open) > 1000);
}

#[test]
fn any_model_comes_back_as_it_was_written() {
    assert!(replay("round_trip", targets::round_trip) > 1000);
}

#[test]
fn any_bytes_can_come_over_a_monitor() {
    assert!(replay("lines", targets::lines) > 1000);
}

#[test]
fn any_text_can_be_replayed() {
    assert!(replay("transcript", targets::transcript) > 1000);
}

#[test]
fn any_text_can_be_asked() {
    assert!(replay("query", targets::query) > 100);
}
