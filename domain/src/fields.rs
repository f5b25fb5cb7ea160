//! Typed structs that are read from places of an element, and written to them.
//!
//! A place is `@attribute`, `child@attribute`, `child/grandchild@attribute`, or `child` for the text of a child.

use crate::error::{Cause, Fault};
use crate::tree::Element;
use crate::value::Value;

/// A field of a struct that [`fields`] defines.
pub(crate) trait Field: Sized {
    fn read(element: &Element, place: &str) -> Result<Self, Fault>;
    fn write(&self, element: &mut Element, place: &str);
}

impl<V: Value> Field for Option<V> {
    fn read(element: &Element, place: &str) -> Result<Option<V>, Fault> {
        let (path, attribute) = split(place);
        let Some(element) = find(element, path) else { return Ok(None) };
        let (text, offset) = match attribute {
            Some(name) => match element.attributes.iter().find(|a| a.name == name) {
                Some(attribute) => (attribute.value.as_str(), attribute.offset),
                None => return Ok(None),
            },
            None => (element.text(), element.offset),
        };
        let wrong = || Cause::Value { found: shorten(text), expected: V::EXPECTED };
        let value = V::parse(text).ok_or_else(|| Fault::new(offset, at(place), wrong()))?;
        Ok(Some(value))
    }

    fn write(&self, element: &mut Element, place: &str) {
        let (path, attribute) = split(place);
        let Some(value) = self else {
            // An element that is kept may have more than this field.
            let Some(element) = find_mut(element, path) else { return };
            match attribute {
                Some(name) => element.unset(name),
                None if !element.text().is_empty() => element.set_text(""),
                None => {}
            }
            return;
        };
        let mut element = element;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            element = element.child_or_new(name);
        }
        // An equal value stays in the form in which it was read.
        match attribute {
            Some(name) => {
                if element.attribute(name).and_then(V::parse).map(|v| v.format())
                    != Some(value.format())
                {
                    element.set(name, value.format());
                }
            }
            None => {
                if V::parse(element.text()).map(|v| v.format()) != Some(value.format()) {
                    element.set_text(value.format());
                }
            }
        }
    }
}

/// Puts the attributes at these places before others, in the order of the places.
pub(crate) fn order(element: &mut Element, places: &[&str]) {
    let position = |name: &str| {
        let is_it = |place: &&str| place.strip_prefix('@') == Some(name);
        places.iter().position(is_it).unwrap_or(places.len())
    };
    element.attributes.sort_by_key(|attribute| position(&attribute.name));
}

/// Refuses a second element of one of these names: the one that is not read would be ignored.
pub(crate) fn check_repeated(element: &Element, names: &[&str]) -> Result<(), Fault> {
    let mut seen: Vec<&str> = Vec::new();
    for child in element.elements() {
        let Some(name) = names.iter().find(|name| child.name == **name) else { continue };
        if seen.contains(name) {
            return Err(Fault::new(child.offset, format!("/{name}"), Cause::Repeated));
        }
        seen.push(name);
    }
    Ok(())
}

/// Reads a field that must be there.
pub(crate) fn required<V: Value>(element: &Element, place: &str) -> Result<V, Fault> {
    let value: Option<V> = Field::read(element, place)?;
    value.ok_or_else(|| Fault::new(element.offset, at(place), Cause::Missing))
}

/// Returns a place as the end of a path.
fn at(place: &str) -> String {
    match place.strip_prefix('@') {
        Some(_) => place.to_owned(),
        None => format!("/{place}"),
    }
}

/// Returns the start of a value, for an error.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

fn split(place: &str) -> (&str, Option<&str>) {
    match place.split_once('@') {
        Some((path, attribute)) => (path, Some(attribute)),
        None => (place, None),
    }
}

fn find<'e>(element: &'e Element, path: &str) -> Option<&'e Element> {
    if path.is_empty() {
        return Some(element);
    }
    path.split('/').try_fold(element, |element, name| element.child(name))
}

fn find_mut<'e>(element: &'e mut Element, path: &str) -> Option<&'e mut Element> {
    if path.is_empty() {
        return Some(element);
    }
    path.split('/').try_fold(element, |element, name| element.child_mut(name))
}

/// Defines a struct whose fields have places in an element.
macro_rules! fields {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(required { $($(#[$required_meta:meta])* $required:ident: $required_type:ty = $required_place:literal,)+ })?
            $(optional { $($(#[$optional_meta:meta])* $optional:ident: $optional_type:ty = $optional_place:literal,)+ })?
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $name {
            $($($(#[$required_meta])* pub $required: $required_type,)+)?
            $($(
                $(#[$optional_meta])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $optional: Option<$optional_type>,
            )+)?
        }

        impl $name {
            /// Creates one with the required facts only.
            #[allow(clippy::new_without_default, reason = "what is missing has a default of the machine")]
            pub fn new($($($required: $required_type),+)?) -> $name {
                $name { $($($required,)+)? $($($optional: None,)+)? }
            }

            #[allow(unused_variables, reason = "a struct may have no fields")]
            pub(crate) fn read(element: &crate::tree::Element) -> Result<$name, crate::error::Fault> {
                Ok($name {
                    $($($required: crate::fields::required(element, $required_place)?,)+)?
                    $($($optional: crate::fields::Field::read(element, $optional_place)?,)+)?
                })
            }

            #[allow(unused_variables, reason = "a struct may have no fields")]
            pub(crate) fn write(&self, element: &mut crate::tree::Element) {
                let before = element.attributes.len();
                $($(crate::fields::Field::write(&Some(self.$required.clone()), element, $required_place);)+)?
                $($(crate::fields::Field::write(&self.$optional, element, $optional_place);)+)?
                if element.attributes.len() > before {
                    crate::fields::order(
                        element,
                        &[$($($required_place,)+)? $($($optional_place,)+)?],
                    );
                }
            }
        }
    )+};
}

pub(crate) use fields;
