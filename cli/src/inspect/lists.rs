//! Sections that are lists.

use std::collections::BTreeMap;

use capscache::format::Unanswered;
use capscache::format::{Array, CpuModel, FactKind, Machine, Value};
use capscache::{Accelerator, Capabilities, Tri};
use capscache_libvirt::Release;

use super::List;
use crate::session::join;
use crate::table::{BAD, Cell, DOUBTFUL, FAINT, GOOD, HEADING, Table, natural_key, wrapped};
use crate::text::Text;

pub(super) fn render(caps: &Capabilities, list: List, release: Release) -> Text {
    let mut text = section(caps, list, release);
    if text.is_blank() {
        text.line("not reported by QEMU for this architecture");
    }
    text
}

fn section(caps: &Capabilities, list: List, release: Release) -> Text {
    match list {
        List::Machines => machines(caps),
        List::Cpus => cpus(caps),
        List::HostCpu => host_cpu(caps),
        List::Devices => {
            implementers(caps, FactKind::DeviceTypes, "DEVICE", |name| count(caps.device(name)))
        }
        List::Objects => {
            implementers(caps, FactKind::ObjectTypes, "OBJECT", |name| count(caps.object(name)))
        }
        List::Types => types(caps),
        List::Commands => entries(caps, "command", caps.commands()),
        List::Events => entries(caps, "event", caps.schema().names("event").collect()),
        List::Options => options(caps),
        List::Migration => migration(caps),
        List::Tpm => tpm(caps),
        List::Schema => schema(caps),
        List::Flags => flags(caps, release),
        List::Firmware => super::firmware::render(caps),
        List::Report => super::report::render(caps),
    }
}

pub(super) fn yes_no(answer: Tri) -> Cell {
    let style = match answer {
        Tri::Yes => GOOD,
        Tri::No => BAD,
        Tri::Unknown => DOUBTFUL,
    };
    Cell::styled(answer.to_string(), style)
}

