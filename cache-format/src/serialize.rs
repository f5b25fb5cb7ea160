//! Values as JSON, within bounds on depth and size.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::cell::Cell;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::layout::{MAX_DEPTH, Tag};
use crate::value::Value;

/// The largest export: several times the full profile of any QEMU. Bounds the expansion of a small
/// hostile file, whose values hold one another many times over.
const MAX_EXPORTED_BYTES: usize = 128 << 20;

/// The size of a value in an export, in addition to the text of its strings and keys.
const BYTES_PER_VALUE: usize = 32;

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.within(&Budget::default()).serialize(serializer)
    }
}

/// The remaining size of an export.
#[derive(Debug)]
pub(crate) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Budget {
        Budget(Cell::new(MAX_EXPORTED_BYTES))
    }
}

impl Budget {
    /// Subtracts one value and `text_bytes` of text.
    pub(crate) fn spend<E: serde::ser::Error>(&self, text_bytes: usize) -> Result<(), E> {
        let cost = text_bytes.saturating_add(BYTES_PER_VALUE);
        self.0.set(self.0.get().checked_sub(cost).ok_or_else(damaged)?);
        Ok(())
    }
}

fn damaged<E: serde::ser::Error>() -> E {
    E::custom("damaged entry: verify it, and probe again")
}

/// A value that is serialized within the remaining depth and size.
pub(crate) struct Bounded<'a, 'b> {
    value: Value<'a>,
    depth: u32,
    budget: &'b Budget,
}

impl<'a> Value<'a> {
    /// Returns the value as a part of a larger export that shares the budget.
    pub(crate) fn within<'b>(self, budget: &'b Budget) -> Bounded<'a, 'b> {
        Bounded { value: self, depth: 0, budget }
    }
}

impl Serialize for Bounded<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.value;
        let text = value.string_number().and_then(|number| value.store.string_bytes(number));
        self.budget.spend(text.map_or(0, <[u8]>::len))?;
        if self.depth > MAX_DEPTH {
            return Err(damaged());
        }
        let deeper = self.depth.saturating_add(1);
        let child = |value| Bounded { value, depth: deeper, budget: self.budget };
        match value.word.tag().ok_or_else(damaged)? {
            Tag::Null => serializer.serialize_unit(),
            Tag::False => serializer.serialize_bool(false),
            Tag::True => serializer.serialize_bool(true),
            Tag::Small | Tag::Unsigned => {
                serializer.serialize_u64(value.as_u64().ok_or_else(damaged)?)
            }
            Tag::Signed => serializer.serialize_i64(value.as_i64().ok_or_else(damaged)?),
            Tag::Double => serializer.serialize_f64(value.as_f64().ok_or_else(damaged)?),
            Tag::String => serializer.serialize_str(value.as_str().ok_or_else(damaged)?),
            Tag::Array | Tag::List => {
                let array = value.as_array().ok_or_else(damaged)?;
                let mut sequence = serializer.serialize_seq(Some(array.len()))?;
                for position in 0..array.count {
                    let element = array.at(position).ok_or_else(damaged)?;
                    sequence.serialize_element(&child(element))?;
                }
                sequence.end()
            }
            Tag::Object | Tag::Packed => {
                let object = value.as_object().ok_or_else(damaged)?;
                let mut map = serializer.serialize_map(Some(object.len()))?;
                for position in 0..object.count {
                    let key = object.key(position).ok_or_else(damaged)?;
                    self.budget.spend(key.len())?;
                    let value = object.value(position).ok_or_else(damaged)?;
                    map.serialize_entry(key, &child(value))?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_fails_when_its_values_or_their_text_exceed_the_budget() {
        let budget = Budget::default();
        assert_eq!(budget.spend::<std::fmt::Error>(MAX_EXPORTED_BYTES - 64), Ok(()));
        assert_eq!(budget.spend::<std::fmt::Error>(0), Ok(()));
        assert_eq!(budget.spend::<std::fmt::Error>(0), Err(std::fmt::Error));
        assert_eq!(Budget::default().spend::<std::fmt::Error>(usize::MAX), Err(std::fmt::Error));
    }
}
