//! Values read where they lie in the file.
//!
//! Nothing here trusts the bytes: every access is bounds-checked, a value that points outside the
//! pool reads as *absent*, and what a container holds lies before it in the pool, so that no
//! pattern of bytes makes a walk go round in circles.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::layout::{Tag, Word, index};

/// Deeper than any QMP reply; keeps a damaged file from exhausting the stack.
pub(crate) const MAX_DEPTH: u32 = 160;

/// What one export may come to: several times the full profile of any QEMU. Bounds what a
/// small hostile file, whose values hold one another many times over, can expand to.
const MAX_EXPORTED_BYTES: usize = 128 << 20;

/// What a value counts for in an export, beside the text of its strings and keys.
const BYTES_PER_VALUE: usize = 32;

/// The string table and the pool of one file.
#[derive(Clone, Copy)]
pub(crate) struct Store<'a> {
    /// Where each string ends in the text; it begins where the one before ends.
    ends: &'a [U32],
    text: &'a [u8],
    pub(crate) words: &'a [U32],
}

impl<'a> Store<'a> {
    /// Of the sections of a file: a string table that is cut has no strings.
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

    fn word(self, at: u32) -> Option<u32> {
        Some(self.words.get(index(at))?.get())
    }

    /// Whether the pool has `count` words from `at` on.
    fn holds(self, at: u32, count: u32) -> Option<()> {
        let end = index(at).checked_add(index(count))?;
        (end <= self.words.len()).then_some(())
    }

    pub(crate) fn string_count(self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn string(self, number: u32) -> Option<&'a str> {
        std::str::from_utf8(self.string_bytes(number)?).ok()
    }

    fn string_bytes(self, number: u32) -> Option<&'a [u8]> {
        let number = index(number);
        let end = self.ends.get(number)?.get();
        let start = match number.checked_sub(1) {
            Some(before) => self.ends.get(before)?.get(),
            None => 0,
        };
        self.text.get(index(start)..index(end))
    }

    pub(crate) fn value(self, word: u32) -> Value<'a> {
        Value { store: self, word: Word(word) }
    }

    /// What a container at `at` holds: it must lie before the container.
    fn child(self, word: u32, at: u32) -> Option<Value<'a>> {
        let word = Word(word);
        match word.tag()? {
            Tag::Array | Tag::List | Tag::Object | Tag::Packed if word.payload() >= at => None,
            _ => Some(Value { store: self, word }),
        }
    }

    /// The position in a shape of a key.
    fn position(self, shape: u32, key: &str) -> Option<u32> {
        let keys = shape.checked_add(1)?;
        let count = self.word(shape)?;
        let order = keys.checked_add(count)?;
        search(count, |middle| {
            let position = self.word(order.checked_add(middle)?)?;
            let known = self.string_bytes(self.word(keys.checked_add(position)?)?)?;
            Some((known.cmp(key.as_bytes()), position))
        })
    }

    /// As `position`, by the key's number: strings are sorted, so numbers compare as they do.
    fn position_of_number(self, shape: u32, key: u32) -> Option<u32> {
        let keys = shape.checked_add(1)?;
        let count = self.word(shape)?;
        let order = keys.checked_add(count)?;
        search(count, |middle| {
            let position = self.word(order.checked_add(middle)?)?;
            Some((self.word(keys.checked_add(position)?)?.cmp(&key), position))
        })
    }
}

/// Binary search for the first of equal ones; `probe` tells how an element compares to what is
/// looked for, and what it stands for.
fn search<T>(count: u32, mut probe: impl FnMut(u32) -> Option<(Ordering, T)>) -> Option<T> {
    let (mut low, mut high, mut found) = (0_u32, count, None);
    while low < high {
        let middle = low.midpoint(high);
        let (ordering, what) = probe(middle)?;
        match ordering {
            Ordering::Less => low = middle.checked_add(1)?,
            Ordering::Equal => {
                found = Some(what);
                high = middle;
            }
            Ordering::Greater => high = middle,
        }
    }
    found
}

/// One JSON value of an entry, read where it lies.
///
/// Cheap to copy. Getters answer `None` for a value of another type.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    store: Store<'a>,
    word: Word,
}

