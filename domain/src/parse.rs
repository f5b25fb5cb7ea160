//! XML text to elements, within limits on length, depth and number.

use quick_xml::Reader;
use quick_xml::XmlVersion::Implicit1_0;
use quick_xml::events::{BytesStart, Event};

use crate::error::{Cause, Fault};
use crate::tree::{Attribute, Element, Node};

/// The largest text that is read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// The largest depth of elements.
pub const MAX_DEPTH: usize = 256;

/// The largest number of elements and attributes.
pub const MAX_NODES: usize = 1 << 19;

/// The largest number of attributes of an element: each is compared with those before it.
const MAX_ATTRIBUTES: usize = 256;

/// Parses a document.
pub(crate) fn parse(text: &str) -> Result<Element, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault::new(0, "/", Cause::TooLong { bytes: text.len(), limit: MAX_BYTES }));
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    let mut parser = Parser { text, open: Vec::new(), root: None, nodes: 0 };
    loop {
        let at = offset(reader.buffer_position());
        let event = reader.read_event().map_err(|error| parser.syntax(at, error.to_string()))?;
        match event {
            Event::Start(tag) => parser.start(&tag)?,
            Event::Empty(tag) => {
                parser.start(&tag)?;
                parser.end(at)?;
            }
            Event::End(_) => parser.end(at)?,
            Event::Text(part) => parser.text(&part.xml10_content(), at)?,
            Event::CData(part) => parser.text(&part, at)?,
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                let character = reference.resolve_char_ref().ok().flatten();
                match (quick_xml::escape::resolve_xml_entity(name), character) {
                    (Some(entity), _) => parser.text(entity, at)?,
                    (None, Some(character)) => {
                        parser.text(character.encode_utf8(&mut [0; 4]), at)?;
                    }
                    (None, None) => {
                        return Err(parser.syntax(at, format!("the entity &{name}; is not known")));
                    }
                }
            }
            Event::DocType(_) => return Err(Fault::new(at, parser.path(), Cause::DocumentType)),
            Event::Eof => return parser.finish(at),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    open: Vec<Element>,
    root: Option<Element>,
    nodes: usize,
}

impl Parser<'_> {
    fn path(&self) -> String {
        let mut path: String = self.open.iter().map(|e| format!("/{}", e.name)).collect();
        if path.is_empty() {
            path.push('/');
        }
        path
    }

    fn syntax(&self, at: u32, what: impl Into<String>) -> Fault {
        Fault::new(at, self.path(), Cause::Syntax { what: what.into() })
    }

    /// Returns the offset of a part of the text.
    fn offset_of(&self, part: &str) -> u32 {
        let start = part.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        if start <= self.text.len() { offset(start as u64) } else { 0 }
    }

    fn count(&mut self, at: u32) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Fault::new(at, self.path(), Cause::TooMany { limit: MAX_NODES }));
        }
        Ok(())
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), Fault> {
        let at = self.offset_of(tag);
        if self.root.is_some() {
            return Err(self.syntax(at, "there is more than one root element"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(at, self.path(), Cause::TooDeep { limit: MAX_DEPTH }));
        }
        self.count(at)?;
        let mut element = Element::new(tag.name().into_inner());
        element.offset = at;
        // Values are copied out of the text: their lengths are limited by its length.
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|error| self.syntax(at, error.to_string()))?;
            let name = attribute.key.into_inner();
            let value = attribute
                .normalized_value(Implicit1_0)
                .map_err(|error| self.syntax(at, error.to_string()))?;
            self.check_characters(&value, at)?;
            self.count(at)?;
            if element.attributes.len() >= MAX_ATTRIBUTES {
                return Err(Fault::new(at, self.path(), Cause::TooMany { limit: MAX_ATTRIBUTES }));
            }
            element.attributes.push(Attribute {
                name: name.to_owned(),
                value: value.into_owned(),
                offset: self.offset_of(name),
            });
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self, at: u32) -> Result<(), Fault> {
        let Some(mut element) = self.open.pop() else {
            return Err(self.syntax(at, "an element ends that did not start"));
        };
        element.children.retain(|node| !matches!(node, Node::Text(t) if t.trim().is_empty()));
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
        Ok(())
    }

    /// Refuses what is not a `Char` of XML 1.0: it could not be written back.
    fn check_characters(&self, text: &str, at: u32) -> Result<(), Fault> {
        let is_char = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        match text.chars().find(|c| !is_char(*c)) {
            Some(c) => {
                Err(self.syntax(at, format!("character U+{:04X} is not permitted", u32::from(c))))
            }
            None => Ok(()),
        }
    }

    fn text(&mut self, text: &str, at: u32) -> Result<(), Fault> {
        self.check_characters(text, at)?;
        let Some(element) = self.open.last_mut() else {
            if text.trim().is_empty() {
                return Ok(());
            }
            return Err(self.syntax(at, "there is text outside of the root element"));
        };
        if let Some(Node::Text(before)) = element.children.last_mut() {
            before.push_str(text);
        } else if !text.is_empty() {
            element.children.push(Node::Text(text.to_owned()));
            self.count(at)?;
        }
        Ok(())
    }

    fn finish(self, at: u32) -> Result<Element, Fault> {
        if !self.open.is_empty() {
            return Err(self.syntax(at, "the text ends within an element"));
        }
        match self.root {
            Some(root) => Ok(root),
            None => Err(Fault::new(at, "/", Cause::Syntax { what: "there is no element".into() })),
        }
    }
}

fn offset(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
