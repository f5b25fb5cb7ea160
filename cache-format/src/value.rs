//! JSON values, read in place.
//!
//! The bytes are not trusted: every access is bounds-checked, a value that points outside the pool
//! reads as *absent*, and the contents of a container lie before it in the pool, so that no byte
//! pattern makes a walk loop.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::fmt;

use crate::layout::{Tag, Word, index};
use crate::store::{Store, search};

/// One JSON value of an entry, read in place.
///
/// Cheap to copy. Getters return `None` for a value of another type.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    pub(crate) store: Store<'a>,
    pub(crate) word: Word,
}

impl<'a> Value<'a> {
    pub(crate) fn new(store: Store<'a>, word: u32) -> Value<'a> {
        Value { store, word: Word(word) }
    }

    /// Reads a value in a container at `at`; a container in it must lie before that container.
    fn child(store: Store<'a>, word: u32, at: u32) -> Option<Value<'a>> {
        let word = Word(word);
        match word.tag()? {
            Tag::Array | Tag::List | Tag::Object | Tag::Packed if word.payload() >= at => None,
            _ => Some(Value { store, word }),
        }
    }

    /// Returns true for JSON's `null`, which replaces an answer that QEMU refused.
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
            Tag::Signed => self.bits().map(|bits| i64::from_ne_bytes(bits.to_ne_bytes())),
            _ => self.as_u64().and_then(|value| i64::try_from(value).ok()),
        }
    }

    /// The value of a number that is not an integer.
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

    /// Returns true for the string `text`, in a time that does not depend on the string in the file.
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

    /// The value under `key`; `None` if this is not an object or does not have the key.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.as_object()?.get(key)
    }

    /// The string with this number in the value's file.
    pub(crate) fn text_of(self, number: u32) -> Option<&'a str> {
        self.store.string(number)
    }

    /// The number of a string; equal strings of one file have equal numbers.
    pub(crate) fn string_number(self) -> Option<u32> {
        (self.word.tag()? == Tag::String).then_some(self.word.payload())
    }

    /// The position of a container; equal containers of one file have equal positions.
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
    pub(crate) count: u32,
    key: Option<u32>,
}

impl<'a> Array<'a> {
    /// The number of elements.
    pub fn len(self) -> usize {
        index(self.count)
    }

    /// Returns true if there are no elements.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The elements, in QEMU's order.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        (0..self.count).filter_map(move |position| self.at(position))
    }

    /// The first element whose string under `key` is `name`.
    ///
    /// Takes O(log n) comparisons if `key` is the one by which QMP names the elements.
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

    /// The same as [`Array::find`], by the number of the name in the file.
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

    /// Returns true if the sorted order, if there is one, has every element once, by name and, for
    /// equal names, by position.
    pub(crate) fn is_sorted(self) -> bool {
        let Some(key) = self.key else { return true };
        let ranked =
            |rank| self.ranked(key, rank, &mut Place::default()).map(|(at, _, name)| (name, at));
        let ranked = (0..self.count).map(ranked);
        // Strictly increasing: no position occurs twice, so none is missing.
        ranked.clone().all(|ranked| ranked.is_some()) && ranked.is_sorted_by(|a, b| a < b)
    }

    /// The number of `key`, if there is a sorted order by it.
    pub(crate) fn sorted_by(self, key: &str) -> Option<u32> {
        self.key.filter(|&number| self.store.string_bytes(number) == Some(key.as_bytes()))
    }

    /// The element at a rank of the sorted order: position, value, and the number of its name.
    fn ranked(self, key: u32, rank: u32, place: &mut Place) -> Option<(u32, Value<'a>, u32)> {
        let order = self.values.checked_add(self.count)?.checked_add(rank / 2)?;
        let pair = self.store.word(order)?;
        let position = if rank % 2 == 0 { pair & 0xFFFF } else { pair >> 16 };
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
        let word = self.store.word(self.values.checked_add(position)?)?;
        Value::child(self.store, word, self.at)
    }
}

/// The position of a key in the shape that was read last. Neighbouring elements mostly share a shape,
/// in which the key is searched once.
#[derive(Default)]
struct Place(Option<(u32, u32)>);

/// The keys and values of a JSON object, in QEMU's order.
#[derive(Clone, Copy)]
pub struct Object<'a> {
    store: Store<'a>,
    at: u32,
    shape: u32,
    pub(crate) count: u32,
    values: u32,
    codes: Option<u32>,
}

impl<'a> Object<'a> {
    /// The number of keys.
    pub fn len(self) -> usize {
        index(self.count)
    }

    /// Returns true if there are no keys.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The value under `key`, in O(log n) comparisons.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.value(self.store.position(self.shape, key)?)
    }

    /// The value at a place; `position` finds the place in a shape that differs from the one before.
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

    /// The numbers of the keys and the values, in QEMU's order, up to the first damaged one.
    pub(crate) fn numbered(self) -> impl Iterator<Item = (u32, Value<'a>)> {
        (0..self.count)
            .map_while(move |position| Some((self.key_number(position)?, self.value(position)?)))
    }

    /// Returns true if the sorted order of the keys has every key once.
    pub(crate) fn is_sorted(self) -> bool {
        let order = self.shape.saturating_add(1).saturating_add(self.count);
        let key = |rank: u32| self.key_number(self.store.word(order.checked_add(rank)?)?);
        let keys = (0..self.count).map(key);
        keys.clone().all(|key| key.is_some()) && keys.is_sorted_by(|a, b| a < b)
    }

    pub(crate) fn key(self, position: u32) -> Option<&'a str> {
        self.store.string(self.key_number(position)?)
    }

    fn key_number(self, position: u32) -> Option<u32> {
        if position >= self.count {
            return None;
        }
        self.store.word(self.shape.checked_add(1)?.checked_add(position)?)
    }

    pub(crate) fn value(self, position: u32) -> Option<Value<'a>> {
        if position >= self.count {
            return None;
        }
        let slot = match self.codes {
            None => position,
            Some(codes) => {
                let four = self.store.word(codes.checked_add(position / 4)?)?.to_le_bytes();
                let code = u32::from(*four.get(index(position % 4))?);
                // The palette begins with its count, which bounds it.
                if code >= self.store.word(self.values)? {
                    return None;
                }
                code.checked_add(1)?
            }
        };
        let word = self.store.word(self.values.checked_add(slot)?)?;
        Value::child(self.store, word, self.at)
    }
}
