//! Reading of elements with a record of what was read: an element or attribute that nothing has read is refused, so
//! that no part of a guest is ignored.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Display;

use capscache_domain::{Attribute, Element, Guest, Node};

use crate::error::{Error, Place};
use crate::secret::SecretError;

/// The elements of a guest, and which of them were read.
pub(crate) struct Reader<'a> {
    root: &'a Element,
    guest: &'a Guest,
    /// The offsets of elements and attributes, which are different for each of them.
    read: RefCell<HashSet<u32>>,
    /// The offsets of elements whose text was read.
    texts: RefCell<HashSet<u32>>,
    /// The offsets of elements of which no part matters.
    ignored: RefCell<HashSet<u32>>,
}

/// An element, reading of which is recorded.
///
/// A place is `@attribute`, `child@attribute`, `child/grandchild@attribute`, or `child` for the text of a child; of
/// several children of a name the first counts, and others stay unread.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    element: &'a Element,
    reader: &'a Reader<'a>,
}

impl<'a> Reader<'a> {
    /// Starts reading a tree of a guest, which has the numbers of its lines.
    pub(crate) fn new(root: &'a Element, guest: &'a Guest) -> Reader<'a> {
        let (read, texts, ignored) = Default::default();
        Reader { root, guest, read, texts, ignored }
    }

    /// The root element.
    pub(crate) fn root(&'a self) -> View<'a> {
        self.view(self.root)
    }

    fn view(&'a self, element: &'a Element) -> View<'a> {
        self.read.borrow_mut().insert(element.offset);
        View { element, reader: self }
    }

    /// Returns an error about the first part that was not read.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_element(self.root)
    }

    fn check_element(&self, element: &Element) -> Result<(), Error> {
        // What was not in the text was added.
        let is =
            |set: &RefCell<HashSet<u32>>, offset| offset == 0 || set.borrow().contains(&offset);
        let unread = |attribute: &str, offset| {
            let place = self.place(element, attribute, offset);
            Err(Error::Unsupported {
                place,
                what: "it is not supported here; remove it".to_owned(),
            })
        };
        if element.offset != 0 && self.ignored.borrow().contains(&element.offset) {
            return Ok(());
        }
        if !is(&self.read, element.offset) {
            return unread("", element.offset);
        }
        for attribute in &element.attributes {
            let is_namespace = attribute.name.starts_with("xmlns");
            if !is_namespace && !is(&self.read, attribute.offset) {
                return unread(&attribute.name, attribute.offset);
            }
        }
        for node in &element.children {
            match node {
                Node::Element(child) => self.check_element(child)?,
                Node::Text(_) if is(&self.texts, element.offset) => {}
                Node::Text(_) => return unread("", element.offset),
            }
        }
        Ok(())
    }

    fn place(&self, element: &Element, attribute: &str, offset: u32) -> Place {
        let mut path = format!("/{}", self.root.name);
        find(self.root, element, &mut path);
        if !attribute.is_empty() {
            path.push('@');
            path.push_str(attribute);
        }
        Place { path, line: self.guest.line(offset) }
    }
}

/// Appends the path from an element to one below it; returns false, and appends nothing, if it is not there.
fn find(from: &Element, to: &Element, path: &mut String) -> bool {
    if std::ptr::eq(from, to) {
        return true;
    }
    for child in from.elements() {
        let before = path.len();
        let same = || from.elements().filter(|other| other.name == child.name);
        let position = same().take_while(|other| !std::ptr::eq(*other, child)).count();
        path.push('/');
        path.push_str(&child.name);
        if same().nth(1).is_some() {
            path.push_str(&format!("[{}]", position + 1));
        }
        if find(child, to, path) {
            return true;
        }
        path.truncate(before);
    }
    false
}

/// An enum of libvirt's words.
pub(crate) trait Word: Sized {
    /// Returns the value of a word.
    fn parse(word: &str) -> Option<Self>;
    /// All words.
    fn words() -> &'static [&'static str];
}

macro_rules! word {
    ($($name:ident)+) => {$(
        impl Word for capscache_domain::$name {
            fn parse(word: &str) -> Option<Self> {
                Self::from_word(word)
            }
            fn words() -> &'static [&'static str] {
                Self::WORDS
            }
        }
    )+};
}

word! {
    AudioType ChannelType ConsoleType ControllerModel ControllerType DiskBus DiskDevice DiskModel DomainType
    FilesystemDriver FilesystemType GraphicsType HostdevMode HostdevModel HostdevProtocol HostdevType InputBus InputType
    InterfaceType IommuModel MemballoonModel MemoryModel PanicModel SerialType ShmemModel SmartcardMode SoundModel
    TpmModel VideoModel VirtioModel WatchdogModel
}

