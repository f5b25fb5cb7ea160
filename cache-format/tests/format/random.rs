//! Random values from a seeded generator, so that a failure can be reproduced.

use serde_json::{Map, Number, Value};

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A short string from a small set, so that many are equal.
    pub(crate) fn name(&mut self) -> String {
        const LETTERS: [char; 8] = ['a', 'b', '-', 'Z', 'é', '\u{0}', '"', '🦀'];
        (0..self.below(4)).map(|_| *self.pick(&LETTERS)).collect()
    }

    fn number(&mut self) -> Number {
        let bits = self.next();
        match self.below(5) {
            0 => Number::from(bits),
            1 => Number::from(bits.cast_signed()),
            2 => Number::from(bits % 1000),
            3 => Number::from(1_u64 << (bits % 64)),
            _ => Number::from_f64(f64::from_bits(bits)).unwrap_or_else(|| Number::from(0)),
        }
    }

    /// A value that nests at most `depth` deep.
    pub(crate) fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 4 } else { 7 }) {
            0 => Value::Null,
            1 => Value::Bool(self.below(2) == 0),
            2 => Value::Number(self.number()),
            3 => Value::String(self.name()),
            4 => (0..self.below(12)).map(|_| self.value(depth - 1)).collect(),
            5 => self.named_list(depth),
            _ => Value::Object(self.object(depth)),
        }
    }

    fn object(&mut self, depth: usize) -> Map<String, Value> {
        // Sometimes many keys and few values: such an object is packed.
        let (keys, depth) =
            if self.below(4) == 0 { (self.below(60), 0) } else { (self.below(6), depth - 1) };
        (0..keys)
            .map(|number| {
                let key = if self.below(2) == 0 { self.name() } else { format!("key-{number}") };
                (key, self.value(depth))
            })
            .collect()
    }

    /// Objects that all have a name, or all but one: with and without a sorted order.
    fn named_list(&mut self, depth: usize) -> Value {
        let key = *self.pick(&["name", "option", "capability"]);
        let nameless = if self.below(3) == 0 { self.below(20) } else { usize::MAX };
        (0..self.below(20))
            .map(|position| {
                let mut object = self.object(depth);
                if position != nameless {
                    object.insert(key.to_owned(), Value::String(self.name()));
                }
                Value::Object(object)
            })
            .collect()
    }
}
