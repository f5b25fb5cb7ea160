//! Inputs that the fuzzer found, replayed: see `fuzz/`.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use capscache::Entry;
use capscache::format::FormatError;
use flate2::read::GzDecoder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzzer uses it as a crate")]
mod targets;

/// Runs every input of a target's corpus; returns their number.
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

#[test]
fn a_thousand_random_damages_of_a_real_entry_are_detected_without_a_panic() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qemu-7.2-avr.qmp.gz");
    let mut transcript = String::new();
    let packed = File::open(fixture).expect("a fixture");
    GzDecoder::new(packed).read_to_string(&mut transcript).expect("gzip");
    let model = capscache::probe::replay(&transcript).expect("a model");
    let real = model.encode().expect("a file");
    // One in eight is near the front, where header and section table are.
    let damage = |end| vec((0..end, 0..8), 1..=32);
    let damage = prop_oneof![1 => damage(256), 7 => damage(real.len())];
    let length = prop_oneof![1 => 0..real.len(), 15 => Just(real.len())];
    let (on_open, by_verify) = (Cell::new(0), Cell::new(0));
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/library/regressions.txt");
    let mut runner = TestRunner::new(test_support::property(1000, regressions));
    let checked = runner.run(&(damage, length), |(damage, length)| {
        let mut bytes = real.clone();
        for (at, bit) in damage {
            bytes[at] ^= 1_u8 << bit;
        }
        bytes.truncate(length);
        if bytes == real {
            return Ok(());
        }
        match Entry::open(&bytes) {
            Err(_) => on_open.update(|count| count + 1),
            Ok(entry) => {
                let found = entry.verify();
                let is_found = matches!(found, Err(FormatError::WrongDigest { .. }));
                prop_assert!(is_found, "{found:?}");
                by_verify.update(|count| count + 1);
            }
        }
        // Unchanged, and once more with corrected checksums.
        targets::open(&bytes);
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
    let (on_open, by_verify) = (on_open.get(), by_verify.get());
    assert!(on_open > 100 && by_verify > 500, "{on_open} on open, {by_verify} by verify");
}

#[test]
fn any_bytes_can_be_opened_as_an_entry() {
    assert!(replay("open", targets::open) > 1000);
}

#[test]
fn any_model_is_read_as_it_was_written() {
    assert!(replay("round_trip", targets::round_trip) > 1000);
}

#[test]
fn any_bytes_can_arrive_from_a_monitor() {
    assert!(replay("lines", targets::lines) > 1000);
}

#[test]
fn any_text_can_be_replayed() {
    assert!(replay("transcript", targets::transcript) > 1000);
}

#[test]
fn any_text_can_be_parsed_as_a_query() {
    assert!(replay("query", targets::query) > 100);
}
