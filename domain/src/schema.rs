//! The elements and attributes that are understood, and the check that a document has no others.

use std::sync::LazyLock;

use crate::error::{Cause, Fault};
use crate::tree::{Element, Node};

/// The namespace of elements that pass options to QEMU, which the schema writes as `qemu:`.
const QEMU_NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// The index of a [`Rule`].
type RuleId = usize;

/// An element of the schema, or a group.
#[derive(Default)]
struct Rule {
    attributes: Vec<&'static str>,
    children: Vec<(&'static str, RuleId)>,
    groups: Vec<&'static str>,
    text: bool,
    any: bool,
}

struct Schema {
    rules: Vec<Rule>,
    groups: Vec<(&'static str, RuleId)>,
    root: RuleId,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::parse(include_str!("domain.schema")));

/// Checks that all elements, attributes and texts of a document are understood.
pub(crate) fn check(root: &Element) -> Result<(), Fault> {
    let schema = &*SCHEMA;
    schema
        .check(root, schema.root, &mut Vec::new())
        .map_err(|fault| fault.below(&format!("/{}", root.name)))
}

/// Checks the element of one device.
pub(crate) fn check_device(element: &Element) -> Result<(), Fault> {
    let schema = &*SCHEMA;
    let below = |fault: Fault| fault.below(&format!("/{}", element.name));
    let devices = schema.child(schema.root, "devices", &[]);
    let rule = devices.and_then(|devices| schema.child(devices, &element.name, &[]));
    let unknown = || Fault::new(element.offset, "", Cause::UnknownElement);
    let checked = rule.ok_or_else(unknown);
    checked.and_then(|rule| schema.check(element, rule, &mut Vec::new())).map_err(below)
}

/// The prefixes that an element declares for QEMU's namespace; empty if that is the default one.
fn declared(element: &Element) -> impl Iterator<Item = &str> {
    let of_qemu = element.attributes.iter().filter(|a| a.value == QEMU_NAMESPACE);
    of_qemu.filter_map(|a| match a.name.strip_prefix("xmlns") {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix(':'),
        None => None,
    })
}

impl Schema {
    fn parse(text: &'static str) -> Schema {
        let mut schema = Schema { rules: Vec::new(), groups: Vec::new(), root: 0 };
        // The rules of the lines above, from the margin inwards.
        let mut parents: Vec<RuleId> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let depth = line.len() - line.trim_start().len();
            let mut words = line.split_whitespace();
            let name = words.next().unwrap_or_default();
            let mut rule = Rule::default();
            for word in words {
                match word.split_at(1) {
                    ("@", attribute) => rule.attributes.push(attribute),
                    ("&", group) => rule.groups.push(group),
                    ("$", _) => rule.text = true,
                    ("*", _) => rule.any = true,
                    _ => {}
                }
            }
            let id = schema.rules.len();
            schema.rules.push(rule);
            parents.truncate(depth);
            match (parents.last(), name.strip_prefix('&')) {
                (Some(parent), _) => schema.rules[*parent].children.push((name, id)),
                (None, Some(group)) => schema.groups.push((group, id)),
                (None, None) => schema.root = id,
            }
            parents.push(id);
        }
        schema
    }

    /// The rule and the groups it includes.
    fn parts(&self, id: RuleId) -> impl Iterator<Item = &Rule> {
        let rule = &self.rules[id];
        let group = |name: &&str| {
            let found = self.groups.iter().find(|(group, _)| group == name);
            found.map(|(_, id)| &self.rules[*id])
        };
        let groups = rule.groups.iter().filter_map(group);
        let nested = rule.groups.iter().filter_map(group).flat_map(|rule| rule.groups.iter());
        std::iter::once(rule).chain(groups).chain(nested.filter_map(group))
    }

    /// Checks an element; `prefixes` are those of QEMU's namespace around it.
    fn check<'e>(
        &self,
        element: &'e Element,
        id: RuleId,
        prefixes: &mut Vec<&'e str>,
    ) -> Result<(), Fault> {
        if self.rules[id].any {
            return Ok(());
        }
        let outer = prefixes.len();
        prefixes.extend(declared(element));
        for attribute in &element.attributes {
            let name = attribute.name.as_str();
            let is_known = self.parts(id).any(|rule| rule.attributes.contains(&name));
            if !is_known && name != "xmlns" && !name.starts_with("xmlns:") {
                let path = format!("@{name}");
                return Err(Fault::new(attribute.offset, path, Cause::UnknownAttribute));
            }
        }
        for node in &element.children {
            match node {
                Node::Element(child) => {
                    let below = |fault: Fault| fault.below(&format!("/{}", child.name));
                    let unknown = || Fault::new(child.offset, "", Cause::UnknownElement);
                    // A prefix may be declared where it is first used.
                    let around = prefixes.len();
                    prefixes.extend(declared(child));
                    let rule = self.child(id, &child.name, prefixes).ok_or_else(unknown);
                    prefixes.truncate(around);
                    rule.and_then(|rule| self.check(child, rule, prefixes)).map_err(below)?;
                }
                Node::Text(_) if self.parts(id).any(|rule| rule.text) => {}
                Node::Text(_) => {
                    return Err(Fault::new(element.offset, "", Cause::UnexpectedText));
                }
            }
        }
        prefixes.truncate(outer);
        Ok(())
    }

    fn child(&self, id: RuleId, name: &str, prefixes: &[&str]) -> Option<RuleId> {
        let find = |is_it: &dyn Fn(&str) -> bool| {
            let mut children = self.parts(id).flat_map(|rule| rule.children.iter());
            children.find(|(known, _)| is_it(known)).map(|(_, id)| *id)
        };
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        if prefixes.contains(&prefix) {
            find(&|known| known.strip_prefix("qemu:") == Some(local))
        } else if prefix.is_empty() {
            find(&|known| known == name)
        } else {
            None
        }
    }
}
