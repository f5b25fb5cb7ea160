//! Bounds-checked access to the string table and the pool of a file.
//!
//! The bytes are not trusted: an access outside a section yields `None`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::cmp::Ordering;

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::layout::index;

/// The string table and the pool of one file.
#[derive(Clone, Copy)]
pub(crate) struct Store<'a> {
    /// The end of each string in the text; it begins at the end of the one before.
    ends: &'a [U32],
    text: &'a [u8],
    pub(crate) words: &'a [U32],
}

impl<'a> Store<'a> {
    /// Reads the sections of a file; a truncated string table has no strings.
    pub(crate) fn new(strings: &'a [u8], pool: &'a [u8]) -> Store<'a> {
        let table = strings.split_first_chunk::<4>().and_then(|(count, rest)| {
            let count = index(u32::from_le_bytes(*count));
            <[U32]>::ref_from_prefix_with_elems(rest, count).ok()
        });
        let (ends, text) = table.unwrap_or((&[], &[]));
        let words = pool.len().checked_div(size_of::<U32>()).unwrap_or(0);
        let words = <[U32]>::ref_from_prefix_with_elems(pool, words);
        Store { ends, text, words: words.map_or(&[], |(words, _)| words) }
    }

    pub(crate) fn word(self, at: u32) -> Option<u32> {
        Some(self.words.get(index(at))?.get())
    }

    /// Returns `Some` if the pool has `count` words from `at` on.
    pub(crate) fn holds(self, at: u32, count: u32) -> Option<()> {
        let end = index(at).checked_add(index(count))?;
        (end <= self.words.len()).then_some(())
    }

    pub(crate) fn string_count(self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn string(self, number: u32) -> Option<&'a str> {
        std::str::from_utf8(self.string_bytes(number)?).ok()
    }

    pub(crate) fn string_bytes(self, number: u32) -> Option<&'a [u8]> {
        let number = index(number);
        let end = self.ends.get(number)?.get();
        let start = match number.checked_sub(1) {
            Some(before) => self.ends.get(before)?.get(),
            None => 0,
        };
        self.text.get(index(start)..index(end))
    }

    /// The position of a key in a shape.
    pub(crate) fn position(self, shape: u32, key: &str) -> Option<u32> {
        let keys = shape.checked_add(1)?;
        let count = self.word(shape)?;
        let order = keys.checked_add(count)?;
        search(count, |middle| {
            let position = self.word(order.checked_add(middle)?)?;
            let name = self.string_bytes(self.word(keys.checked_add(position)?)?)?;
            Some((name.cmp(key.as_bytes()), position))
        })
    }

    /// The same as `position`, by the key's number: strings are sorted, so their numbers compare alike.
    pub(crate) fn position_of_number(self, shape: u32, key: u32) -> Option<u32> {
        let keys = shape.checked_add(1)?;
        let count = self.word(shape)?;
        let order = keys.checked_add(count)?;
        search(count, |middle| {
            let position = self.word(order.checked_add(middle)?)?;
            Some((self.word(keys.checked_add(position)?)?.cmp(&key), position))
        })
    }
}

/// Searches `count` sorted elements for the first that is equal to the searched one: `probe` returns
/// how an element compares to it, and the result for that element.
pub(crate) fn search<T>(
    count: u32,
    mut probe: impl FnMut(u32) -> Option<(Ordering, T)>,
) -> Option<T> {
    let (mut low, mut high, mut found) = (0_u32, count, None);
    while low < high {
        let middle = low.midpoint(high);
        let (ordering, result) = probe(middle)?;
        match ordering {
            Ordering::Less => low = middle.checked_add(1)?,
            Ordering::Equal => {
                found = Some(result);
                high = middle;
            }
            Ordering::Greater => high = middle,
        }
    }
    found
}
