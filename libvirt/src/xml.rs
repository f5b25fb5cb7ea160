//! Reading of XML elements, within bounds on size and depth.

use std::str::FromStr;

use capscache_format::Escaped;
use memchr::memmem;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The largest document that is read: the largest known file of libvirt has 400 KB.
pub const MAX_XML_BYTES: usize = 64 << 20;

/// The largest depth of elements; libvirt's file has four levels.
const MAX_DEPTH: usize = 32;

/// An error of a text that is not a `<qemuCaps>` document.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XmlError {
    /// It is too long.
    #[error("cannot parse the document: it has more than {MAX_XML_BYTES} bytes")]
    TooLong,
    /// It is not well formed.
    #[error("cannot parse the document: not XML at byte {at}: {}", Escaped::new(what))]
    Syntax {
        /// The byte offset.
        at: u64,
        /// The error.
        what: String,
    },
    /// It has a document type, which a cache file never has: entities could expand without bound.
    #[error(
        "cannot parse the document: it has a document type at byte {at}, and a cache file of libvirt has none"
    )]
    DocumentType {
        /// The byte offset.
        at: u64,
    },
    /// The root is another element.
    #[error("cannot parse the document: the root is <{}>, not <qemuCaps>", Escaped::new(found))]
    Root {
        /// The root's name.
        found: String,
    },
    /// A part that libvirt requires is missing.
    #[error("cannot parse the document: there is no {what}")]
    Missing {
        /// The element or attribute.
        what: &'static str,
    },
    /// An element or attribute has an invalid value.
    #[error("cannot parse the document: {what} cannot be {found:?}")]
    Value {
        /// The element or attribute.
        what: &'static str,
        /// The value.
        found: String,
    },
}

/// Returns whether XML 1.0 permits a character (its production `Char`).
pub(crate) fn is_xml(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => true,
    }
}

/// A reader of elements.
pub(crate) struct XmlReader<'t> {
    reader: Reader<&'t [u8]>,
    depth: usize,
}

/// The start of an element.
pub(crate) struct Element<'t> {
    tag: BytesStart<'t>,
    /// True for an empty-element tag.
    pub(crate) is_empty: bool,
    /// The end of the tag, as a byte offset.
    at: u64,
}

impl<'t> XmlReader<'t> {
    pub(crate) fn new(text: &'t str) -> XmlReader<'t> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().enable_all_checks(true);
        XmlReader { reader, depth: 0 }
    }

