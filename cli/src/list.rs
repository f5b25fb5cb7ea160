//! `list`: the entries of the cache.

use std::process::ExitCode;

use anyhow::Result;
use capscache::{Escaped, Status};

use crate::args;
use crate::entries::Entry;
use crate::output;
use crate::session::Session;
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, Table, size};

pub(crate) fn run(session: &Session, args: &args::List) -> Result<ExitCode> {
    let source = session.source()?;
    let entries = source.entries()?;
    if let Some(format) = args.format.document() {
        format.print(&entries.iter().map(Entry::as_json).collect::<Vec<_>>())?;
    } else if entries.is_empty() {
        let root = Escaped::new(source.root());
        output::warn(format_args!(
            "there are no entries in {root}; run `capscache warm --all` to create them"
        ));
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
    let name = entry.status.name();
    let state = match &entry.status {
        Status::Valid => Cell::styled(name, GOOD),
        Status::Stale { .. } => Cell::styled(name, DOUBTFUL),
        Status::Damaged { found, .. } | Status::Unreadable { found, .. } => {
            Cell::styled(format!("{name}: {found}"), BAD)
        }
        _ => Cell::styled(name, BAD),
    };
    let Some(summary) = &entry.summary else {
        let [arch, version, accelerators, groups, size] = std::array::from_fn(|_| Cell::default());
        return [entry.file.clone().into(), version, arch, accelerators, groups, size, state];
    };
    [
        summary.emulator.clone().into(),
        summary.version.to_string().into(),
        summary.arch.clone().into(),
        summary.accelerators.join(" ").into(),
        summary.groups.join(" ").into(),
        Cell::number(size(summary.size)),
        state,
    ]
}
