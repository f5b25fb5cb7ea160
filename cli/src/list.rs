//! `list`: what is in the cache.

use std::process::ExitCode;

use anyhow::Result;
use capscache::Escaped;
use serde_json::{Value, json};

use crate::args;
use crate::interface::{Entry, State, Version};
use crate::output;
use crate::session::Session;
use crate::status;
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, Table, size};

pub(crate) fn run(session: &Session, args: &args::List) -> Result<ExitCode> {
    let source = session.source()?;
    let entries = source.entries()?;
    if args.json {
        output::print_json_pretty(&entries.iter().map(as_json).collect::<Vec<_>>())?;
    } else if entries.is_empty() {
        let root = Escaped::new(source.root());
        output::warn(format_args!("nothing is cached in {root}; `capscache warm --all` asks"));
    } else {
        let heading = ["EMULATOR", "VERSION", "ARCH", "ACCELERATORS", "GROUPS", "SIZE", "STATE"];
        let mut table = Table::new(&heading);
        for entry in &entries {
            table.row(row(entry));
        }
        output::print(&table.render())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &Entry) -> [Cell; 7] {
    let state = entry.state.name();
    let state = match (entry.state, &entry.reason) {
        (State::Valid, _) => Cell::styled(state, GOOD),
        (State::Stale, _) => Cell::styled(state, DOUBTFUL),
        (_, Some(why)) => Cell::styled(format!("{state}: {}", why.found), BAD),
        (_, None) => Cell::styled(state, BAD),
    };
    let text = |text: &Option<String>| Cell::from(text.clone().unwrap_or_default());
    let version = |v: &Version| format!("{}.{}.{}", v.major, v.minor, v.micro);
    let version = entry.version.as_ref().map(version);
    [
        entry.emulator.clone().unwrap_or_else(|| entry.file.clone()).into(),
        text(&version),
        text(&entry.arch),
        entry.accelerators.join(" ").into(),
        entry.groups.join(" ").into(),
        entry.size.map_or_else(Cell::default, |bytes| Cell::number(size(bytes))),
        state,
    ]
}

fn as_json(entry: &Entry) -> Value {
    let state = entry.state.name();
    if entry.emulator.is_none() {
        let reason = entry.reason.as_ref().map(|why| &why.found);
        return json!({"file": entry.file, "state": state, "reason": reason});
    }
    json!({
        "emulator": entry.emulator,
        "executable": entry.executable,
        "version": entry.version,
        "package": entry.package,
        "arch": entry.arch,
        "accelerators": entry.accelerators,
        "groups": entry.groups,
        "size": entry.size,
        "file": entry.file,
        "state": state,
        "reason": entry.reason.as_ref().map(status::as_json),
    })
}
