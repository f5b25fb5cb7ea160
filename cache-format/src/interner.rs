//! Interning of slices: each distinct one is stored once, all of them in a single allocation.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Distinct slices, numbered from 0 in the order of insertion.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    items: Vec<T>,
    /// The end of each slice in `items`; it begins at the end of the one before.
    ends: Vec<usize>,
    numbers: HashTable<usize>,
    /// Seeded, since emulators are not trusted.
    hasher: RandomState,
}

impl<T> Default for Interner<T> {
    fn default() -> Interner<T> {
        Interner {
            items: Vec::new(),
            ends: Vec::new(),
            numbers: HashTable::new(),
            hasher: RandomState::default(),
        }
    }
}

impl<T: Copy + Eq + Hash> Interner<T> {
    /// The number of slices.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The slice with this number; empty for an unknown number.
    pub(crate) fn get(&self, number: usize) -> &[T] {
        nth(&self.items, &self.ends, number)
    }

    /// The number of a slice, if it is interned.
    pub(crate) fn find(&self, slice: &[T]) -> Option<usize> {
        let hash = self.hasher.hash_one(slice);
        self.numbers.find(hash, |&number| self.get(number) == slice).copied()
    }

    /// Interns a slice; returns its number, and true if it is new.
    pub(crate) fn insert(&mut self, slice: &[T]) -> (usize, bool) {
        let Interner { items, ends, numbers, hasher } = self;
        let hash = hasher.hash_one(slice);
        if let Some(known) = numbers.find(hash, |&number| nth(items, ends, number) == slice) {
            return (*known, false);
        }
        let number = ends.len();
        items.extend_from_slice(slice);
        ends.push(items.len());
        numbers.insert_unique(hash, number, |&known| hasher.hash_one(nth(items, ends, known)));
        (number, true)
    }
}

fn nth<'a, T>(items: &'a [T], ends: &[usize], number: usize) -> &'a [T] {
    let start = match number.checked_sub(1) {
        Some(before) => ends.get(before).copied().unwrap_or(usize::MAX),
        None => 0,
    };
    ends.get(number).and_then(|&end| items.get(start..end)).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_slices_get_one_number_and_every_slice_is_found_again() {
        let mut interner: Interner<u32> = Interner::default();
        let words: Vec<Vec<u32>> =
            (0..1000).map(|n| (0..n % 7).map(|k| k * (n % 13)).collect()).collect();
        let numbers: Vec<usize> = words.iter().map(|word| interner.insert(word).0).collect();
        for (word, number) in words.iter().zip(&numbers) {
            assert_eq!(interner.get(*number), word);
            assert_eq!(interner.find(word), Some(*number));
            assert_eq!(interner.insert(word), (*number, false));
        }
        let distinct: std::collections::BTreeSet<&Vec<u32>> = words.iter().collect();
        assert_eq!(interner.len(), distinct.len());
        assert!(interner.get(interner.len()).is_empty());
        assert_eq!(interner.find(&[99]), None);
    }
}
