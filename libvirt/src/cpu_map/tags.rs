//! The tags of a file of the map.
//!
//! The files are many and plain, and read when a guest starts: a full reader of XML takes ten times as long.

use memchr::memchr;

/// A text that is not XML of the map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Malformed;

/// A start tag.
#[derive(Clone, Copy)]
pub(super) struct Tag<'t> {
    pub(super) name: &'t str,
    attributes: &'t str,
    /// True for an empty-element tag.
    is_empty: bool,
}

/// A reader of tags; text and comments between them are ignored.
pub(super) struct Tags<'t> {
    rest: &'t str,
    /// The number of elements that are open.
    depth: usize,
}

impl<'t> Tags<'t> {
    pub(super) fn new(text: &'t str) -> Tags<'t> {
        Tags { rest: text, depth: 0 }
    }

    /// Returns the next start tag at this level; `None` at the end of the parent.
    pub(super) fn child(&mut self) -> Result<Option<Tag<'t>>, Malformed> {
        loop {
            let Some((_, rest)) = split_at(self.rest, b'<') else {
                self.rest = "";
                return if self.depth == 0 { Ok(None) } else { Err(Malformed) };
            };
            let past = |end: &str| Ok(rest.split_once(end).ok_or(Malformed)?.1);
            match rest.as_bytes().first() {
                Some(b'?') => self.rest = past("?>")?,
                Some(b'!') if rest.starts_with("!--") => self.rest = past("-->")?,
                Some(b'/') => {
                    (_, self.rest) = split_at(rest, b'>').ok_or(Malformed)?;
                    self.depth = self.depth.checked_sub(1).ok_or(Malformed)?;
                    return Ok(None);
                }
                Some(b'!') | None => return Err(Malformed),
                Some(_) => return self.start(rest).map(Some),
            }
        }
    }

    fn start(&mut self, rest: &'t str) -> Result<Tag<'t>, Malformed> {
        let (tag, rest) = split_at(rest, b'>').ok_or(Malformed)?;
        self.rest = rest;
        let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        self.depth += usize::from(!is_empty);
        let end = tag.bytes().position(|byte| byte.is_ascii_whitespace()).unwrap_or(tag.len());
        let (name, attributes) = tag.split_at(end);
        Ok(Tag { name, attributes, is_empty })
    }

    /// Returns the next child of an element; `None` after the last one.
    pub(super) fn child_of(&mut self, parent: &Tag<'_>) -> Result<Option<Tag<'t>>, Malformed> {
        if parent.is_empty { Ok(None) } else { self.child() }
    }

    /// Skips the rest of an element.
    pub(super) fn skip(&mut self, element: &Tag<'_>) -> Result<(), Malformed> {
        let level = self.depth;
        while !element.is_empty && self.depth >= level {
            self.child()?;
        }
        Ok(())
    }
}

impl<'t> Tag<'t> {
    /// Calls `read` with the name and the value of each attribute.
    pub(super) fn read(
        &self,
        mut read: impl FnMut(&'t str, &'t str) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut rest = self.attributes.trim_ascii();
        while !rest.is_empty() {
            let (name, after) = split_at(rest, b'=').ok_or(Malformed)?;
            let after = after.trim_ascii_start();
            let quote = after.bytes().next().filter(|quote| matches!(quote, b'\'' | b'"'));
            let quote = quote.ok_or(Malformed)?;
            let (_, after) = split_at(after, quote).ok_or(Malformed)?;
            let (value, after) = split_at(after, quote).ok_or(Malformed)?;
            if value.bytes().any(|byte| byte == b'&') {
                return Err(Malformed);
            }
            read(name.trim_ascii_end(), value)?;
            rest = after.trim_ascii_start();
        }
        Ok(())
    }

    /// Returns the value of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Result<Option<&'t str>, Malformed> {
        let mut found = None;
        self.read(|own, value| {
            if own == name {
                found = Some(value);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns the value of an attribute that is always there.
    pub(super) fn required(&self, name: &str) -> Result<&'t str, Malformed> {
        self.attribute(name)?.ok_or(Malformed)
    }

    /// Returns true if the value of an attribute is a word.
    pub(super) fn is(&self, name: &str, word: &str) -> Result<bool, Malformed> {
        Ok(self.attribute(name)? == Some(word))
    }
}

/// Splits a short text at a byte of ASCII.
fn split_at(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Returns a number, in decimal or hexadecimal digits.
pub(super) fn number(text: &str) -> Result<u32, Malformed> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| Malformed)
}