    /// Reads the next element at this level; `None` at the end of the parent.
    pub(crate) fn child(&mut self) -> Result<Option<Element<'t>>, XmlError> {
        loop {
            match self.event()? {
                Event::Start(tag) => {
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return Err(self.syntax("elements are nested too deeply"));
                    }
                    let at = self.reader.buffer_position();
                    return Ok(Some(Element { tag, is_empty: false, at }));
                }
                Event::Empty(tag) => {
                    let at = self.reader.buffer_position();
                    return Ok(Some(Element { tag, is_empty: true, at }));
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(None);
                }
                Event::Eof if self.depth > 0 => return Err(self.syntax("the text ends too early")),
                Event::Eof => return Ok(None),
                Event::Text(text) if self.depth == 0 && !text.trim_ascii().is_empty() => {
                    return Err(self.syntax("text beside the root"));
                }
                Event::CData(_) | Event::GeneralRef(_) if self.depth == 0 => {
                    return Err(self.syntax("text beside the root"));
                }
                // Text between elements is ignored.
                _ => {}
            }
        }
    }

    /// Skips the rest of an element.
    pub(crate) fn skip(&mut self, element: &Element<'t>) -> Result<(), XmlError> {
        let level = self.depth;
        if !element.is_empty {
            loop {
                if self.child()?.is_none() && self.depth < level {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads the text of an element.
    pub(crate) fn text(&mut self, element: &Element<'t>) -> Result<String, XmlError> {
        let mut text = String::new();
        if element.is_empty {
            return Ok(text);
        }
        loop {
            match self.event()? {
                Event::Text(part) => text.push_str(&part.xml10_content()),
                Event::CData(part) => text.push_str(&part),
                Event::GeneralRef(reference) => {
                    let name: &str = &reference;
                    let resolved = quick_xml::escape::resolve_xml_entity(name).map(str::to_owned);
                    let character = || {
                        let character = reference.resolve_char_ref().ok().flatten();
                        Some(character.filter(|one| is_xml(*one))?.to_string())
                    };
                    let resolved = resolved.or_else(character);
                    text.push_str(&resolved.ok_or_else(|| self.syntax("an unknown entity"))?);
                }
                Event::Start(tag) => {
                    self.depth += 1;
                    self.skip(&Element {
                        tag,
                        is_empty: false,
                        at: self.reader.buffer_position(),
                    })?;
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(text);
                }
                Event::Eof => return Err(self.syntax("the text ends too early")),
                _ => {}
            }
        }
    }

    pub(crate) fn number<N: FromStr>(
        &mut self,
        element: &Element<'t>,
        what: &'static str,
    ) -> Result<N, XmlError> {
        parse_number(self.text(element)?, what)
    }

    pub(crate) fn yes_no_text(
        &mut self,
        element: &Element<'t>,
        what: &'static str,
    ) -> Result<bool, XmlError> {
        parse_yes_no(self.text(element)?, what)
    }

    fn event(&mut self) -> Result<Event<'t>, XmlError> {
        let at = self.reader.buffer_position();
        match self.reader.read_event() {
            Ok(Event::DocType(_)) => Err(XmlError::DocumentType { at }),
            Ok(event) => Ok(event),
            Err(error) => Err(self.syntax(&error.to_string())),
        }
    }

    pub(crate) fn syntax(&self, what: &str) -> XmlError {
        XmlError::Syntax { at: self.reader.buffer_position(), what: what.to_owned() }
    }
}

/// Parses a number as `strtol` does, which skips what is blank in C before it, and libvirt, which permits nothing after it.
pub(crate) fn parse_number<N: FromStr>(text: String, what: &'static str) -> Result<N, XmlError> {
    without_blanks(&text).parse().map_err(|_| XmlError::Value { what, found: text })
}

fn without_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r'])
}

fn parse_yes_no(text: String, what: &'static str) -> Result<bool, XmlError> {
    match text.as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(XmlError::Value { what, found: text }),
    }
}

impl Element<'_> {
    pub(crate) fn name(&self) -> &str {
        self.tag.name().into_inner()
    }

    /// Returns whether it begins a default namespace, which libvirt has no names for.
    pub(crate) fn has_namespace(&self) -> Result<bool, XmlError> {
        // Most tags have not even the letters.
        Ok(memmem::find(self.tag.as_bytes(), b"xmlns").is_some()
            && self.attribute("xmlns")?.is_some_and(|name| !name.is_empty()))
    }

    pub(crate) fn attribute(&self, name: &str) -> Result<Option<String>, XmlError> {
        let wrong = |what: String| XmlError::Syntax { at: self.at, what };
        let mut found = None;
        // All of them are read: a duplicate attribute is not XML.
        for attribute in self.tag.attributes() {
            let attribute = attribute.map_err(|error| wrong(error.to_string()))?;
            if attribute.key.into_inner() == name {
                let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0);
                let value = value.map_err(|error| wrong(error.to_string()))?;
                if !value.chars().all(is_xml) {
                    return Err(wrong("a reference to what is not a character of XML".to_owned()));
                }
                found = Some(value.into_owned());
            }
        }
        Ok(found)
    }

    pub(crate) fn required(&self, name: &str, what: &'static str) -> Result<String, XmlError> {
        self.attribute(name)?.ok_or(XmlError::Missing { what })
    }

    pub(crate) fn parsed<N: FromStr>(&self, name: &str, what: &'static str) -> Result<N, XmlError> {
        parse_number(self.required(name, what)?, what)
    }

    pub(crate) fn hexadecimal(&self, name: &str, what: &'static str) -> Result<u32, XmlError> {
        let text = self.required(name, what)?;
        let digits = without_blanks(&text).strip_prefix("0x");
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        number.ok_or(XmlError::Value { what, found: text })
    }

    pub(crate) fn yes_no(&self, name: &str, what: &'static str) -> Result<bool, XmlError> {
        parse_yes_no(self.required(name, what)?, what)
    }

    pub(crate) fn optional_yes_no(
        &self,
        name: &str,
        what: &'static str,
    ) -> Result<Option<bool>, XmlError> {
        self.attribute(name)?.map(|text| parse_yes_no(text, what)).transpose()
    }
}
