//! Queries of the QMP schema: the path language.
//!
//! A path names a command or event and leads from there through the types of
//! `query-qmp-schema`: `blockdev-add/arg-type/+file/aio/^io_uring` matches if the argument of
//! `blockdev-add` has a branch `file` whose member `aio` is an enumeration with `io_uring`.
//!
//! | component | on | means |
//! |---|---|---|
//! | `arg-type`, `ret-type` | command, event | the type under that key |
//! | `name` | object | the member |
//! | `*name` | object | the member, if it is optional |
//! | `+name` | object | the variant with that case |
//! | `^name` | enum | the value; `^name/$feature` matches a feature of it |
//! | `!type` | builtin | the JSON type is that one; ends the path |
//! | `$name` | command, event, object | has the feature; ends the path |
//!
//! Arrays are passed through, alternates tried member by member; neither takes a component. A feature
//! is that of the type at the end of the path, never of the member that leads to it.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use crate::tri::Tri;
use crate::value::{Array, Value};

/// The largest number of types on one path.
const MAX_STEPS: u32 = 1000;

/// The largest number of types and list elements that are examined for one path: alternates fan out. The
/// longest walks through QEMU's own schema examine some thousand.
const MAX_VISITS: usize = 100_000;

/// The QMP schema (`query-qmp-schema`).
#[derive(Clone, Copy, Debug)]
pub struct Schema<'a> {
    answer: Option<Value<'a>>,
}

/// An error of a walk: the schema is malformed, or the path continues after its end.
struct Malformed;

impl<'a> Schema<'a> {
    pub(crate) fn new(answer: Option<Value<'a>>) -> Schema<'a> {
        Schema { answer }
    }

    /// Returns whether the schema has the element that `path` describes.
    ///
    /// *No* for a malformed path, such as one that continues after a feature; *unknown* if the
    /// emulator did not report its schema. Allocates only on a path through an alternate.
    pub fn has(self, path: &str) -> Tri {
        match self.entries() {
            None => Tri::Unknown,
            Some(entries) => Tri::from(Walk::new(entries).start(path)),
        }
    }

    /// All entries, in QEMU's order; `None` if the emulator did not report them.
    pub fn entries(self) -> Option<Array<'a>> {
        self.answer?.as_array()
    }

    /// The names of the entries with this `meta-type` (`command`, `event`), in QEMU's order.
    pub fn names(self, meta_type: &str) -> impl Iterator<Item = &'a str> {
        self.entries()
            .into_iter()
            .flat_map(Array::iter)
            .filter(move |entry| has_string(*entry, "meta-type", meta_type))
            .filter_map(|entry| text(entry, "name"))
    }

    /// Returns whether there is an entry `name` with this `meta-type`.
    pub fn has_entry(self, meta_type: &str, name: &str) -> Tri {
        match self.entries() {
            None => Tri::Unknown,
            Some(entries) => Tri::from(
                entries
                    .find("name", name)
                    .is_some_and(|entry| has_string(entry, "meta-type", meta_type)),
            ),
        }
    }
}

fn text<'a>(object: Value<'a>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// Returns true if the object has the string `name` under `key`.
fn has_string(object: Value<'_>, key: &str, name: &str) -> bool {
    object.get(key).is_some_and(|value| value.is_str(name))
}

struct Walk<'a> {
    entries: Array<'a>,
    visits_left: usize,
}

type Rest<'p> = std::str::Split<'p, char>;

/// A type, and the rest of the path from there.
struct Place<'a, 'p> {
    entry: Value<'a>,
    rest: Rest<'p>,
    depth: u32,
}

/// An alternate on the path, with the members that were not tried yet.
struct Untried<'a, 'p> {
    members: Array<'a>,
    next: u32,
    ahead: Rest<'p>,
    depth: u32,
}

enum Step<'a, 'p> {
    On(Place<'a, 'p>),
    End(bool),
}

