//! `diff`: the differences between the capabilities of two emulators.

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::Result;
use capscache::format::{FactKind, NameList, Unanswered, Value};
use capscache::{Accelerator, Capabilities, Escaped, Group, Groups, Tri};
use serde_json::{Map, json};

use crate::args;
use crate::names::{self, machines};
use crate::output;
use crate::session::{Session, locate};
use crate::table::{BAD, DOUBTFUL, FAINT, GOOD, HEADING, natural_key};
use crate::text::Text;

/// One category of names on each side; `None` if the side does not report it.
struct Category {
    name: String,
    a: Option<Side>,
    b: Option<Side>,
}

/// The names of a category on one side.
#[derive(Default)]
struct Side {
    names: Vec<String>,
    /// Names that the side may have or not: it does not report them.
    unknown: Vec<String>,
}

impl From<Vec<String>> for Side {
    fn from(names: Vec<String>) -> Side {
        Side { names, unknown: Vec::new() }
    }
}

/// Names that only one of two sides has, and names that one has where the other does not report them.
struct Difference {
    name: String,
    only_a: Vec<String>,
    only_b: Vec<String>,
    unknown_a: Vec<String>,
    unknown_b: Vec<String>,
}

impl Difference {
    fn between(name: String, a: &Side, b: &Side) -> Difference {
        Difference {
            name,
            only_a: minus(&minus(&a.names, &b.names), &b.unknown),
            only_b: minus(&minus(&b.names, &a.names), &a.unknown),
            unknown_a: both(&b.names, &a.unknown),
            unknown_b: both(&a.names, &b.unknown),
        }
    }

    fn is_empty(&self) -> bool {
        [&self.only_a, &self.only_b, &self.unknown_a, &self.unknown_b]
            .iter()
            .all(|all| all.is_empty())
    }
}

pub(crate) fn run(session: &Session, args: &args::Diff) -> Result<ExitCode> {
    let source = session.source()?;
    let answers = |named| session.answers(&source, &locate(named), Groups::CORE, args.probing);
    let (a, b) = (answers(&args.a)?, answers(&args.b)?);
    let mut differences = Vec::new();
    let mut unknown = Vec::new();
    for Category { name, a, b } in categories(&a, &b) {
        match (a, b) {
            (Some(a), Some(b)) => differences.push(Difference::between(name, &a, &b)),
            (None, None) => unknown.push((name, "both")),
            (None, _) => unknown.push((name, "A")),
            (_, None) => unknown.push((name, "B")),
        }
    }
    differences.retain(|found| !found.is_empty());
    if let Some(format) = args.format.document() {
        format.print(&as_json(&a, &b, &differences, &unknown))?;
    } else {
        output::print(&as_text(&a, &b, &differences, &unknown))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn categories(a: &Capabilities, b: &Capabilities) -> Vec<Category> {
    let mut categories = Vec::new();
    let mut add = |name: &str, side: &dyn Fn(&Capabilities) -> Option<Side>| {
        categories.push(Category { name: name.to_owned(), a: side(a), b: side(b) });
    };
    add("accelerators", &|caps| Some(accelerators(caps)));
    add("machines", &|caps| Some(machines(caps)?.into()));
    add("cpu-models", &|caps| Some(names::cpu_models(caps)?.into()));
    // An accelerator that one of them lacks is reported in the accelerators.
    let may_run = |caps: &Capabilities, accelerator| {
        !matches!(caps.accelerator(accelerator), Err(Unanswered::Absent { .. }))
    };
    for accelerator in Accelerator::ALL {
        if ![a, b].iter().all(|caps| may_run(caps, *accelerator)) {
            continue;
        }
        add(&format!("usable-cpu-models@{accelerator}"), &|caps| usable(caps, *accelerator));
    }
    for (name, list) in [
        ("devices", NameList::Devices),
        ("objects", NameList::Objects),
        ("types", NameList::Types),
        ("commands", NameList::Commands),
        ("events", NameList::Events),
    ] {
        add(name, &|caps| Some(names::of(caps, &list)?.into()));
    }
    add("command-line-options", &|caps| Some(options(caps)?.into()));
    add("migration-capabilities", &|caps| Some(migration_capabilities(caps)?.into()));
    // Properties are only compared of devices and objects that both have.
    for (name, group, list) in [
        ("device-properties", Group::Devices, NameList::Devices),
        ("object-properties", Group::Objects, NameList::Objects),
    ] {
        let filled = [a, b].iter().all(|caps| caps.groups().contains(group));
        let both = if filled { names::of(a, &list) } else { None };
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
                Some(properties.into())
            };
            categories.push(Category { name: name.to_owned(), a: properties(a), b: properties(b) });
        }
    }
    categories
}

fn lists(caps: &Capabilities, group: Group, name: &str) -> Option<Vec<String>> {
    let list = if group == Group::Devices { caps.device(name) } else { caps.object(name) };
    Some(list.ok()?.iter().map(|property| property.name().to_owned()).collect())
}