impl<'a> View<'a> {
    /// The name of the element.
    pub(crate) fn name(self) -> &'a str {
        &self.element.name
    }

    /// Records that the element was read.
    pub(crate) fn read(self) -> View<'a> {
        self.reader.view(self.element)
    }

    /// Returns the first child of a name.
    pub(crate) fn child(self, name: &str) -> Option<View<'a>> {
        self.element.child(name).map(|child| self.reader.view(child))
    }

    /// Returns all children of a name.
    pub(crate) fn children(self, name: &'a str) -> impl Iterator<Item = View<'a>> + 'a {
        self.elements()
            .filter(move |child| child.element.name == name)
            .map(|child| self.reader.view(child.element))
    }

    /// Returns the children of a name that have a value of an attribute, which is read too.
    pub(crate) fn children_with(
        self,
        name: &'a str,
        attribute: &'a str,
        value: &'a str,
    ) -> impl Iterator<Item = View<'a>> + 'a {
        self.elements()
            .filter(move |child| {
                child.name() == name && child.element.attribute(attribute) == Some(value)
            })
            .inspect(move |child| {
                child.read().text(&format!("@{attribute}"));
            })
    }

    /// Returns all children, without recording that they are read.
    pub(crate) fn elements(self) -> impl Iterator<Item = View<'a>> + 'a {
        self.element.elements().map(move |element| View { element, reader: self.reader })
    }

    /// Returns the child at the end of a path; the element itself for an empty one.
    fn descend(self, path: &str) -> Option<View<'a>> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(self, View::child)
    }

    /// Returns whether there is an element at a path, and records that it was read.
    pub(crate) fn has(self, path: &str) -> bool {
        self.descend(path).is_some()
    }

    /// Returns the text at a place.
    pub(crate) fn text(self, place: &str) -> Option<&'a str> {
        let (path, attribute) =
            place.split_once('@').map_or((place, None), |(path, a)| (path, Some(a)));
        let view = self.descend(path)?;
        match attribute {
            Some(name) => {
                let attribute = view.element.attributes.iter().find(|a| a.name == name)?;
                self.reader.read.borrow_mut().insert(attribute.offset);
                Some(&attribute.value)
            }
            None => {
                self.reader.texts.borrow_mut().insert(view.element.offset);
                Some(view.element.text())
            }
        }
    }

    /// Returns the value of an attribute, without recording that it was read.
    pub(crate) fn peek(self, place: &str) -> Option<&'a str> {
        let (path, name) = place.split_once('@').unwrap_or((place, ""));
        let mut names = path.split('/').filter(|name| !name.is_empty());
        names.try_fold(self.element, |element, name| element.child(name))?.attribute(name)
    }

    /// Returns whether an attribute was added to an element of the text, here or by what completed the guest.
    pub(crate) fn is_added(self, attribute: &str) -> bool {
        let added = |a: &&Attribute| a.name == attribute && a.offset == 0;
        self.element.offset != 0 && self.element.attributes.iter().any(|a| added(&a))
    }

    /// Returns the text of an element with the white space around it.
    pub(crate) fn raw(self, path: &str) -> Option<String> {
        let view = self.descend(path)?;
        view.text("");
        let text = |node: &'a Node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        };
        Some(view.element.children.iter().filter_map(text).collect())
    }

    /// Returns the text at a place that must be there.
    pub(crate) fn require(self, place: &str) -> Result<&'a str, Error> {
        self.text(place).ok_or_else(|| self.invalid("", format!("{place} is missing; add it")))
    }

    /// Returns the decimal number at a place.
    pub(crate) fn number<N: TryFrom<u64>>(self, place: &str) -> Result<Option<N>, Error> {
        self.parse(place, |digits| digits.parse().ok())
    }

    /// Returns the number at a place: decimal, hexadecimal with `0x`, or octal with `0`.
    pub(crate) fn any_number<N: TryFrom<u64>>(self, place: &str) -> Result<Option<N>, Error> {
        self.parse(place, |digits| {
            let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
            let radix = |digits: &str, radix| {
                // A sign is not valid between the prefix and the digits.
                let is_plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
                u64::from_str_radix(digits, radix).ok().filter(|_| is_plain)
            };
            match (hexadecimal, digits.strip_prefix('0')) {
                (Some(digits), _) => radix(digits, 16),
                (None, Some(digits)) if !digits.is_empty() => radix(digits, 8),
                _ => digits.parse().ok(),
            }
        })
    }

    fn parse<N: TryFrom<u64>>(
        self,
        place: &str,
        parse: impl Fn(&str) -> Option<u64>,
    ) -> Result<Option<N>, Error> {
        let Some(digits) = self.digits(place) else { return Ok(None) };
        let number = parse(digits).and_then(|number| N::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(place, digits, "a number"))
    }

    /// Returns the text of a number at a place; white space is not valid after it.
    fn digits(self, place: &str) -> Option<&'a str> {
        let text = self.text(place)?;
        let exact = if place.contains('@') { None } else { self.exact_text(place) };
        Some(exact.unwrap_or(text).trim_start())
    }

    /// Returns one of libvirt's words at a place.
    pub(crate) fn word<W: Word>(self, place: &str) -> Result<Option<W>, Error> {
        let Some(text) = self.text(place) else { return Ok(None) };
        let expected = || format!("one of {}", W::words().join(" "));
        W::parse(text).map(Some).ok_or_else(|| self.wrong(place, text, expected()))
    }

    /// Returns one of a few words at a place; others are not supported.
    pub(crate) fn one_of(
        self,
        place: &str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, Error> {
        let Some(text) = self.text(place) else { return Ok(None) };
        match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Some(word)),
            None => Err(self.unsupported(
                place,
                format!("{text:?} is not supported; use one of {}", words.join(" ")),
            )),
        }
    }

    /// Returns `on` or `off` at a place as a boolean.
    pub(crate) fn switch(self, place: &str) -> Result<Option<bool>, Error> {
        self.boolean(place, "on", "off")
    }

    /// Returns `yes` or `no` at a place as a boolean.
    pub(crate) fn yes_no(self, place: &str) -> Result<Option<bool>, Error> {
        self.boolean(place, "yes", "no")
    }

    fn boolean(self, place: &str, yes: &str, no: &str) -> Result<Option<bool>, Error> {
        match self.text(place) {
            None => Ok(None),
            Some(text) if text == yes => Ok(Some(true)),
            Some(text) if text == no => Ok(Some(false)),
            Some(text) => Err(self.wrong(place, text, format!("{yes} or {no}"))),
        }
    }

    /// Returns the size in KiB of the text at a place, with the unit in its attribute `unit`; KiB if it has none.
    pub(crate) fn kib(self, place: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.digits(place) else { return Ok(None) };
        let unit = self.text(&format!("{place}@unit"));
        let size = capscache_domain::kib(text, unit);
        size.map(Some)
            .ok_or_else(|| self.wrong(place, text, "a number, with a unit such as KiB, MiB or GiB"))
    }

    /// Returns the size in bytes of the text at a place, with the unit in its attribute `unit`; bytes if it has none.
    pub(crate) fn bytes(self, place: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.digits(place) else { return Ok(None) };
        let unit = self.text(&format!("{place}@unit"));
        let size = capscache_domain::bytes(text, unit);
        size.map(Some)
            .ok_or_else(|| self.wrong(place, text, "a number, with a unit such as B, KiB or MiB"))
    }

    /// Returns the text at a place with the white space around it, unless it is empty.
    pub(crate) fn exact_text(self, path: &str) -> Option<&'a str> {
        let view = self.descend(path)?;
        self.text(path)?;
        let texts = view.element.children.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        texts.into_iter().next().filter(|text| !text.is_empty())
    }

    /// Records that a place was read, although it does not change the command line.
    pub(crate) fn ignore(self, places: &[&str]) {
        for place in places {
            self.text(place);
        }
    }

    /// Records that no part of the children of a name changes the command line.
    pub(crate) fn ignore_children(self, name: &str) {
        let children = self.element.elements().filter(|child| child.name == name);
        self.reader.ignored.borrow_mut().extend(children.map(|child| child.offset));
    }

    /// Returns the error that what is at a place is not supported.
    pub(crate) fn unsupported(self, place: &str, what: impl Display) -> Error {
        Error::Unsupported { place: self.place(place), what: what.to_string() }
    }

    /// Returns the error that what is at a place is not valid.
    pub(crate) fn invalid(self, place: &str, what: impl Display) -> Error {
        Error::Invalid { place: self.place(place), what: what.to_string() }
    }

    /// Returns the error that the emulator lacks what is at a place.
    pub(crate) fn lacks(self, place: &str, what: impl Display) -> Error {
        Error::Lacks { place: self.place(place), what: what.to_string() }
    }

    /// Returns the error that a secret at a place cannot be obtained.
    pub(crate) fn no_secret(self, place: &str, source: SecretError) -> Error {
        Error::Secret { place: self.place(place), source }
    }

    fn wrong(self, place: &str, found: &str, expected: impl Display) -> Error {
        self.invalid(place, format!("{found:?} is not a valid value; use {expected}"))
    }

    fn place(self, place: &str) -> Place {
        let (path, name) = place.split_once('@').unwrap_or((place, ""));
        let element = self.descend(path).map_or(self.element, |view| view.element);
        let attribute = element.attributes.iter().find(|a| a.name == name);
        let offset = attribute.map_or(element.offset, |a| a.offset);
        self.reader.place(element, name, offset)
    }
}
