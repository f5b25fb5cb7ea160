//! One machine, CPU model, device, object or type.

use std::fmt;

use anyhow::Result;
use capscache::format::Unanswered;
use capscache::format::{Expansion, Properties, Value};
use capscache::{Accelerator, Capabilities};
use serde_json::json;

use super::Kind;
use super::lists::{expansion, yes_no};
use crate::output::json_line;
use crate::session::join;
use crate::table::{Cell, DOUBTFUL, FAINT, HEADING, Table, natural_key, wrapped};
use crate::text::Text;

pub(super) fn render(caps: &Capabilities, kind: Kind, name: &str) -> Result<Text> {
    Ok(match kind {
        Kind::Machine => machine(caps, name)?,
        Kind::Cpu => cpu(caps, name)?,
        Kind::Device => with_properties(caps, name, caps.device(name)?),
        Kind::Object => with_properties(caps, name, caps.object(name)?),
        Kind::Type => qom_type(caps, name)?,
    })
}

/// Returns the part of the document of `export` about one machine, CPU model, device, object or type.
pub(super) fn json(caps: &Capabilities, kind: Kind, name: &str) -> Result<serde_json::Value> {
    Ok(match kind {
        Kind::Machine => {
            let found = under_each(caps, |accelerator| {
                Ok(caps.accelerator(accelerator)?.machine(name)?.raw())
            })?;
            let found = found.iter().map(|(accelerator, value)| {
                Ok((accelerator.to_string(), serde_json::to_value(value)?))
            });
            serde_json::Value::Object(found.collect::<Result<_>>()?)
        }
        Kind::Cpu => {
            let found = under_each(caps, |accelerator| {
                Ok(caps.accelerator(accelerator)?.cpu_model(name)?.raw())
            })?;
            let found = found.iter().map(|(accelerator, value)| {
                let mut model = json!({"definition": value});
                for kind in [Expansion::Static, Expansion::Full] {
                    if let Ok(value) = caps.accelerator(*accelerator)?.cpu_expansion(name, kind) {
                        model[kind.name()] = serde_json::to_value(value)?;
                    }
                }
                Ok((accelerator.to_string(), model))
            });
            serde_json::Value::Object(found.collect::<Result<_>>()?)
        }
        Kind::Device => serde_json::to_value(raw(caps.device(name)?))?,
        Kind::Object => serde_json::to_value(raw(caps.object(name)?))?,
        Kind::Type => serde_json::to_value(caps.qom_type(name)?.raw())?,
    })
}

/// Returns whether any accelerator has the CPU model.
pub(super) fn has_cpu(caps: &Capabilities, name: &str) -> bool {
    under_each(caps, |accelerator| caps.accelerator(accelerator)?.cpu_model(name)).is_ok()
}