fn machines(caps: &Capabilities) -> Text {
    let mut rows: BTreeMap<_, (Machine<'_>, Vec<Accelerator>)> = BTreeMap::new();
    for accelerator in caps.accelerators() {
        let Ok(answers) = caps.accelerator(accelerator) else { continue };
        for machine in answers.machines() {
            let row = rows.entry(natural_key(machine.name()));
            row.or_insert((machine, Vec::new())).1.push(accelerator);
        }
    }
    let all = caps.accelerators().count();
    let mut table =
        Table::new(&["MACHINE", "ALIAS", "CPUS", "DEFAULT CPU", "RAM", "NOTES", "ONLY UNDER"]);
    for (machine, accelerators) in rows.into_values() {
        let notes = [
            (machine.is_default(), "default"),
            (machine.deprecated() == Some(true), "deprecated"),
            (machine.hotpluggable_cpus(), "hotplug"),
            (machine.numa_mem_supported() == Some(true), "numa"),
            (machine.acpi() == Some(true), "acpi"),
        ];
        let notes: Vec<_> = notes.iter().filter(|(is, _)| *is).map(|(_, note)| *note).collect();
        let style = match (machine.is_default(), machine.deprecated() == Some(true)) {
            (true, _) => GOOD,
            (_, true) => DOUBTFUL,
            _ => FAINT,
        };
        let only = accelerators.len() < all;
        table.row([
            machine.name().into(),
            machine.alias().unwrap_or("").into(),
            machine.max_cpus().map_or_else(Cell::default, Cell::number),
            machine.default_cpu_type().unwrap_or("").into(),
            machine.default_ram_id().unwrap_or("").into(),
            Cell::styled(join(&notes, " "), style),
            if only { join(&accelerators, " ").into() } else { Cell::default() },
        ]);
    }
    table.render()
}

fn cpus(caps: &Capabilities) -> Text {
    let accelerators: Vec<Accelerator> = caps.accelerators().collect();
    let mut rows: BTreeMap<_, Vec<Option<CpuModel<'_>>>> = BTreeMap::new();
    for (at, accelerator) in accelerators.iter().enumerate() {
        let Ok(answers) = caps.accelerator(*accelerator) else { continue };
        for model in answers.cpu_models() {
            let row = rows.entry(natural_key(model.name()));
            row.or_insert_with(|| vec![None; accelerators.len()])[at] = Some(model);
        }
    }
    let upper: Vec<String> =
        accelerators.iter().map(|accelerator| accelerator.name().to_uppercase()).collect();
    let mut heading = vec!["CPU MODEL"];
    heading.extend(upper.iter().map(String::as_str));
    let lacks = upper.first().map_or_else(String::new, |best| format!("{best} LACKS"));
    heading.extend(["ALIAS OF", "NOTES", &lacks]);
    let mut table = Table::new(&heading);
    for models in rows.values() {
        let Some(first) = models.iter().flatten().next() else { continue };
        let mut cells = vec![Cell::from(first.name())];
        cells.extend(models.iter().map(|model| match model {
            Some(model) => yes_no(model.usable()),
            None => Cell::styled("-", FAINT),
        }));
        let notes = [
            (first.deprecated(), "deprecated"),
            (first.is_static(), "static"),
            (first.migration_safe() == Some(false), "not migration-safe"),
        ];
        let notes: Vec<_> = notes.iter().filter(|(is, _)| *is).map(|(_, note)| *note).collect();
        cells.push(first.alias_of().unwrap_or("").into());
        cells.push(Cell::styled(join(&notes, ", "), FAINT));
        cells.push(models.first().copied().flatten().map_or_else(Cell::default, lacking));
        table.row_of(cells);
    }
    table.render()
}

/// Returns the first of the features that a model needs and the host lacks.
fn lacking(model: CpuModel<'_>) -> Cell {
    const SHOWN: usize = 5;
    let mut features: Vec<&str> = model.unavailable_features().into_iter().flatten().collect();
    features.dedup();
    let more = features.len().saturating_sub(SHOWN);
    features.truncate(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Cell::styled(join(&features, " ") + &more, FAINT)
}

fn host_cpu(caps: &Capabilities) -> Text {
    let mut text = Text::new();
    for accelerator in caps.accelerators() {
        let Ok(answers) = caps.accelerator(accelerator) else { continue };
        for (arguments, answer) in answers.host_cpu() {
            let arguments = crate::output::json_line(&arguments);
            if !text.is_blank() {
                text.end();
            }
            text.styled(HEADING, accelerator);
            text.line(format_args!("  {arguments}"));
            text.append(&expansion(answer));
        }
    }
    text
}

/// Renders an expansion: features that are on, values, and the number of features that are off.
pub(super) fn expansion(answer: Value<'_>) -> Text {
    let mut text = Text::new();
    let Some(model) = answer.get("model") else {
        text.line("  refused: see report");
        return text;
    };
    let mut on = Vec::new();
    let mut off = 0;
    let mut values = Vec::new();
    let props = model.get("props").and_then(Value::as_object);
    for (name, value) in props.into_iter().flat_map(capscache::format::Object::iter) {
        match value.as_bool() {
            Some(true) => on.push(name),
            Some(false) => off += 1,
            None => values.push(format!("{name}={}", crate::output::json_line(&value))),
        }
    }
    on.sort_unstable();
    values.sort_unstable();
    let name = model.get("name").and_then(Value::as_str).unwrap_or("");
    let (on_count, values_count) = (on.len(), values.len());
    text.line(format_args!("  {name}: {on_count} on, {off} off, {values_count} values"));
    text.append(&wrapped(on.into_iter(), 4));
    text.append(&wrapped(values.iter().map(String::as_str), 4));
    text
}

fn implementers(
    caps: &Capabilities,
    kind: FactKind,
    heading: &str,
    properties: impl Fn(&str) -> Cell,
) -> Text {
    let types = caps.core(kind).ok().and_then(Value::as_array);
    let text = |one: Value<'_>, key| one.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let types = types.into_iter().flat_map(Array::iter);
    let mut rows: Vec<_> = types.map(|one| (text(one, "name"), text(one, "parent"))).collect();
    rows.sort_by_cached_key(|(name, _)| natural_key(name));
    let mut table = Table::new(&[heading, "PROPERTIES", "PARENT"]);
    for (name, parent) in rows {
        let properties = properties(&name);
        table.row([name.into(), properties, parent.into()]);
    }
    table.render()
}

fn count(properties: Result<capscache::format::Properties<'_>, Unanswered>) -> Cell {
    match properties {
        Ok(properties) => Cell::number(properties.iter().count()),
        Err(Unanswered::Quarantined { .. }) => Cell::styled("quarantined", DOUBTFUL).right(),
        Err(Unanswered::Refused { .. }) => Cell::styled("refused", DOUBTFUL).right(),
        Err(_) => Cell::default(),
    }
}

fn types(caps: &Capabilities) -> Text {
    let mut types: Vec<_> = caps.types().collect();
    types.sort_by_cached_key(|known| natural_key(known.name()));
    let mut table = Table::new(&["TYPE", "PARENT", "NOTES"]);
    for known in types {
        let note = if known.is_abstract() { "abstract" } else { "" };
        let parent = known.parent().unwrap_or("");
        table.row([known.name().into(), parent.into(), Cell::styled(note, FAINT)]);
    }
    table.render()
}

/// Renders the capability flags that a release of libvirt would give the emulator, in libvirt's order.
fn flags(caps: &Capabilities, release: Release) -> Text {
    let mut table = Table::new(&["FLAG"]);
    for name in capscache_libvirt::flags(caps, release).names() {
        table.row([name.into()]);
    }
    table.render()
}

/// Renders commands or events, with their features in the schema.
fn entries(caps: &Capabilities, meta_type: &str, mut names: Vec<&str>) -> Text {
    names.sort_by_cached_key(|name| natural_key(name));
    let entries = caps.schema().entries();
    let features = |name: &str| {
        let features = entries?.find("name", name)?.get("features")?.as_array()?;
        Some(join(&features.iter().filter_map(Value::as_str).collect::<Vec<_>>(), " "))
    };
    let mut table = Table::new(&[&meta_type.to_uppercase(), "FEATURES"]);
    for name in names {
        let features = features(name).unwrap_or_default();
        let style = if features.contains("deprecated") { DOUBTFUL } else { FAINT };
        table.row([name.into(), Cell::styled(features, style)]);
    }
    table.render()
}

fn options(caps: &Capabilities) -> Text {
    let mut options: Vec<_> = caps.command_line_options().collect();
    options.sort_by_cached_key(|option| natural_key(option.name()));
    let mut table = Table::new(&["OPTION", "PARAMETER", "TYPE", "DEFAULT", "HELP"]);
    for option in options {
        // QEMU has had an option without a name.
        let name = if option.name().is_empty() { "(unnamed)" } else { option.name() };
        let mut parameters: Vec<_> = option.parameters().collect();
        parameters.sort_by_cached_key(|parameter| natural_key(parameter.name()));
        if parameters.is_empty() {
            table.row([name.into()]);
        }
        for (at, parameter) in parameters.into_iter().enumerate() {
            table.row([
                if at == 0 { name.into() } else { Cell::default() },
                parameter.name().into(),
                parameter.type_name().into(),
                parameter.default_value().unwrap_or("").into(),
                Cell::styled(parameter.help().unwrap_or(""), FAINT),
            ]);
        }
    }
    table.render()
}

fn migration(caps: &Capabilities) -> Text {
    let known = caps.core(FactKind::MigrationCapabilities).ok().and_then(Value::as_array);
    let mut table = Table::new(&["CAPABILITY", "BY DEFAULT"]);
    for one in known.into_iter().flat_map(Array::iter) {
        let name = one.get("capability").and_then(Value::as_str).unwrap_or("");
        let state = match one.get("state").and_then(Value::as_bool) {
            Some(true) => "on",
            Some(false) => "off",
            None => "",
        };
        table.row([name.into(), Cell::styled(state, FAINT)]);
    }
    table.render()
}

fn tpm(caps: &Capabilities) -> Text {
    let mut table = Table::of_pairs();
    for (name, kind) in [("models", FactKind::TpmModels), ("types", FactKind::TpmTypes)] {
        let cell = match caps.core(kind).map(Value::as_array) {
            Ok(Some(names)) if !names.is_empty() => {
                join(&names.iter().filter_map(Value::as_str).collect::<Vec<_>>(), " ").into()
            }
            Ok(_) => Cell::styled("none", FAINT),
            Err(_) => Cell::styled("unknown", DOUBTFUL),
        };
        table.pair(name, cell);
    }
    table.render()
}

fn schema(caps: &Capabilities) -> Text {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for entry in caps.schema().entries().into_iter().flat_map(Array::iter) {
        let meta_type = entry.get("meta-type").and_then(Value::as_str).unwrap_or("");
        match counts.iter_mut().find(|(known, _)| *known == meta_type) {
            Some((_, count)) => *count += 1,
            None => counts.push((meta_type, 1)),
        }
    }
    counts.sort_unstable();
    let mut table = Table::new(&["META-TYPE", "ENTRIES"]);
    for (meta_type, count) in counts {
        table.row([meta_type.into(), Cell::number(count)]);
    }
    table.render()
}
