//! What the fuzzer found worth keeping, tried again: see `fuzz/`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

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