impl<'a> Walk<'a> {
    fn new(entries: Array<'a>) -> Walk<'a> {
        Walk { entries, visits_left: MAX_VISITS }
    }

    /// Counts `number` types or elements against the limit.
    fn visit(&mut self, number: usize) -> Result<(), Malformed> {
        self.visits_left = self.visits_left.checked_sub(number).ok_or(Malformed)?;
        Ok(())
    }

    /// Returns the elements of the array under a key; none if there is no array.
    fn elements(
        &mut self,
        object: Value<'a>,
        key: &str,
    ) -> Result<impl Iterator<Item = Value<'a>> + use<'a>, Malformed> {
        let array = object.get(key).and_then(Value::as_array);
        self.visit(array.map_or(0, Array::len))?;
        Ok(array.into_iter().flat_map(Array::iter))
    }

    /// Returns the first element of the array under a key whose `name_key` is `name`.
    fn named(
        &mut self,
        object: Value<'a>,
        key: &str,
        name_key: &str,
        name: &str,
    ) -> Result<Option<Value<'a>>, Malformed> {
        let Some(array) = object.get(key).and_then(Value::as_array) else { return Ok(None) };
        self.visit(array.len())?;
        Ok(array.find(name_key, name))
    }

    fn has_feature(&mut self, object: Value<'a>, name: &str) -> Result<bool, Malformed> {
        Ok(self.elements(object, "features")?.any(|feature| feature.is_str(name)))
    }

    fn start(mut self, path: &str) -> bool {
        let mut components = path.split('/');
        let root = components.next().and_then(|name| self.entries.find("name", name));
        let place = root.map(|entry| Place { entry, rest: components, depth: 0 });
        place.is_some_and(|place| self.walk(place).unwrap_or(false))
    }

