//! `export`: an entry as a whole.

use std::process::ExitCode;

use anyhow::Result;
use capscache::{Capabilities, Groups};

use crate::args::{self, Format};
use crate::output;
use crate::session::{Session, locate};

pub(crate) fn run(session: &Session, args: &args::Export) -> Result<ExitCode> {
    let source = session.source()?;
    let entry = session.answers(&source, &locate(&args.emulator), Groups::CORE, args.probing)?;
    match args.format {
        Format::Json => output::print_json(&*entry)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An entry as a document.
pub(crate) fn document(entry: &Capabilities, format: Format) -> Result<String> {
    match format {
        Format::Json => Ok(serde_json::to_string(&**entry)?),
    }
}
