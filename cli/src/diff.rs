//! `diff`: what one emulator can do that another cannot, and the reverse.

use std::collections::HashSet;
use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use capscache::{
    Accelerator, Capabilities, FactKind, Group, Groups, Machine, Tri, Unanswered, Value,
};
use serde_json::{Map, json};

use crate::args;
use crate::output;
use crate::session::{Session, locate};
use crate::table::{BAD, FAINT, GOOD, HEADING, natural_key};

/// One kind of thing, and what each side has of it; `None` if it did not tell.
struct Kind {
    name: String,
    a: Option<Vec<String>>,
    b: Option<Vec<String>>,
}

/// What only one of two has.
struct Difference {
    name: String,
    only_a: Vec<String>,
    only_b: Vec<String>,
}

pub(crate) fn run(session: &Session, args: &args::Diff) -> Result<ExitCode> {
    let source = session.source()?;
    let answers = |named| session.answers(&source, &locate(named), Groups::CORE, args.probing);
    let (a, b) = (answers(&args.a)?, answers(&args.b)?);
    let mut differences = Vec::new();
    let mut unknown = Vec::new();
    for Kind { name, a, b } in kinds(&a, &b) {
        match (a, b) {
            (Some(a), Some(b)) => {
                let (only_a, only_b) = (minus(&a, &b), minus(&b, &a));
                differences.push(Difference { name, only_a, only_b });
            }
            (None, None) => {}
            (a, _) => unknown.push((name, if a.is_none() { "A" } else { "B" })),
        }
    }
    differences.retain(|found| !found.only_a.is_empty() || !found.only_b.is_empty());
    if args.json {
        output::print_json_pretty(&as_json(&a, &b, &differences, &unknown))?;
    } else {
        output::print_styled(&as_text(&a, &b, &differences, &unknown))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn kinds(a: &Capabilities, b: &Capabilities) -> Vec<Kind> {
    let mut kinds = Vec::new();
    let mut add = |name: &str, names: &dyn Fn(&Capabilities) -> Option<Vec<String>>| {
        kinds.push(Kind { name: name.to_owned(), a: names(a), b: names(b) });
    };
    add("accelerators", &|caps| {
        Some(caps.accelerators().map(|accelerator| accelerator.to_string()).collect())
    });
    add("machines", &machines);
    add("cpu-models", &|caps| best(caps, FactKind::CpuDefinitions));
    // Where one of them cannot run, the accelerators tell.
    let may_run = |caps: &Capabilities, accelerator| {
        !matches!(caps.accelerator(accelerator), Err(Unanswered::Absent { .. }))
    };
    for accelerator in Accelerator::ALL {
        if ![a, b].iter().all(|caps| may_run(caps, *accelerator)) {
            continue;
        }
        add(&format!("usable-cpu-models@{accelerator}"), &|caps| usable(caps, *accelerator));
    }
    add("devices", &|caps| core(caps, FactKind::DeviceTypes, "name"));
    add("objects", &|caps| core(caps, FactKind::ObjectTypes, "name"));
    add("types", &|caps| core(caps, FactKind::Types, "name"));
    add("commands", &|caps| owned(caps.commands().into_iter()));
    add("events", &|caps| owned(caps.schema().names("event")));
    add("command-line-options", &options);
    add("migration-capabilities", &|caps| {
        core(caps, FactKind::MigrationCapabilities, "capability")
    });
    // Only where both have the thing is a property that one of them lacks worth a word.
    for (name, group, kind) in [
        ("device-properties", Group::Devices, FactKind::DeviceTypes),
        ("object-properties", Group::Objects, FactKind::ObjectTypes),
    ] {
        let filled = [a, b].iter().all(|caps| caps.groups().contains(group));
        let both = if filled { core(a, kind, "name") } else { None };
        if let Some(names) = both {
            let names: Vec<_> = names
                .into_iter()
                .filter(|name| lists(a, group, name).is_some() && lists(b, group, name).is_some())
                .collect();
            let properties = |caps: &Capabilities| {
                let mut properties = Vec::new();
                for name in &names {
                    let list = lists(caps, group, name).unwrap_or_default();
                    properties.extend(list.iter().map(|property| format!("{name}.{property}")));
                }
                Some(properties)
            };
            kinds.push(Kind { name: name.to_owned(), a: properties(a), b: properties(b) });
        }
    }
    kinds
}

fn lists(caps: &Capabilities, group: Group, name: &str) -> Option<Vec<String>> {
    let list = if group == Group::Devices { caps.device(name) } else { caps.object(name) };
    Some(list.ok()?.iter().map(|property| property.name().to_owned()).collect())
}

/// The names and aliases of the machine types under the best accelerator.
fn machines(caps: &Capabilities) -> Option<Vec<String>> {
    let best = caps.best().ok()?;
    best.answer(FactKind::Machines).ok()?;
    let names = |machine: Machine<'_>| {
        [Some(machine.name()), machine.alias()].into_iter().flatten().map(str::to_owned).collect()
    };
    Some(best.machines().flat_map::<Vec<String>, _>(names).collect())
}

/// The names that a list under the best accelerator holds.
fn best(caps: &Capabilities, kind: FactKind) -> Option<Vec<String>> {
    names(caps.best().ok()?.answer(kind).ok()?, "name")
}

fn core(caps: &Capabilities, kind: FactKind, key: &str) -> Option<Vec<String>> {
    names(caps.core(kind).ok()?, key)
}

fn names(list: Value<'_>, key: &str) -> Option<Vec<String>> {
    let name = |element: Value<'_>| Some(element.get(key)?.as_str()?.to_owned());
    Some(list.as_array()?.iter().filter_map(name).collect())
}

fn owned<'a>(names: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let names: Vec<String> = names.map(str::to_owned).collect();
    // Every emulator has some; none means that it did not tell.
    (!names.is_empty()).then_some(names)
}

