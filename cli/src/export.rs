//! `export`: an entry as a whole.

use std::process::ExitCode;

use anyhow::Result;
use capscache::Groups;

use crate::args::{self, Format};
use crate::output;
use crate::session::{Session, locate};

pub(crate) fn run(session: &Session, args: &args::Export) -> Result<ExitCode> {
    let cache = session.cache()?;
    let entry = session.answers(&cache, &locate(&args.emulator), Groups::CORE, args.probing)?;
    match args.format {
        Format::Json => output::print_json(&*entry)?,
    }
    Ok(ExitCode::SUCCESS)
}