fn migration_capabilities(caps: &Capabilities) -> Option<Vec<String>> {
    let list = caps.core(FactKind::MigrationCapabilities).ok()?.as_array()?;
    let name = |one: Value<'_>| Some(one.get("capability")?.as_str()?.to_owned());
    Some(list.iter().filter_map(name).collect())
}

/// Returns the accelerators that the emulator ran under; those that failed are unknown.
fn accelerators(caps: &Capabilities) -> Side {
    let failed = |accelerator: &&Accelerator| {
        matches!(caps.accelerator(**accelerator), Err(Unanswered::DidNotRun { .. }))
    };
    Side {
        names: caps.accelerators().map(|accelerator| accelerator.to_string()).collect(),
        unknown: Accelerator::ALL.iter().filter(failed).map(Accelerator::to_string).collect(),
    }
}

/// Returns the CPU models that run on this host.
fn usable(caps: &Capabilities, accelerator: Accelerator) -> Option<Side> {
    let accelerated = caps.accelerator(accelerator).ok()?;
    let with = |usable: Tri| {
        let models = accelerated.cpu_models().filter(move |model| model.usable() == usable);
        models.map(|model| model.name().to_owned()).collect()
    };
    let (names, unknown): (Vec<String>, Vec<String>) = (with(Tri::Yes), with(Tri::Unknown));
    if names.is_empty() && unknown.len() == accelerated.cpu_models().count() {
        return None;
    }
    Some(Side { names, unknown })
}

/// Returns the groups of command-line options, and their parameters as `GROUP.PARAMETER`.
fn options(caps: &Capabilities) -> Option<Vec<String>> {
    caps.core(FactKind::CommandLineOptions).ok()?;
    let mut names = Vec::new();
    for option in caps.command_line_options() {
        names.push(option.name().to_owned());
        names.extend(option.parameters().map(|one| format!("{}.{}", option.name(), one.name())));
    }
    Some(names)
}

/// Returns the names in `these` that are not in `those`, in the order of `these`.
fn minus(these: &[String], those: &[String]) -> Vec<String> {
    let those: HashSet<&String> = those.iter().collect();
    these.iter().filter(|name| !those.contains(name)).cloned().collect()
}

/// Returns the names in both, in the order of `these`.
fn both(these: &[String], those: &[String]) -> Vec<String> {
    let those: HashSet<&String> = those.iter().collect();
    these.iter().filter(|name| those.contains(name)).cloned().collect()
}

fn as_text(
    a: &Capabilities,
    b: &Capabilities,
    differences: &[Difference],
    unknown: &[(String, &str)],
) -> Text {
    let mut text = Text::new();
    for (sign, style, caps) in [("-", BAD, a), ("+", GOOD, b)] {
        let emulator = caps.emulator();
        text.styled(style, format_args!("{sign}{sign}{sign} {}", Escaped::new(&emulator)));
        text.line(format_args!("  {}  {}", caps.version(), caps.arch()));
    }
    for found in differences {
        text.end();
        text.styled(HEADING, &found.name);
        text.add(format_args!("  -{} +{}", found.only_a.len(), found.only_b.len()));
        let unknown = found.unknown_a.len() + found.unknown_b.len();
        text.line(if unknown > 0 { format!(" ?{unknown}") } else { String::new() });
        for (sign, style, names, note) in [
            ("-", BAD, &found.only_a, ""),
            ("+", GOOD, &found.only_b, ""),
            ("?", DOUBTFUL, &found.unknown_a, ": only B has it for certain, unknown for A"),
            ("?", DOUBTFUL, &found.unknown_b, ": only A has it for certain, unknown for B"),
        ] {
            let mut names: Vec<_> = names.iter().collect();
            names.sort_by_cached_key(|name| natural_key(name));
            for name in names {
                // QEMU has had an option without a name.
                let name = if name.is_empty() { "(unnamed)" } else { name };
                text.styled(style, format_args!("{sign} {name}{note}"));
                text.end();
            }
        }
    }
    if differences.is_empty() {
        text.end();
        text.line("no differences");
    }
    if !unknown.is_empty() {
        text.end();
    }
    for (name, side) in unknown {
        text.styled(DOUBTFUL, format_args!("? {name}: unknown for {side}"));
        text.end();
    }
    for (side, caps) in [("A", a), ("B", b)] {
        for reason in caps.missing() {
            text.styled(FAINT, format_args!("{side}: {reason}"));
            text.end();
        }
    }
    let lacking: Vec<_> =
        [a, b].into_iter().filter(|caps| !caps.groups().contains(Group::Devices)).collect();
    if !lacking.is_empty() {
        let path = |caps: &&Capabilities| Escaped::new(&caps.emulator()).to_string();
        let paths: Vec<String> = lacking.iter().map(path).collect();
        let hint = format!("`capscache warm --full {}` adds them", paths.join(" "));
        text.end();
        text.styled(FAINT, format_args!("properties were not compared: {hint}"));
        text.end();
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
            let mut lists = json!({"only-a": found.only_a, "only-b": found.only_b});
            for (key, names) in [("unknown-a", &found.unknown_a), ("unknown-b", &found.unknown_b)] {
                if !names.is_empty() {
                    lists[key] = json!(names);
                }
            }
            (found.name.clone(), lists)
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