/// The CPU models that run here; those that QEMU does not tell about are in neither list.
fn usable(caps: &Capabilities, accelerator: Accelerator) -> Option<Vec<String>> {
    let accelerated = caps.accelerator(accelerator).ok()?;
    let models: Vec<_> = accelerated.cpu_models().collect();
    if models.iter().all(|model| model.usable() == Tri::Unknown) {
        return None;
    }
    let usable = models.iter().filter(|model| model.usable().is_yes());
    Some(usable.map(|model| model.name().to_owned()).collect())
}

/// The groups of command-line options, and their parameters as `GROUP.PARAMETER`.
fn options(caps: &Capabilities) -> Option<Vec<String>> {
    caps.core(FactKind::CommandLineOptions).ok()?;
    let mut names = Vec::new();
    for option in caps.command_line_options() {
        names.push(option.name().to_owned());
        names.extend(option.parameters().map(|one| format!("{}.{}", option.name(), one.name())));
    }
    Some(names)
}

/// What `these` has and `those` lack, in the order of `these`.
fn minus(these: &[String], those: &[String]) -> Vec<String> {
    let those: HashSet<&String> = those.iter().collect();
    these.iter().filter(|name| !those.contains(name)).cloned().collect()
}

fn as_text(
    a: &Capabilities,
    b: &Capabilities,
    differences: &[Difference],
    unknown: &[(String, &str)],
) -> String {
    let mut text = String::new();
    for (sign, style, caps) in [("-", BAD, a), ("+", GOOD, b)] {
        let (emulator, version, arch) = (caps.emulator(), caps.version(), caps.arch());
        let emulator = emulator.display();
        let _ = writeln!(text, "{style}{sign}{sign}{sign} {emulator}{style:#}  {version}  {arch}");
    }
    for Difference { name, only_a, only_b } in differences {
        let (less, more) = (only_a.len(), only_b.len());
        let _ = writeln!(text, "\n{HEADING}{name}{HEADING:#}  -{less} +{more}");
        for (sign, style, names) in [("-", BAD, only_a), ("+", GOOD, only_b)] {
            let mut names: Vec<_> = names.iter().collect();
            names.sort_by_cached_key(|name| natural_key(name));
            for name in names {
                // QEMU has had an option without a name.
                let name = if name.is_empty() { "(unnamed)" } else { name };
                let _ = writeln!(text, "{style}{sign} {name}{style:#}");
            }
        }
    }
    if differences.is_empty() {
        text.push_str("\nno differences\n");
    }
    if !unknown.is_empty() {
        text.push('\n');
    }
    for (name, side) in unknown {
        let _ = writeln!(text, "{FAINT}{name}: unknown for {side}{FAINT:#}");
    }
    let lacking: Vec<_> =
        [a, b].into_iter().filter(|caps| !caps.groups().contains(Group::Devices)).collect();
    if !lacking.is_empty() {
        let paths: Vec<_> = lacking.iter().map(|c| c.emulator().display().to_string()).collect();
        let hint = format!("`capscache warm --full {}` adds them", paths.join(" "));
        let _ = writeln!(text, "\n{FAINT}properties were not compared: {hint}{FAINT:#}");
    }
    text
}

fn as_json(
    a: &Capabilities,
    b: &Capabilities,
    differences: &[Difference],
    unknown: &[(String, &str)],
) -> serde_json::Value {
    let differences: Map<_, _> = differences
        .iter()
        .map(|found| {
            let Difference { name, only_a, only_b } = found;
            (name.clone(), json!({"only-a": only_a, "only-b": only_b}))
        })
        .collect();
    let unknown: Map<_, _> =
        unknown.iter().map(|(name, side)| (name.clone(), json!(side.to_lowercase()))).collect();
    json!({
        "a": a.emulator().to_string_lossy(),
        "b": b.emulator().to_string_lossy(),
        "differences": differences,
        "unknown": unknown,
    })
}
