//! Guests that no user would write: no panic, and what is accepted is right. See `fuzz/` for the fuzzer itself.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod mutate;
mod seeds;
#[path = "../../../fuzz/src/guest.rs"]
mod targets;

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use capscache_domain::Guest;
use flate2::read::GzDecoder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestRng, TestRunner};
use serde_json::Value;

/// Runs every input of a target's corpus; returns their number.
fn replay(target: &str, run: impl Fn(&[u8]) -> (bool, bool)) -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let packed = File::open(corpus.join(target).with_extension("tar.gz")).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(packed));
    let mut count = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut input = Vec::new();
        entry.read_to_end(&mut input).unwrap();
        if entry.header().entry_type().is_file() {
            run(&input);
            count += 1;
        }
    }
    count
}

/// The seeds as JSON.
fn values() -> Vec<Value> {
    let guests = seeds::XML.iter().map(|xml| Guest::from_xml(xml).unwrap());
    guests.map(|guest| serde_json::to_value(&guest).unwrap()).collect()
}

/// Runs a target on changed seeds, and counts those that are accepted and those that get addresses.
///
/// `PROPTEST_CASES` gives the number of cases.
fn run(seeds: usize, target: impl Fn(usize, &[mutate::Change]) -> (bool, bool)) -> (u32, u32) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let (accepted, assigned) = (Cell::new(0), Cell::new(0));
    let changes = vec((any::<u8>(), any::<u16>(), any::<u16>()), 0..5);
    // The same cases each time: the fuzzer is for others.
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let checked =
        TestRunner::new_with_rng(config, rng).run(&(0..seeds, changes), |(seed, changes)| {
            let (is_accepted, is_assigned) = target(seed, &changes);
            accepted.update(|count| count + u32::from(is_accepted));
            assigned.update(|count| count + u32::from(is_assigned));
            Ok(())
        });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
    println!("of {cases} guests {} are accepted, {} get addresses", accepted.get(), assigned.get());
    (accepted.get() * 100 / cases, assigned.get() * 100 / cases)
}

#[test]
fn the_seeds_are_accepted() {
    let outcomes: Vec<_> = seeds::XML.iter().map(|seed| targets::xml(seed.as_bytes())).collect();
    assert!(outcomes.iter().all(|(is_accepted, _)| *is_accepted), "{outcomes:?}");
    let assigned = outcomes.iter().filter(|(_, is_assigned)| *is_assigned).count();
    assert_eq!(assigned, 5, "{outcomes:?}");
}

#[test]
fn changed_guests_are_read_as_they_were_written_and_have_unique_addresses() {
    let (accepted, assigned) = run(seeds::XML.len(), |seed, changes| {
        let mut text = seeds::XML[seed].to_owned();
        changes.iter().for_each(|change| mutate::text(&mut text, *change));
        targets::xml(text.as_bytes())
    });
    assert!(accepted > 30 && assigned > 10, "{accepted} % are accepted, {assigned} % assigned");
}

#[test]
fn changed_guests_as_json_are_read_as_they_were_written_and_have_unique_addresses() {
    let values = values();
    let (accepted, assigned) = run(values.len(), |seed, changes| {
        let mut value = values[seed].clone();
        changes.iter().for_each(|change| mutate::value(&mut value, *change));
        targets::json(value.to_string().as_bytes())
    });
    assert!(accepted > 30 && assigned > 10, "{accepted} % are accepted, {assigned} % assigned");
}

#[test]
fn any_text_can_be_read_as_a_guest() {
    assert!(replay("domain_xml", targets::xml) > 1000);
}

#[test]
fn any_json_can_be_read_as_a_guest() {
    assert!(replay("devaddr", targets::json) > 1000);
}
