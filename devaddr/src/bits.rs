//! A set of small numbers.

/// A set of the numbers below a limit.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    /// Creates an empty set of numbers below `len`.
    pub(crate) fn new(len: u32) -> Bits {
        Bits { words: vec![0; (len as usize).div_ceil(64)], len }
    }

    /// The limit.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn contains(&self, bit: u32) -> bool {
        self.words.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// Adds a number below the limit; returns false if it was there.
    pub(crate) fn insert(&mut self, bit: u32) -> bool {
        let is_new = !self.contains(bit) && bit < self.len;
        if let Some(word) = self.words.get_mut(bit as usize / 64).filter(|_| is_new) {
            *word |= 1 << (bit % 64);
        }
        is_new
    }

    /// Returns the lowest number that is not in the set, from `first` on.
    pub(crate) fn next_clear(&self, first: u32) -> Option<u32> {
        (first..self.len).find(|bit| !self.contains(*bit))
    }
}
