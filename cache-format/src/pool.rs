//! Values in memory while an entry is built: equal values are stored once.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::ModelError;
use crate::interner::Interner;
use crate::layout::{MAX_DEPTH, Tag, Word, index};

/// The largest number of distinct values in a pool. A full profile of QEMU 11.1 has about 60,000; the
/// limit keeps an emulator that sends garbage from filling the prober's memory.
pub const MAX_DISTINCT: usize = 200_000;

/// A value in a [`Pool`]; valid in the pool that returned it only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub(crate) Word);

impl Handle {
    /// JSON's `null`.
    pub const NULL: Handle = Handle(Word::NULL);
    /// JSON's `true` or `false`.
    pub fn bool(value: bool) -> Handle {
        Handle(Word::bool(value))
    }
}

/// The value of a [`Handle`]; containers return the handles of their elements.
#[derive(Clone, Debug)]
pub enum Node<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Signed(i64),
    /// Any other number.
    Double(f64),
    /// A string.
    String(&'a str),
    /// An array, in QEMU's order.
    Array(&'a [Handle]),
    /// An object: `keys[i]` has `values[i]`, in QEMU's order.
    Object(Keys<'a>, &'a [Handle]),
}

/// The keys of an object, in QEMU's order.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    pool: &'a Pool,
    strings: &'a [u32],
}

impl<'a> Keys<'a> {
    pub(crate) fn numbers(self) -> &'a [u32] {
        self.strings
    }

    /// The keys, in QEMU's order.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.strings.iter().map(move |&number| self.pool.string_at(number))
    }
}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Interned JSON values: strings, arrays, sets of keys and objects, each distinct one stored once.
///
/// Order of arrays and of object keys is kept; numbers are kept up to `u64`, down to `i64`, and
/// otherwise to the last bit of an `f64`.
#[derive(Debug, Default)]
pub struct Pool {
    /// UTF-8.
    strings: Interner<u8>,
    numbers: Interner<u64>,
    arrays: Interner<Handle>,
    /// The keys of objects, as numbers of strings.
    shapes: Interner<u32>,
    /// The number of the shape, followed by the values.
    objects: Interner<Handle>,
    /// The depth of each array and object: 1 if it holds no other.
    array_depths: Vec<u32>,
    object_depths: Vec<u32>,
}

impl Pool {
    /// Interns one JSON value from any self-describing deserializer.
    ///
    /// # Errors
    /// Those of the deserializer; [`ModelError::TooManyValues`] is reported as its custom error.
    pub fn intern<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<Handle, D::Error> {
        ValueSeed(self).deserialize(from)
    }

    /// Interns a string.
    ///
    /// # Errors
    /// [`ModelError::TooManyValues`].
    pub fn string(&mut self, text: &str) -> Result<Handle, ModelError> {
        self.string_number(text).and_then(Self::string_handle)
    }

    pub(crate) fn string_handle(number: u32) -> Result<Handle, ModelError> {
        word(Tag::String, number)
    }

    /// Interns an array of values of this pool.
    ///
    /// # Errors
    /// [`ModelError::TooManyValues`], [`ModelError::TooDeep`].
    pub fn array(&mut self, values: Vec<Handle>) -> Result<Handle, ModelError> {
        let depth = self.depth_over(&values)?;
        let (number, is_new) = self.arrays.insert(&values);
        if is_new {
            self.array_depths.push(depth);
        }
        word(Tag::Array, bounded(number)?)
    }

