//! An overview of an emulator.

use std::fmt::Write;

use capscache::format::{FactKind, Value};
use capscache::{Accelerator, Capabilities, Escaped, Group, Tri};

use crate::output::count;
use crate::session::join;
use crate::table::{Cell, DOUBTFUL, FAINT, GOOD, HEADING, Table, size};
use crate::text::Text;

pub(super) fn render(caps: &Capabilities) -> Text {
    let mut table = Table::of_pairs();
    files(caps, &mut table);
    accelerators(caps, &mut table);
    numbers(caps, &mut table);
    entry(caps, &mut table);
    let emulator = caps.emulator();
    let mut text = Text::new();
    text.styled(HEADING, Escaped::new(&emulator));
    text.end();
    text.append(&table.render());
    text
}

fn files(caps: &Capabilities, table: &mut Table) {
    table.pair("executable", Escaped::new(&caps.executable()).to_string());
    let version = match caps.package() {
        "" => caps.version().to_string(),
        package => format!("{} ({})", caps.version(), without_parentheses(package)),
    };
    table.pair("version", version);
    table.pair("architecture", caps.arch());
}

/// Removes the parentheses that distributors put around the package's name.
fn without_parentheses(package: &str) -> &str {
    let inner = package.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    inner.unwrap_or(package)
}

fn accelerators(caps: &Capabilities, table: &mut Table) {
    let ran = join(&caps.accelerators().collect::<Vec<_>>(), ", ");
    let built_in = join(&caps.accelerators_present(), ", ");
    table.pair("accelerators", format!("{ran} (built in: {built_in})"));
    for reason in missing_reasons(caps) {
        table.pair("", Cell::styled(reason, DOUBTFUL));
    }
    let Ok(best) = caps.best() else { return };
    if let Ok(machine) = best.default_machine() {
        let alias = machine.alias().map(|alias| format!(" ({alias})")).unwrap_or_default();
        let cpus = machine.max_cpus().map(|max| format!(", up to {}", count_cpus(max)));
        let cpus = cpus.unwrap_or_default();
        table.pair("default machine", format!("{}{alias}{cpus}", machine.name()));
    }
    for accelerator in caps.accelerators() {
        let Ok(answers) = caps.accelerator(accelerator) else { continue };
        let machines = answers.machines().count();
        let mut known = 0;
        let mut usable = 0;
        let mut is_reported = false;
        for model in answers.cpu_models() {
            known += 1;
            usable += usize::from(model.usable().is_yes());
            is_reported |= model.usable() != Tri::Unknown;
        }
        let models = match answers.answer(FactKind::CpuDefinitions) {
            Ok(_) => count(known, "CPU model", "CPU models"),
            Err(_) => "CPU models unknown".to_owned(),
        };
        let usable = if is_reported { format!(", {usable} usable here") } else { String::new() };
        let machines = count(machines, "machine", "machines");
        table.pair(&format!("under {accelerator}"), format!("{machines}; {models}{usable}"));
    }
    if let Some(model) = host_cpu(caps) {
        table.pair("host CPU", model);
    }
    for (kind, name) in
        [(FactKind::Sev, "SEV"), (FactKind::Sgx, "SGX"), (FactKind::Gic, "GIC versions")]
    {
        let answered = |accelerator| caps.accelerator(accelerator).ok()?.answer(kind).ok();
        let Some(value) = caps.accelerators().find_map(answered) else { continue };
        let cell = match (kind, value.as_array()) {
            (FactKind::Gic, Some(versions)) => {
                let version = |one: Value<'_>| one.get("version")?.as_u64();
                Cell::from(join(&versions.iter().filter_map(version).collect::<Vec<_>>(), ", "))
            }
            _ => Cell::styled("available", GOOD),
        };
        table.pair(name, cell);
    }
}

/// Returns the reasons why accelerators that are built in did not run, and why other answers are missing.
fn missing_reasons(caps: &Capabilities) -> Vec<String> {
    let present = caps.accelerators_present();
    let built_in = Accelerator::ALL.iter().filter(|accelerator| {
        **accelerator != Accelerator::Qtest && present.contains(&accelerator.name())
    });
    let mut reasons: Vec<String> =
        built_in.filter_map(|accelerator| caps.explain_accelerator(*accelerator)).collect();
    for missing in caps.missing() {
        if !reasons.contains(&missing) {
            reasons.push(missing);
        }
    }
    reasons
}

fn count_cpus(max: u64) -> String {
    if max == 1 { "1 CPU".to_owned() } else { format!("{max} CPUs") }
}

/// Returns QEMU's name of the host's CPU, from an accelerator that uses it.
fn host_cpu(caps: &Capabilities) -> Option<String> {
    let accelerator = caps.accelerators().find(|accelerator| accelerator.needs_host())?;
    let answers = caps.accelerator(accelerator).ok()?;
    let model_id = |(_, answer): (Value<'_>, Value<'_>)| {
        let model = answer.get("model")?;
        let props = model.get("props")?;
        Some(props.get("model-id")?.as_str()?.trim().to_owned())
    };
    answers.host_cpu().find_map(model_id)
}

fn numbers(caps: &Capabilities, table: &mut Table) {
    let length =
        |kind| caps.core(kind).ok().and_then(Value::as_array).map(capscache::format::Array::len);
    let mut line = |name: &str, number: Option<usize>, group: Option<Group>| {
        let Some(number) = number else { return };
        let mut text = format!("{number}");
        if let Some(group) = group {
            let filled = caps.groups().contains(group);
            text.push_str(if filled { ", with properties" } else { "; properties not probed yet" });
        }
        table.pair(name, text);
    };
    line("devices", length(FactKind::DeviceTypes), Some(Group::Devices));
    line("objects", length(FactKind::ObjectTypes), Some(Group::Objects));
    line("types", length(FactKind::Types), None);
    line("QMP commands", Some(caps.commands().len()), None);
    line("QMP events", Some(caps.schema().names("event").count()), None);
    line("options", length(FactKind::CommandLineOptions), None);
    line("migration", length(FactKind::MigrationCapabilities), None);
}

fn entry(caps: &Capabilities, table: &mut Table) {
    let report = caps.report().unwrap_or_default();
    let mut passes = Vec::new();
    for pass in &report.passes {
        let (Some(group), Some(accelerator)) = (pass.source.group(), pass.source.accelerator())
        else {
            continue;
        };
        let name = format!("{group} {accelerator}");
        if pass.failure.is_none() && !passes.iter().any(|(known, _)| *known == name) {
            passes.push((name, pass.micros));
        }
    }
    let mut text = String::new();
    for (at, (name, micros)) in passes.iter().enumerate() {
        let between = if at == 0 { "" } else { ", " };
        let milliseconds = micros / 1000;
        let _ = write!(text, "{between}{milliseconds} ms ({name})");
    }
    table.pair("probed in", text);
    let (refused, quarantined) = (report.refused.len(), report.quarantined.len());
    if refused + quarantined > 0 {
        let queries = count(refused, "query", "queries");
        let text = match quarantined {
            0 => format!("{queries} refused"),
            _ => format!("{queries} refused, {quarantined} in quarantine"),
        };
        let style = if quarantined > 0 { DOUBTFUL } else { FAINT };
        table.pair("left out", Cell::styled(text, style));
    }
    let groups = join(&caps.groups().iter().collect::<Vec<_>>(), ", ");
    table.pair("entry", format!("{}: {groups}", size(caps.bytes().len())));
}
