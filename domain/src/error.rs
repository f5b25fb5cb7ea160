//! Errors of reading.

use std::fmt;

/// Error of a text that is not read as a guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the guest: {position}: {path}: {cause}")]
pub struct ReadError {
    /// The position of the element or attribute in the text.
    pub position: Position,
    /// The path of the element from the root, as in `/domain/devices/disk`, with `@name` for an attribute.
    pub path: String,
    /// The cause.
    pub cause: Cause,
}

/// A position in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Cause of a [`ReadError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The text is too long.
    #[error("the text has {bytes} bytes; at most {limit} are read")]
    TooLong {
        /// The length in bytes.
        bytes: usize,
        /// The largest length.
        limit: usize,
    },
    /// Elements are nested too deeply.
    #[error("elements are nested more than {limit} deep")]
    TooDeep {
        /// The largest depth.
        limit: usize,
    },
    /// There are too many elements and attributes.
    #[error("there are more than {limit} elements and attributes")]
    TooMany {
        /// The largest number.
        limit: usize,
    },
    /// The text is not well-formed XML.
    #[error("the text is not well-formed XML: {what}")]
    Syntax {
        /// The error.
        what: String,
    },
    /// There is a document type, whose entities could expand without bound.
    #[error("a document type is not permitted; remove it")]
    DocumentType,
    /// The root is another element.
    #[error("the root element is not <domain>")]
    Root,
    /// An element is not part of the format.
    #[error("the element is not understood; remove it, or keep unknown elements")]
    UnknownElement,
    /// An attribute is not part of the format.
    #[error("the attribute is not understood; remove it, or keep unknown elements")]
    UnknownAttribute,
    /// There is another element of the name, of which only one counts.
    #[error("there is another one; keep one of them")]
    Repeated,
    /// There is text in an element that has none.
    #[error("the element cannot contain text; remove it, or keep unknown elements")]
    UnexpectedText,
    /// An element or attribute that is required is missing.
    #[error("it is missing; add it")]
    Missing,
    /// The value is not valid.
    #[error("{found:?} is not a valid value; use {expected}")]
    Value {
        /// The value.
        found: String,
        /// The valid values.
        expected: &'static str,
    },
    /// The type of an address is not known.
    #[error("{found:?} is not a valid address type")]
    AddressType {
        /// The type.
        found: String,
    },
}

/// Error before the position is computed from the text.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) offset: u32,
    pub(crate) path: String,
    pub(crate) cause: Cause,
}

impl Fault {
    pub(crate) fn new(offset: u32, path: impl Into<String>, cause: Cause) -> Fault {
        Fault { offset, path: path.into(), cause }
    }

    /// Puts a parent in front of the path.
    pub(crate) fn below(mut self, parent: &str) -> Fault {
        self.path.insert_str(0, parent);
        self
    }

    pub(crate) fn locate(self, text: &str) -> ReadError {
        let mut end = (self.offset as usize).min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let position = Position {
            line: count(before.bytes().filter(|b| *b == b'\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
        };
        ReadError { position, path: self.path, cause: self.cause }
    }
}
