//! The encoding of typed evidence: a sequence of fields without padding, integers little-endian.
//!
//! Text and bytes are a `u32` length and the bytes; a list is a `u32` count and its elements; an optional
//! field is one byte, 0 or 1, and the field if that is 1. `docs/format.md`, section "Inputs (INPT)".

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A value that is encoded as fields.
pub(crate) trait Field: Sized {
    /// Appends the fields of the value.
    fn write(&self, to: &mut Vec<u8>);

    /// Reads the value and advances `from` past it; `None` for bytes that do not encode one.
    fn read(from: &mut &[u8]) -> Option<Self>;
}

/// Encodes one value.
pub(crate) fn encode(value: &impl Field) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.write(&mut bytes);
    bytes
}

/// Decodes one value that takes up all of `bytes`.
pub(crate) fn decode<T: Field>(mut bytes: &[u8]) -> Option<T> {
    let value = T::read(&mut bytes)?;
    bytes.is_empty().then_some(value)
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

fn write_count(count: usize, to: &mut Vec<u8>) {
    // A longer field does not decode; paths and lists of one input stay far below 4 GiB.
    u32::try_from(count).unwrap_or(u32::MAX).write(to);
}

fn read_count(from: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::read(from)?).ok()
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            fn write(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }

            fn read(from: &mut &[u8]) -> Option<$integer> {
                let bytes = take(from, size_of::<$integer>())?;
                Some(<$integer>::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}

integers!(u8, u32, u64, i64);

impl Field for bool {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }

    fn read(from: &mut &[u8]) -> Option<bool> {
        match u8::read(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Field for OsString {
    fn write(&self, to: &mut Vec<u8>) {
        write_count(self.len(), to);
        to.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut &[u8]) -> Option<OsString> {
        let length = read_count(from)?;
        Some(OsStr::from_bytes(take(from, length)?).to_owned())
    }
}

impl Field for PathBuf {
    fn write(&self, to: &mut Vec<u8>) {
        Path::new(self).as_os_str().to_owned().write(to);
    }

    fn read(from: &mut &[u8]) -> Option<PathBuf> {
        OsString::read(from).map(PathBuf::from)
    }
}

impl Field for String {
    fn write(&self, to: &mut Vec<u8>) {
        OsString::from(self).write(to);
    }

    fn read(from: &mut &[u8]) -> Option<String> {
        String::from_utf8(OsString::read(from)?.into_vec()).ok()
    }
}

impl Field for [u8; 32] {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn read(from: &mut &[u8]) -> Option<[u8; 32]> {
        take(from, 32)?.try_into().ok()
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self, to: &mut Vec<u8>) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Option<T>> {
        if bool::read(from)? { T::read(from).map(Some) } else { Some(None) }
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn write(&self, to: &mut Vec<u8>) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut &[u8]) -> Option<(A, B)> {
        Some((A::read(from)?, B::read(from)?))
    }
}

impl<T: Field> Field for Vec<T> {
    fn write(&self, to: &mut Vec<u8>) {
        write_count(self.len(), to);
        self.iter().for_each(|element| element.write(to));
    }

    fn read(from: &mut &[u8]) -> Option<Vec<T>> {
        let count = read_count(from)?;
        // An element takes a byte at least: a count beyond that reserves no memory.
        let mut elements = Vec::with_capacity(count.min(from.len()).min(1024));
        for _ in 0..count {
            elements.push(T::read(from)?);
        }
        Some(elements)
    }
}

/// Implements [`Field`] for a struct: its fields in the order of their names here.
macro_rules! fields {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl crate::fields::Field for $type {
            fn write(&self, to: &mut Vec<u8>) {
                $(self.$field.write(to);)*
            }

            fn read(from: &mut &[u8]) -> Option<$type> {
                $(let $field = crate::fields::Field::read(from)?;)*
                Some($type { $($field),* })
            }
        }
    };
}

pub(crate) use fields;

#[cfg(test)]
mod tests {
    use super::*;

    type Everything = (Vec<(OsString, bool)>, (Option<i64>, (String, Option<[u8; 32]>)));

    fn everything() -> Everything {
        let text = OsString::from_vec(b"a\n\xff".to_vec());
        (vec![(text, true), (OsString::new(), false)], (Some(-7), ("b".to_owned(), None)))
    }

    #[test]
    fn a_value_decodes_as_it_was_encoded() {
        assert_eq!(decode::<Everything>(&encode(&everything())), Some(everything()));
    }

    #[test]
    fn bytes_that_are_cut_or_followed_by_others_do_not_decode() {
        let bytes = encode(&everything());
        for length in 0..bytes.len() {
            assert_eq!(decode::<Everything>(&bytes[..length]), None, "{length}");
        }
        assert_eq!(decode::<Everything>(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn a_count_beyond_the_bytes_reserves_no_memory_and_does_not_decode() {
        assert_eq!(decode::<Vec<u8>>(&[0xff, 0xff, 0xff, 0xff, 1]), None);
        assert_eq!(decode::<bool>(&[2]), None);
        assert_eq!(decode::<String>(&[1, 0, 0, 0, 0xff]), None);
    }
}
