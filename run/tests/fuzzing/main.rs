//! Guests that no user would write: no panic, and what has a command line has a correct one. See `fuzz/` for the fuzzer
//! itself.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../snapshots/emulators.rs"]
mod emulators;
#[path = "../snapshots/host.rs"]
mod host;
mod many;
mod mutate;
#[path = "../../../fuzz/src/run.rs"]
mod run;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestRng, TestRunner};

use self::emulators::Emulators;

/// Returns the committed inputs, by name.
fn corpus() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/run.tar.gz");
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let mut inputs = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut input = Vec::new();
        entry.read_to_end(&mut input).unwrap();
        inputs.extend(String::from_utf8(input).ok().filter(|input| !input.is_empty()));
    }
    inputs
}

/// Returns the guests of the corpus that have command lines.
fn seeds(emulators: &mut Emulators) -> Vec<String> {
    let mut seeds = corpus();
    seeds.retain(|seed| run::xml(seed.as_bytes(), emulators).1);
    seeds
}

#[test]
fn any_text_can_be_read_as_a_guest() {
    let mut emulators = Emulators::default();
    let inputs = corpus();
    let outcomes = inputs.iter().map(|input| run::xml(input.as_bytes(), &mut emulators));
    let built = outcomes.filter(|(_, is_built)| *is_built).count();
    assert!(built >= 14, "{built} of {} have command lines", inputs.len());
}

/// `PROPTEST_CASES` gives the number of cases.
#[test]
fn changed_guests_have_command_lines_that_qemu_can_read_or_errors() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let emulators = RefCell::new(Emulators::default());
    let seeds = seeds(&mut emulators.borrow_mut());
    let (read, built) = (Cell::new(0), Cell::new(0));
    let changes = vec((any::<u8>(), any::<u16>(), any::<u16>()), 0..4);
    // The same cases each time: the fuzzer is for others.
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let all = (0..seeds.len(), 0..seeds.len(), changes);
    let checked = TestRunner::new_with_rng(config, rng).run(&all, |(seed, other, changes)| {
        let mut text = seeds[seed].clone();
        changes.iter().for_each(|change| mutate::text(&mut text, &seeds[other], *change));
        let (is_read, is_built) = run::xml(text.as_bytes(), &mut emulators.borrow_mut());
        read.update(|count| count + u32::from(is_read));
        built.update(|count| count + u32::from(is_built));
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
    let (read, built) = (read.get() * 100 / cases, built.get() * 100 / cases);
    assert!(read > 50 && built > 20, "{read} % are read, {built} % have command lines");
}

#[test]
fn numbers_of_any_size_are_used_or_refused() {
    let mut emulators = Emulators::default();
    for seed in seeds(&mut emulators) {
        for (position, (start, end)) in mutate::numbers(&seed).into_iter().enumerate() {
            // Some numbers for each place: the others are for other places.
            for number in mutate::NUMBERS.iter().skip(position % 4).step_by(4) {
                let mut text = seed.clone();
                text.replace_range(start..end, number);
                run::xml(text.as_bytes(), &mut emulators);
            }
        }
    }
}