impl<'a> Value<'a> {
    /// Whether it is JSON's `null`: what stands in the place of an answer that was refused.
    pub fn is_null(self) -> bool {
        self.word.tag() == Some(Tag::Null)
    }

    /// The value of a boolean.
    pub fn as_bool(self) -> Option<bool> {
        match self.word.tag()? {
            Tag::False => Some(false),
            Tag::True => Some(true),
            _ => None,
        }
    }

    /// The value of an integer that is not negative.
    pub fn as_u64(self) -> Option<u64> {
        match self.word.tag()? {
            Tag::Small => Some(u64::from(self.word.payload())),
            Tag::Unsigned => self.bits(),
            _ => None,
        }
    }

    /// The value of an integer from `i64::MIN` to `i64::MAX`.
    pub fn as_i64(self) -> Option<i64> {
        match self.word.tag()? {
            Tag::Signed => self.bits().map(u64::cast_signed),
            _ => self.as_u64().and_then(|value| i64::try_from(value).ok()),
        }
    }

    /// The value of a number that is no integer.
    pub fn as_f64(self) -> Option<f64> {
        match self.word.tag()? {
            Tag::Double => self.bits().map(f64::from_bits),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(self) -> Option<&'a str> {
        match self.word.tag()? {
            Tag::String => self.store.string(self.word.payload()),
            _ => None,
        }
    }

    /// Whether it is the string `text`. Takes no longer however long the string in the file is.
    pub(crate) fn is_str(self, text: &str) -> bool {
        self.word.tag() == Some(Tag::String)
            && self.store.string_bytes(self.word.payload()) == Some(text.as_bytes())
    }

    /// The elements of an array.
    pub fn as_array(self) -> Option<Array<'a>> {
        let at = self.word.payload();
        let sorted = match self.word.tag()? {
            Tag::Array => false,
            Tag::List => true,
            _ => return None,
        };
        let count = self.store.word(at)?;
        let after_count = at.checked_add(1)?;
        let values = if sorted { after_count.checked_add(1)? } else { after_count };
        self.store.holds(values, count)?;
        let key = if sorted { Some(self.store.word(after_count)?) } else { None };
        Some(Array { store: self.store, at, values, count, key })
    }

    /// The keys and values of an object.
    pub fn as_object(self) -> Option<Object<'a>> {
        let at = self.word.payload();
        let packed = match self.word.tag()? {
            Tag::Object => false,
            Tag::Packed => true,
            _ => return None,
        };
        let shape = self.store.word(at).filter(|&shape| shape < at)?;
        let count = self.store.word(shape)?;
        let values = at.checked_add(1)?;
        self.store.holds(shape, count.checked_mul(2)?.checked_add(1)?)?;
        let codes = if packed {
            let codes = values.checked_add(1)?.checked_add(self.store.word(values)?)?;
            self.store.holds(codes, count.div_ceil(4))?;
            Some(codes)
        } else {
            self.store.holds(values, count)?;
            None
        };
        Some(Object { store: self.store, at, shape, count, values, codes })
    }

    /// What an object has under `key`; `None` if it is no object or has no such key.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.as_object()?.get(key)
    }

    /// The string with this number in the file that the value is in.
    pub(crate) fn text_of(self, number: u32) -> Option<&'a str> {
        self.store.string(number)
    }

    /// The numbers of equal strings of one file are equal.
    pub(crate) fn string_number(self) -> Option<u32> {
        (self.word.tag()? == Tag::String).then_some(self.word.payload())
    }

    /// Where a container lies; equal containers of one file lie at one place.
    pub(crate) fn container_at(self) -> Option<u32> {
        match self.word.tag()? {
            Tag::Array | Tag::List | Tag::Object | Tag::Packed => Some(self.word.payload()),
            _ => None,
        }
    }

    fn bits(self) -> Option<u64> {
        let at = self.word.payload();
        let low = self.store.word(at)?;
        let high = self.store.word(at.checked_add(1)?)?;
        Some(u64::from(high) << 32 | u64::from(low))
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(value) = self.as_bool() {
            write!(f, "{value}")
        } else if let Some(value) = self.as_i64() {
            write!(f, "{value}")
        } else if let Some(value) = self.as_u64() {
            write!(f, "{value}")
        } else if let Some(value) = self.as_f64() {
            write!(f, "{value}")
        } else if let Some(text) = self.as_str() {
            write!(f, "{text:?}")
        } else if let Some(array) = self.as_array() {
            write!(f, "[{} elements]", array.len())
        } else if let Some(object) = self.as_object() {
            write!(f, "{{{} keys}}", object.len())
        } else {
            f.write_str("null")
        }
    }
}

