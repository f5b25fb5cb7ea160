//! `list`: what is in the cache.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use capscache::{Accelerator, Error, Group, Listed};
use serde_json::{Value, json};

use crate::args;
use crate::output;
use crate::session::{Session, join};
use crate::status::reason;
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, Table, size};

pub(crate) fn run(session: &Session, args: &args::List) -> Result<ExitCode> {
    let cache = session.cache()?;
    let listed = cache.list()?;
    if args.json {
        output::print_json_pretty(&listed.iter().map(as_json).collect::<Vec<_>>())?;
    } else if listed.is_empty() {
        let root = cache.root().display();
        output::warn(format_args!("nothing is cached in {root}; `capscache warm --all` asks"));
    } else {
        let heading = ["EMULATOR", "VERSION", "ARCH", "ACCELERATORS", "GROUPS", "SIZE", "STATE"];
        let mut table = Table::new(&heading);
        for entry in &listed {
            table.row(row(entry));
        }
        output::print_styled(&table.render())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &Result<Listed, Error>) -> [Cell; 7] {
    let known = match entry {
        Ok(known) => known,
        Err(error) => {
            let blank = Cell::default;
            let (file, state) = match error {
                Error::Format { path, source } => {
                    (path.as_path(), format!("damaged: {}", output::chain(source)))
                }
                Error::Entry { path, source, .. } => {
                    (path.as_path(), format!("unreadable: {}", output::chain(source)))
                }
                error => (Path::new(""), output::chain(error)),
            };
            let file = file.to_string_lossy().into_owned();
            let state = Cell::styled(state, BAD);
            return [file.into(), blank(), blank(), blank(), blank(), blank(), state];
        }
    };
    let caps = &known.capabilities;
    [
        caps.emulator().to_string_lossy().into_owned().into(),
        caps.version().to_string().into(),
        caps.arch().into(),
        join(&caps.accelerators().collect::<Vec<_>>(), " ").into(),
        join(&caps.groups().iter().collect::<Vec<_>>(), " ").into(),
        Cell::number(size(caps.bytes().len())),
        match &known.stale {
            None => Cell::styled("valid", GOOD),
            Some(_) => Cell::styled("stale", DOUBTFUL),
        },
    ]
}

fn as_json(entry: &Result<Listed, Error>) -> Value {
    let known = match entry {
        Ok(known) => known,
        Err(error) => {
            let file = match error {
                Error::Format { path, .. } | Error::Entry { path, .. } => path.to_string_lossy(),
                _ => "".into(),
            };
            let state = if error.is_damage() { "damaged" } else { "unreadable" };
            return json!({"file": file, "state": state, "reason": output::chain(error)});
        }
    };
    let caps = &known.capabilities;
    let version = caps.version();
    json!({
        "emulator": caps.emulator().to_string_lossy(),
        "executable": caps.executable().to_string_lossy(),
        "version": {"major": version.major, "minor": version.minor, "micro": version.micro},
        "package": caps.package(),
        "arch": caps.arch(),
        "accelerators": caps.accelerators().map(Accelerator::name).collect::<Vec<_>>(),
        "groups": caps.groups().iter().map(Group::name).collect::<Vec<_>>(),
        "size": caps.bytes().len(),
        "file": known.file.to_string_lossy(),
        "state": if known.stale.is_some() { "stale" } else { "valid" },
        "reason": known.stale.as_ref().map(reason),
    })
}