/// Returns what `find` returns under each accelerator.
///
/// # Errors
/// The first error, if `find` fails under all of them.
fn under_each<T>(
    caps: &Capabilities,
    find: impl Fn(Accelerator) -> Result<T, Unanswered>,
) -> Result<Vec<(Accelerator, T)>, Unanswered> {
    let mut found = Vec::new();
    let mut first_error = None;
    for accelerator in caps.accelerators() {
        match find(accelerator) {
            Ok(one) => found.push((accelerator, one)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    match first_error {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

fn raw(properties: Properties<'_>) -> Vec<Value<'_>> {
    properties.iter().map(capscache::format::Property::raw).collect()
}

fn machine(caps: &Capabilities, name: &str) -> Result<Text> {
    let found = under_each(caps, |accelerator| caps.accelerator(accelerator)?.machine(name))?;
    let mut text = Text::new();
    let mut shown: Vec<(String, Vec<Accelerator>, Text)> = Vec::new();
    for (accelerator, machine) in found {
        let pairs = pairs(machine.raw());
        match shown.iter_mut().find(|(.., known)| *known == pairs) {
            Some((_, accelerators, _)) => accelerators.push(accelerator),
            None => shown.push((machine.name().to_owned(), vec![accelerator], pairs)),
        }
    }
    for (name, accelerators, pairs) in &shown {
        text.styled(HEADING, name);
        text.line(format_args!("  under {}", join(accelerators, ", ")));
        text.append(pairs);
    }
    let properties = shown.first().map(|(name, ..)| caps.object(&format!("{name}-machine")));
    if let Some(Ok(properties)) = properties {
        text.end();
        text.append(&table_of(properties));
    }
    Ok(text)
}

/// Renders the keys and values of a QMP object.
fn pairs(object: Value<'_>) -> Text {
    let mut table = Table::of_pairs();
    for (key, value) in object.as_object().into_iter().flat_map(capscache::format::Object::iter) {
        table.pair(key, json_line(&value));
    }
    table.render()
}

fn cpu(caps: &Capabilities, name: &str) -> Result<Text> {
    let found = under_each(caps, |accelerator| caps.accelerator(accelerator)?.cpu_model(name))?;
    let mut text = Text::new();
    for (accelerator, model) in found {
        if !text.is_blank() {
            text.end();
        }
        text.styled(HEADING, name);
        text.line(format_args!("  under {accelerator}"));
        let mut table = Table::of_pairs();
        let mut lacking = Vec::new();
        table.pair("usable", yes_no(model.usable()));
        let object = model.raw().as_object();
        for (key, value) in object.into_iter().flat_map(capscache::format::Object::iter) {
            match value.as_array() {
                _ if key == "name" => {}
                Some(words) if words.is_empty() => table.pair(key, Cell::styled("none", FAINT)),
                Some(words) => {
                    lacking.push((key, words));
                }
                None => table.pair(key, json_line(&value)),
            }
        }
        text.append(&table.render());
        let remark = |text: &mut Text, style, words: fmt::Arguments<'_>| {
            text.blanks(2);
            text.styled(style, words);
            text.end();
        };
        for (key, words) in lacking {
            remark(&mut text, FAINT, format_args!("{key} ({})", words.len()));
            text.append(&wrapped(words.iter().filter_map(Value::as_str), 4));
        }
        for kind in [Expansion::Static, Expansion::Full] {
            let kind_name = kind.name();
            match caps.accelerator(accelerator)?.cpu_expansion(name, kind) {
                Ok(answer) => {
                    remark(&mut text, FAINT, format_args!("{kind_name} expansion"));
                    text.append(&expansion(answer));
                }
                Err(Unanswered::NotQueried { .. } | Unanswered::Absent { .. }) => {}
                Err(why) => {
                    remark(&mut text, DOUBTFUL, format_args!("{kind_name} expansion: {why}"));
                }
            }
        }
    }
    Ok(text)
}

fn with_properties(caps: &Capabilities, name: &str, properties: Properties<'_>) -> Text {
    let mut text = heading(caps, name);
    text.append(&table_of(properties));
    text
}

/// Renders the name of a type and of those that it inherits from.
fn heading(caps: &Capabilities, name: &str) -> Text {
    let mut text = Text::new();
    text.styled(HEADING, name);
    text.line(ancestry(caps, name));
    text
}

fn table_of(properties: Properties<'_>) -> Text {
    let mut properties: Vec<_> = properties.iter().collect();
    properties.sort_by_cached_key(|property| natural_key(property.name()));
    let mut table = Table::new(&["PROPERTY", "TYPE", "DEFAULT", "DESCRIPTION"]);
    for property in properties {
        table.row([
            property.name().into(),
            property.type_name().into(),
            property.default_value().map(|value| json_line(&value)).unwrap_or_default().into(),
            Cell::styled(property.description().unwrap_or(""), FAINT),
        ]);
    }
    table.render()
}

/// Returns the types that a type inherits from, as far as QEMU reports them.
fn ancestry(caps: &Capabilities, name: &str) -> String {
    let mut text = String::new();
    let mut known = caps.qom_type(name).ok();
    // Real chains are shorter; a damaged one may contain a cycle.
    for _ in 0..32 {
        let Some(parent) = known.and_then(capscache::format::Type::parent) else { break };
        text.push_str(" < ");
        text.push_str(parent);
        known = caps.qom_type(parent).ok();
    }
    text
}

fn qom_type(caps: &Capabilities, name: &str) -> Result<Text> {
    let known = caps.qom_type(name)?;
    let mut table = Table::of_pairs();
    table.pair("abstract", if known.is_abstract() { "yes" } else { "no" });
    table.pair("device", yes_no(caps.has_device(name)));
    table.pair("user-creatable object", yes_no(caps.has_object(name)));
    let subtypes: Vec<_> = caps
        .types()
        .filter(|other| other.parent() == Some(name))
        .map(capscache::format::Type::name)
        .collect();
    if !subtypes.is_empty() {
        table.pair("parent of", join(&subtypes, " "));
    }
    let mut text = heading(caps, name);
    text.append(&table.render());
    Ok(text)
}
