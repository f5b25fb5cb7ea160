//! `invalidate`: drops entries.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use capscache::Escaped;
use serde_json::json;

use crate::args;
use crate::output;
use crate::session::{Session, locate};
use crate::source::Source;
use crate::text::Text;

pub(crate) fn run(session: &Session, args: &args::Invalidate) -> Result<ExitCode> {
    let source = session.source()?;
    let mut text = Text::new();
    let (mut number, mut missing) = (0, Vec::new());
    if args.all {
        number = invalidate_all(&source)?;
        text.line(format_args!("dropped {}", output::count(number, "entry", "entries")));
    }
    let emulators = args.emulators.iter().map(|named| std::path::absolute(locate(named)));
    let emulators = emulators.collect::<Result<Vec<_>, _>>()?;
    let mut dropped = HashSet::new();
    if !emulators.is_empty() {
        dropped.extend(source.invalidate(&emulators)?);
        number = dropped.len();
    }
    for emulator in emulators {
        let name = Escaped::new(&emulator);
        if dropped.remove(&emulator) {
            text.line(format_args!("{name}: dropped"));
        } else {
            text.line(format_args!("{name}: there was no entry"));
            missing.push(emulator.to_string_lossy().into_owned());
        }
    }
    match args.format.document() {
        Some(format) => format.print(&json!({"dropped": number, "missing": missing}))?,
        None => output::print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Drops every entry; returns their number.
fn invalidate_all(source: &Source) -> Result<usize> {
    if let Source::Root(cache) = source {
        return Ok(cache.invalidate_all()?);
    }
    let entries = source.entries()?.into_iter().filter_map(|entry| entry.summary);
    let emulators: Vec<_> = entries.map(|summary| PathBuf::from(summary.emulator)).collect();
    Ok(source.invalidate(&emulators)?.len())
}