    /// Follows the path, in a loop: recursion over a thousand types could exceed a thread's stack.
    fn walk<'p>(&mut self, mut place: Place<'a, 'p>) -> Result<bool, Malformed> {
        let mut untried = Vec::new();
        loop {
            place = match self.step(place, &mut untried)? {
                Step::On(next) => next,
                Step::End(true) => return Ok(true),
                Step::End(false) => match self.next_alternative(&mut untried)? {
                    Some(next) => next,
                    None => return Ok(false),
                },
            };
        }
    }

    /// Returns the type that `reference`, a string of the schema, names.
    fn enter<'p>(
        &mut self,
        reference: Option<Value<'a>>,
        rest: Rest<'p>,
        depth: u32,
    ) -> Result<Place<'a, 'p>, Malformed> {
        let number = reference.and_then(Value::string_number).ok_or(Malformed)?;
        if self.entries.sorted_by("name").is_none() {
            self.visit(self.entries.len())?;
        }
        let entry = self.entries.find_number("name", number).ok_or(Malformed)?;
        Ok(Place { entry, rest, depth: depth.saturating_add(1) })
    }

    /// Returns the next member of the innermost alternate that has one left.
    fn next_alternative<'p>(
        &mut self,
        untried: &mut Vec<Untried<'a, 'p>>,
    ) -> Result<Option<Place<'a, 'p>>, Malformed> {
        while let Some(alternate) = untried.last_mut() {
            match alternate.members.at(alternate.next) {
                Some(member) => {
                    alternate.next = alternate.next.saturating_add(1);
                    let (ahead, depth) = (alternate.ahead.clone(), alternate.depth);
                    return self.enter(member.get("type"), ahead, depth).map(Some);
                }
                None => drop(untried.pop()),
            }
        }
        Ok(None)
    }

    fn step<'p>(
        &mut self,
        place: Place<'a, 'p>,
        untried: &mut Vec<Untried<'a, 'p>>,
    ) -> Result<Step<'a, 'p>, Malformed> {
        let Place { entry, mut rest, depth } = place;
        self.visit(1)?;
        if depth >= MAX_STEPS {
            return Err(Malformed);
        }
        let ahead = rest.clone();
        let Some(component) = rest.next() else { return Ok(Step::End(true)) };
        match text(entry, "meta-type") {
            Some("array") => self.enter(entry.get("element-type"), ahead, depth).map(Step::On),
            Some("alternate") => {
                if let Some(members) = entry.get("members").and_then(Value::as_array) {
                    self.visit(members.len())?;
                    untried.push(Untried { members, next: 0, ahead, depth });
                }
                Ok(Step::End(false))
            }
            Some("command" | "event") => self.command(entry, component, rest, depth),
            Some("object") => self.object(entry, component, rest, depth),
            Some("enum") => self.enumeration(entry, component, rest).map(Step::End),
            Some("builtin") => builtin(entry, component, rest).map(Step::End),
            _ => Ok(Step::End(false)),
        }
    }

    fn command<'p>(
        &mut self,
        entry: Value<'a>,
        component: &str,
        rest: Rest<'p>,
        depth: u32,
    ) -> Result<Step<'a, 'p>, Malformed> {
        match split(component) {
            (Some('$'), feature) => last(rest, self.has_feature(entry, feature)?).map(Step::End),
            (Some('^' | '!' | '+' | '*'), _) => Ok(Step::End(false)),
            (_, key) => match entry.get(key).filter(|value| value.string_number().is_some()) {
                None => Ok(Step::End(false)),
                reference => self.enter(reference, rest, depth).map(Step::On),
            },
        }
    }

    fn object<'p>(
        &mut self,
        entry: Value<'a>,
        component: &str,
        rest: Rest<'p>,
        depth: u32,
    ) -> Result<Step<'a, 'p>, Malformed> {
        let found = match split(component) {
            (Some('$'), feature) => {
                return last(rest, self.has_feature(entry, feature)?).map(Step::End);
            }
            (Some('^' | '!'), _) => return Ok(Step::End(false)),
            (Some('+'), case) => self.named(entry, "variants", "case", case)?,
            (Some('*'), name) => self
                .named(entry, "members", "name", name)?
                .filter(|member| member.get("default").is_some()),
            (_, name) => self.named(entry, "members", "name", name)?,
        };
        match found {
            Some(element) => self.enter(element.get("type"), rest, depth).map(Step::On),
            None => Ok(Step::End(false)),
        }
    }

    fn enumeration(
        &mut self,
        entry: Value<'a>,
        component: &str,
        mut rest: Rest<'_>,
    ) -> Result<bool, Malformed> {
        let (Some('^'), name) = split(component) else { return Ok(false) };
        let feature = match rest.next().map(split) {
            None => None,
            Some((Some('$'), feature)) if rest.next().is_none() => Some(feature),
            Some(_) => return Err(Malformed),
        };
        // QEMU 6.2 and later describe each value in `members`; earlier ones list names only.
        if entry.get("members").is_some() {
            match (self.named(entry, "members", "name", name)?, feature) {
                (Some(member), Some(feature)) => self.has_feature(member, feature),
                (member, _) => Ok(member.is_some()),
            }
        } else {
            let has_value = self.elements(entry, "values")?.any(|value| value.is_str(name));
            Ok(has_value && feature.is_none())
        }
    }
}

fn builtin(entry: Value<'_>, component: &str, rest: Rest<'_>) -> Result<bool, Malformed> {
    match split(component) {
        (Some('!'), json_type) => last(rest, has_string(entry, "json-type", json_type)),
        _ => Ok(false),
    }
}

/// Returns the result of a component that must end the path.
fn last(mut rest: Rest<'_>, answer: bool) -> Result<bool, Malformed> {
    if rest.next().is_none() { Ok(answer) } else { Err(Malformed) }
}

/// Splits off the modifier: a first character that is not an ASCII letter.
fn split(component: &str) -> (Option<char>, &str) {
    let mut characters = component.chars();
    match characters.next() {
        Some(first) if !first.is_ascii_alphabetic() => (Some(first), characters.as_str()),
        _ => (None, component),
    }
}
