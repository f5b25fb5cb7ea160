//! Damaged files: the damage is found, and no accessor panics on it.

use capscache_format::{Entry, FormatError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::file;
use crate::golden::GOLDEN;
use crate::strategies::config;

/// The start of the content of the golden file.
fn content_start() -> usize {
    72 + 24 * file::table(GOLDEN).len()
}

/// Checks damage in `bytes`, the first at `first`: `open` finds it in header and table, `verify`
/// after them, and no accessor panics on it.
fn check(bytes: &[u8], first: usize, what: &str) {
    match Entry::open(bytes) {
        Err(_) => assert!(first < content_start(), "{what}: open reads the content"),
        Ok(entry) => {
            assert!(first >= content_start(), "{what}: open overlooks the header");
            let found = entry.verify();
            assert!(matches!(found, Err(FormatError::WrongDigest { .. })), "{what}: {found:?}");
            file::walk(&entry);
        }
    }
}

#[test]
fn a_truncated_file_is_found_on_open() {
    for length in (0..GOLDEN.len()).step_by(file::ONE_IN) {
        let error = Entry::open(&GOLDEN[..length]).unwrap_err();
        let found = u64::try_from(length).unwrap();
        let expected = if length < 72 {
            FormatError::TooShort { needed: 72, found }
        } else {
            FormatError::WrongLength { recorded: u64::try_from(GOLDEN.len()).unwrap(), found }
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn a_file_that_grew_is_found_on_open() {
    for more in 1..=16 {
        let bytes = [GOLDEN, &[0; 16][..more]].concat();
        assert_eq!(
            Entry::open(&bytes[..]).unwrap_err(),
            FormatError::WrongLength {
                recorded: u64::try_from(GOLDEN.len()).unwrap(),
                found: u64::try_from(bytes.len()).unwrap()
            }
        );
    }
}

#[test]
fn every_flipped_bit_is_found_and_survived() {
    let mut bytes = GOLDEN.to_vec();
    for bit in (0..8 * bytes.len()).step_by(file::ONE_IN) {
        let (at, flip) = (bit / 8, 1 << (bit % 8));
        bytes[at] ^= flip;
        check(&bytes, at, &format!("bit {} of byte {at}", bit % 8));
        bytes[at] ^= flip;
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn damage_in_many_places_is_found_and_survived(
        from in prop_oneof![1 => Just(0), 7 => Just(content_start())],
        damage in vec((any::<Index>(), any::<u8>()), 1..=32),
    ) {
        let mut bytes = GOLDEN.to_vec();
        for (at, byte) in damage {
            bytes[from + at.index(GOLDEN.len() - from)] = byte;
        }
        let first = bytes.iter().zip(GOLDEN).position(|(now, then)| now != then);
        if let Some(first) = first {
            check(&bytes, first, "damage in many places");
        }
    }

    #[test]
    fn damage_that_is_sealed_with_a_valid_checksum_is_survived(
        section in any::<Index>(),
        // Whole words, small ones most of all: they are counts and offsets.
        damage in vec((any::<Index>(), 0..13_u32, 0..700_u32), 1..=8),
    ) {
        let mut hostile = file::sections(GOLDEN);
        let section = section.index(hostile.len());
        let bytes = &mut hostile[section].bytes;
        for (at, tag, number) in damage {
            let at = at.index(bytes.len() / 4) * 4;
            let word = tag << 28 | number;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let bytes = file::assemble(&hostile);
        let entry = Entry::open(&bytes[..]).unwrap();
        if entry.verify().is_ok() {
            // Then it is a sound file with other values: it can be written again.
            prop_assert!(entry.to_model().unwrap().encode().is_ok());
        }
        file::walk(&entry);
    }
}