    /// Interns an object; of two values under one key the last one counts, in place of the first.
    ///
    /// # Errors
    /// [`ModelError::TooManyValues`], [`ModelError::TooDeep`].
    pub fn object<'k>(
        &mut self,
        entries: impl IntoIterator<Item = (&'k str, Handle)>,
    ) -> Result<Handle, ModelError> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            keys.push(self.string_number(key)?);
            values.push(value);
        }
        self.intern_object(keys, values)
    }

    /// The value of a handle of this pool.
    pub fn node(&self, handle: Handle) -> Node<'_> {
        let Handle(word) = handle;
        let number = word.payload();
        match word.tag() {
            Some(Tag::False) => Node::Bool(false),
            Some(Tag::True) => Node::Bool(true),
            Some(Tag::Small) => Node::Unsigned(u64::from(number)),
            Some(Tag::String) => Node::String(self.string_at(number)),
            Some(Tag::Unsigned) => Node::Unsigned(self.number_at(number)),
            Some(Tag::Signed) => {
                Node::Signed(i64::from_ne_bytes(self.number_at(number).to_ne_bytes()))
            }
            Some(Tag::Double) => Node::Double(f64::from_bits(self.number_at(number))),
            Some(Tag::Array) => Node::Array(self.arrays.get(index(number))),
            Some(Tag::Object) => match self.objects.get(index(number)).split_first() {
                Some((shape, values)) => {
                    let strings = self.shapes.get(index(shape.0.payload()));
                    Node::Object(Keys { pool: self, strings }, values)
                }
                None => Node::Null,
            },
            Some(Tag::Null | Tag::List | Tag::Packed) | None => Node::Null,
        }
    }

    /// The elements of an array; empty for another value.
    pub fn elements(&self, handle: Handle) -> &[Handle] {
        match self.node(handle) {
            Node::Array(values) => values,
            _ => &[],
        }
    }

    /// The value that an object has under `key`.
    pub fn get(&self, handle: Handle, key: &str) -> Option<Handle> {
        match self.node(handle) {
            Node::Object(keys, values) => {
                let mut numbers = keys.numbers().iter();
                let position =
                    numbers.position(|&number| self.string_bytes(number) == key.as_bytes())?;
                values.get(position).copied()
            }
            _ => None,
        }
    }

    /// The string that an object has under `key`.
    pub fn get_str(&self, handle: Handle, key: &str) -> Option<&str> {
        match self.node(self.get(handle, key)?) {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// Copies a value of another pool; `copied` maps the handles that were copied before.
    pub(crate) fn copy_from(
        &mut self,
        other: &Pool,
        handle: Handle,
        copied: &mut foldhash::HashMap<Handle, Handle>,
    ) -> Result<Handle, ModelError> {
        if let Some(copy) = copied.get(&handle) {
            return Ok(*copy);
        }
        let copy = match other.node(handle) {
            Node::Null => Handle::NULL,
            Node::Bool(value) => Handle::bool(value),
            Node::Unsigned(value) => self.unsigned(value)?,
            Node::Signed(value) => self.signed(value)?,
            Node::Double(value) => self.double(value)?,
            Node::String(text) => self.string(text)?,
            Node::Array(values) => {
                let mut copies = Vec::with_capacity(values.len());
                for value in values {
                    copies.push(self.copy_from(other, *value, copied)?);
                }
                self.array(copies)?
            }
            Node::Object(keys, values) => {
                let mut copies = Vec::with_capacity(values.len());
                for value in values {
                    copies.push(self.copy_from(other, *value, copied)?);
                }
                self.object(keys.iter().zip(copies))?
            }
        };
        copied.insert(handle, copy);
        Ok(copy)
    }

    pub(crate) fn string_at(&self, number: u32) -> &str {
        // Only whole strings are interned.
        std::str::from_utf8(self.string_bytes(number)).unwrap_or("")
    }

    /// The bytes of a string, which sort as the string does and need no UTF-8 check.
    pub(crate) fn string_bytes(&self, number: u32) -> &[u8] {
        self.strings.get(index(number))
    }

    pub(crate) fn string_count(&self) -> usize {
        self.strings.len()
    }

    pub(crate) fn number_at(&self, number: u32) -> u64 {
        self.numbers.get(index(number)).first().copied().unwrap_or(0)
    }

    /// Interns an integer from 0 to `u64::MAX`.
    pub(crate) fn unsigned(&mut self, value: u64) -> Result<Handle, ModelError> {
        match u32::try_from(value).ok().and_then(|small| Word::new(Tag::Small, small)) {
            Some(small) => Ok(Handle(small)),
            None => self.number(Tag::Unsigned, value),
        }
    }

    /// Interns an integer that may be negative.
    pub(crate) fn signed(&mut self, value: i64) -> Result<Handle, ModelError> {
        match u64::try_from(value) {
            Ok(value) => self.unsigned(value),
            Err(_) => self.number(Tag::Signed, u64::from_ne_bytes(value.to_ne_bytes())),
        }
    }

    /// Interns a number that is not an integer.
    pub(crate) fn double(&mut self, value: f64) -> Result<Handle, ModelError> {
        self.number(Tag::Double, value.to_bits())
    }

    fn number(&mut self, tag: Tag, bits: u64) -> Result<Handle, ModelError> {
        let (number, _) = self.numbers.insert(&[bits]);
        word(tag, bounded(number)?)
    }

    /// Returns the depth of a container of these values.
    fn depth_over(&self, values: &[Handle]) -> Result<u32, ModelError> {
        let depth = |value: &Handle| {
            let number = index(value.0.payload());
            match value.0.tag() {
                Some(Tag::Array) => self.array_depths.get(number).copied(),
                Some(Tag::Object) => self.object_depths.get(number).copied(),
                _ => None,
            }
        };
        match values.iter().filter_map(depth).max().unwrap_or(0) {
            MAX_DEPTH.. => Err(ModelError::TooDeep { limit: MAX_DEPTH }),
            deepest => Ok(deepest + 1),
        }
    }

    pub(crate) fn string_number(&mut self, text: &str) -> Result<u32, ModelError> {
        bounded(self.strings.insert(text.as_bytes()).0)
    }

    /// The same as [`Pool::object`], by the numbers of the keys.
    pub(crate) fn intern_object(
        &mut self,
        mut keys: Vec<u32>,
        mut values: Vec<Handle>,
    ) -> Result<Handle, ModelError> {
        let shape = match self.shapes.find(&keys) {
            Some(number) => bounded(number)?,
            None => {
                (keys, values) = keep_last(keys, values);
                bounded(self.shapes.insert(&keys).0)?
            }
        };
        let depth = self.depth_over(&values)?;
        values.insert(0, Handle(Word(shape)));
        let (number, is_new) = self.objects.insert(&values);
        if is_new {
            self.object_depths.push(depth);
        }
        word(Tag::Object, bounded(number)?)
    }
}

/// Removes duplicate keys: the last value replaces the first, in its place.
fn keep_last(keys: Vec<u32>, values: Vec<Handle>) -> (Vec<u32>, Vec<Handle>) {
    let merged: indexmap::IndexMap<u32, Handle> = keys.into_iter().zip(values).collect();
    merged.into_iter().unzip()
}

fn bounded(number: usize) -> Result<u32, ModelError> {
    match u32::try_from(number) {
        Ok(number) if index(number) < MAX_DISTINCT => Ok(number),
        _ => Err(ModelError::TooManyValues { limit: MAX_DISTINCT }),
    }
}

fn word(tag: Tag, number: u32) -> Result<Handle, ModelError> {
    Word::new(tag, number).map(Handle).ok_or(ModelError::TooManyValues { limit: MAX_DISTINCT })
}

struct ValueSeed<'p>(&'p mut Pool);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Handle;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Handle, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Handle;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Handle, E> {
        Ok(Handle::NULL)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Handle, E> {
        Ok(Handle::bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Handle, E> {
        self.0.unsigned(value).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Handle, E> {
        self.0.signed(value).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Handle, E> {
        self.0.double(value).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Handle, E> {
        self.0.string(value).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Handle, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element_seed(ValueSeed(self.0))? {
            values.push(value);
        }
        self.0.array(values).map_err(de::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Handle, A::Error> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        while let Some(Key(key)) = entries.next_key_seed(KeySeed(self.0))? {
            keys.push(key);
            values.push(entries.next_value_seed(ValueSeed(self.0))?);
        }
        self.0.intern_object(keys, values).map_err(de::Error::custom)
    }
}

/// The number of an interned key.
struct Key(u32);

/// Interns a key without an intermediate `String`.
struct KeySeed<'p>(&'p mut Pool);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Key, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Key, E> {
        self.0.string_number(key).map(Key).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intern(pool: &mut Pool, json: &str) -> Handle {
        pool.intern(&mut serde_json::Deserializer::from_str(json)).expect("valid JSON")
    }

    #[test]
    fn equal_values_get_equal_handles() {
        let mut pool = Pool::default();
        let a = intern(&mut pool, r#"[{"name":"pc","max":1},{"name":"pc","max":1}]"#);
        let elements = pool.elements(a).to_vec();
        assert_eq!(elements[0], elements[1]);
        let b = intern(&mut pool, r#"{"name":"pc","max":1}"#);
        assert_eq!(elements[0], b);
        let other_order = intern(&mut pool, r#"{"max":1,"name":"pc"}"#);
        assert_ne!(b, other_order);
    }

    #[test]
    fn of_two_values_under_one_key_the_later_one_counts() {
        let mut pool = Pool::default();
        let object = intern(&mut pool, r#"{"a":1,"b":2,"a":3}"#);
        let Node::Object(keys, values) = pool.node(object) else { panic!("an object") };
        assert_eq!(keys.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(values.len(), 2);
        assert!(matches!(pool.node(values[0]), Node::Unsigned(3)));
    }

    #[test]
    #[cfg_attr(miri, ignore = "half a million values take Miri an hour")]
    fn more_distinct_values_than_the_bound_are_an_error() {
        let mut pool = Pool::default();
        let json: String = format!(
            "[{}]",
            (0..=MAX_DISTINCT).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",")
        );
        let error = pool.intern(&mut serde_json::Deserializer::from_str(&json)).unwrap_err();
        assert!(error.to_string().contains("200000"), "{error}");
    }
}