/// The elements of a JSON array, in QEMU's order.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    store: Store<'a>,
    at: u32,
    values: u32,
    count: u32,
    key: Option<u32>,
}

impl<'a> Array<'a> {
    /// How many there are.
    pub fn len(self) -> usize {
        index(self.count)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The elements, in QEMU's order.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        (0..self.count).filter_map(move |position| self.at(position))
    }

    /// The first element whose string under `key` is `name`.
    ///
    /// Takes O(log n) comparisons where `key` is what QMP names the elements by.
    pub fn find(self, key: &str, name: &str) -> Option<Value<'a>> {
        match self.sorted_by(key) {
            Some(number) => {
                let mut place = Place::default();
                search(self.count, |rank| {
                    let (_, element, known) = self.ranked(number, rank, &mut place)?;
                    Some((self.store.string_bytes(known)?.cmp(name.as_bytes()), element))
                })
            }
            None => {
                let mut place = Place::default();
                let position = |shape| self.store.position(shape, key);
                self.iter().find(|element| {
                    let object = element.as_object();
                    let known = object.and_then(|object| object.at_place(&mut place, position));
                    known.is_some_and(|known| known.is_str(name))
                })
            }
        }
    }

    /// As [`Array::find`], with a name whose number in the file is known.
    pub(crate) fn find_number(self, key: &str, name: u32) -> Option<Value<'a>> {
        match self.sorted_by(key) {
            Some(number) => {
                let mut place = Place::default();
                search(self.count, |rank| {
                    let (_, element, known) = self.ranked(number, rank, &mut place)?;
                    Some((known.cmp(&name), element))
                })
            }
            None => self
                .iter()
                .find(|element| element.get(key).and_then(Value::string_number) == Some(name)),
        }
    }

    /// Whether the sorted order, if there is one, has every element once, by name and, of equal
    /// names, by position.
    pub(crate) fn is_sorted(self) -> bool {
        let Some(key) = self.key else { return true };
        let ranked =
            |rank| self.ranked(key, rank, &mut Place::default()).map(|(at, _, name)| (name, at));
        let ranked = (0..self.count).map(ranked);
        // Strictly increasing, so that no position stands twice, so that none is missing.
        ranked.clone().all(|ranked| ranked.is_some()) && ranked.is_sorted_by(|a, b| a < b)
    }

    /// Whether there is a sorted order by what the elements have under `key`: that key's number.
    pub(crate) fn sorted_by(self, key: &str) -> Option<u32> {
        self.key.filter(|&number| self.store.string_bytes(number) == Some(key.as_bytes()))
    }

    /// What stands at a rank of the sorted order: position, element, and the number of its name.
    fn ranked(self, key: u32, rank: u32, place: &mut Place) -> Option<(u32, Value<'a>, u32)> {
        let order = self.values.checked_add(self.count)?.checked_add(rank / 2)?;
        let pair = self.store.word(order)?;
        let position = if rank.is_multiple_of(2) { pair & 0xFFFF } else { pair >> 16 };
        let element = self.at(position)?;
        let name = element
            .as_object()?
            .at_place(place, |shape| self.store.position_of_number(shape, key))?;
        Some((position, element, name.string_number()?))
    }

    pub(crate) fn at(self, position: u32) -> Option<Value<'a>> {
        if position >= self.count {
            return None;
        }
        self.store.child(self.store.word(self.values.checked_add(position)?)?, self.at)
    }
}

/// Where a key is in the shape that was met last. Neighbours mostly have one shape: in it the key is
/// looked up once.
#[derive(Default)]
struct Place(Option<(u32, u32)>);

/// The keys and values of a JSON object, in QEMU's order.
#[derive(Clone, Copy)]
pub struct Object<'a> {
    store: Store<'a>,
    at: u32,
    shape: u32,
    count: u32,
    values: u32,
    codes: Option<u32>,
}

