//! `verify`: is what lies in the cache what was written?

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use capscache::Error;

use crate::args;
use crate::output;
use crate::session::{Session, locate};

pub(crate) fn run(session: &Session, args: &args::Verify) -> Result<ExitCode> {
    let cache = session.cache()?;
    let mut good = 0;
    let mut bad = Vec::new();
    if args.emulators.is_empty() {
        for listed in cache.list()? {
            match listed {
                Ok(known) => match known.capabilities.verify() {
                    Ok(()) => good += 1,
                    Err(why) => bad.push((known.capabilities.emulator(), output::chain(&why))),
                },
                Err(Error::Format { path, source }) => bad.push((path, output::chain(&source))),
                Err(error) => return Err(error.into()),
            }
        }
    }
    for emulator in args.emulators.iter().map(|named| locate(named)) {
        match cache.verify(&emulator) {
            Ok(true) => good += 1,
            Ok(false) => bail!("{} has no entry; see `capscache list`", emulator.display()),
            Err(Error::Format { source, .. }) => bad.push((emulator, output::chain(&source))),
            Err(error) => return Err(error.into()),
        }
    }
    let mut text = String::new();
    for (name, why) in &bad {
        let _ = writeln!(text, "damaged: {}: {why}", name.display());
    }
    let bad = bad.len();
    let entries = output::count(good + bad, "entry", "entries");
    let _ = writeln!(text, "{entries}: {good} good, {bad} damaged");
    output::print(&text)?;
    if bad == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    session.tell(format_args!("damaged entries are made anew by `capscache warm`"));
    Ok(ExitCode::from(output::NO))
}
