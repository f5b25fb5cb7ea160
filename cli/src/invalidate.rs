//! `invalidate`: drops entries.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::args;
use crate::output;
use crate::session::{Session, locate};

pub(crate) fn run(session: &Session, args: &args::Invalidate) -> Result<ExitCode> {
    let cache = session.cache()?;
    let mut text = String::new();
    if args.all {
        let dropped = cache.invalidate_all()?;
        let _ = writeln!(text, "dropped {}", output::count(dropped, "entry", "entries"));
    }
    for emulator in &args.emulators {
        let emulator = locate(emulator);
        let what = if cache.invalidate(&emulator)? { "dropped" } else { "there was no entry" };
        let _ = writeln!(text, "{}: {what}", emulator.display());
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