impl<'a> Object<'a> {
    /// How many keys there are.
    pub fn len(self) -> usize {
        index(self.count)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The value under `key`, in O(log n) comparisons.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.value(self.store.position(self.shape, key)?)
    }

    /// The value at a place, which `position` finds in a shape that is another than the one before.
    fn at_place(
        self,
        place: &mut Place,
        position: impl FnOnce(u32) -> Option<u32>,
    ) -> Option<Value<'a>> {
        let at = match place.0 {
            Some((shape, at)) if shape == self.shape => at,
            _ => position(self.shape)?,
        };
        place.0 = Some((self.shape, at));
        self.value(at)
    }

    /// The keys and their values, in QEMU's order.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        (0..self.count)
            .filter_map(move |position| Some((self.key(position)?, self.value(position)?)))
    }

    /// Numbers of keys and values, in QEMU's order, up to the first that is damaged.
    pub(crate) fn numbered(self) -> impl Iterator<Item = (u32, Value<'a>)> {
        (0..self.count)
            .map_while(move |position| Some((self.key_number(position)?, self.value(position)?)))
    }

    /// Whether the sorted order of the keys has every key once.
    pub(crate) fn is_sorted(self) -> bool {
        let order = self.shape.saturating_add(1).saturating_add(self.count);
        let key = |rank: u32| self.key_number(self.store.word(order.checked_add(rank)?)?);
        let keys = (0..self.count).map(key);
        keys.clone().all(|key| key.is_some()) && keys.is_sorted_by(|a, b| a < b)
    }

    fn key(self, position: u32) -> Option<&'a str> {
        self.store.string(self.key_number(position)?)
    }

    fn key_number(self, position: u32) -> Option<u32> {
        if position >= self.count {
            return None;
        }
        self.store.word(self.shape.checked_add(1)?.checked_add(position)?)
    }

    fn value(self, position: u32) -> Option<Value<'a>> {
        if position >= self.count {
            return None;
        }
        let slot = match self.codes {
            None => position,
            Some(codes) => {
                let four = self.store.word(codes.checked_add(position / 4)?)?.to_le_bytes();
                let code = u32::from(*four.get(index(position % 4))?);
                // The palette has a count before it, and its own bound.
                if code >= self.store.word(self.values)? {
                    return None;
                }
                code.checked_add(1)?
            }
        };
        self.store.child(self.store.word(self.values.checked_add(slot)?)?, self.at)
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.within(&Budget::default()).serialize(serializer)
    }
}

/// What is left of the size of an export.
#[derive(Debug)]
pub(crate) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Budget {
        Budget(Cell::new(MAX_EXPORTED_BYTES))
    }
}

impl Budget {
    /// Takes a value, and this much text, off what is left.
    pub(crate) fn spend<E: serde::ser::Error>(&self, text_bytes: usize) -> Result<(), E> {
        let cost = text_bytes.saturating_add(BYTES_PER_VALUE);
        self.0.set(self.0.get().checked_sub(cost).ok_or_else(damaged)?);
        Ok(())
    }
}

fn damaged<E: serde::ser::Error>() -> E {
    E::custom("damaged entry: verify it, and probe again")
}

/// A value on its way out, with what is left of depth and size.
pub(crate) struct Bounded<'a, 'b> {
    value: Value<'a>,
    depth: u32,
    budget: &'b Budget,
}

impl<'a> Value<'a> {
    /// To be serialized as a part of something larger that shares the budget.
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
                    let held = object.value(position).ok_or_else(damaged)?;
                    map.serialize_entry(key, &child(held))?;
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
    fn an_export_ends_when_its_values_or_their_text_are_too_much() {
        let budget = Budget::default();
        assert_eq!(budget.spend::<fmt::Error>(MAX_EXPORTED_BYTES - 64), Ok(()));
        assert_eq!(budget.spend::<fmt::Error>(0), Ok(()));
        assert_eq!(budget.spend::<fmt::Error>(0), Err(fmt::Error));
        assert_eq!(Budget::default().spend::<fmt::Error>(usize::MAX), Err(fmt::Error));
    }
}
