//! `gc`: removes entries of emulators that no longer exist, and leftovers.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use capscache::{Escaped, GarbageReport};
use serde_json::{Value, json};

use crate::args;
use crate::output::{self, count};
use crate::session::Session;
use crate::text::Text;

pub(crate) fn run(session: &Session, args: &args::Gc) -> Result<ExitCode> {
    let report = session.cache()?.collect_garbage()?;
    match args.format.document() {
        Some(format) => format.print(&as_json(&report))?,
        None => output::print(&as_text(&report))?,
    }
    for (file, why) in &report.skipped {
        output::warn(format_args!("cannot remove {}: {why}", Escaped::new(file)));
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(report: &GarbageReport) -> Text {
    let mut text = Text::new();
    for emulator in &report.emulators {
        text.line(format_args!("dropped: {}, which is gone", Escaped::new(emulator)));
    }
    for release in &report.releases {
        text.line(format_args!("removed: {}, of an older release", Escaped::new(release)));
    }
    let numbers = [
        (report.damaged, "damaged entry", "damaged entries"),
        (report.failures, "expired failure", "expired failures"),
        (report.temporaries, "leftover file of a writer", "leftover files of writers"),
        (
            report.scratch_directories,
            "leftover directory of a probe",
            "leftover directories of probes",
        ),
    ];
    for (number, one, several) in numbers {
        if number > 0 {
            text.line(format_args!("removed: {}", count(number, one, several)));
        }
    }
    if text.is_blank() {
        text.line("nothing to remove");
    }
    text
}

fn as_json(report: &GarbageReport) -> Value {
    let paths =
        |paths: &[PathBuf]| paths.iter().map(|path| path.to_string_lossy()).collect::<Value>();
    let skipped = report.skipped.iter();
    let skipped = skipped.map(|(file, why)| json!({"file": file.to_string_lossy(), "reason": why}));
    json!({
        "emulators": paths(&report.emulators),
        "releases": paths(&report.releases),
        "damaged": report.damaged,
        "failures": report.failures,
        "temporaries": report.temporaries,
        "scratch-directories": report.scratch_directories,
        "skipped": skipped.collect::<Value>(),
    })
}
