//! `verify`: is what lies in the cache what was written?

use std::process::ExitCode;

use anyhow::{Result, bail};
use capscache::Escaped;
use capscache_service::text::unusable;

use crate::args;
use crate::output;
use crate::session::{Session, locate};
use crate::text::Text;

pub(crate) fn run(session: &Session, args: &args::Verify) -> Result<ExitCode> {
    let cache = session.cache()?;
    let (mut good, mut bad) = (0, Vec::new());
    if args.emulators.is_empty() {
        (good, bad) = cache.verify_all()?;
    }
    for emulator in args.emulators.iter().map(|named| locate(named)) {
        match cache.verify(&emulator) {
            Ok(true) => good += 1,
            Ok(false) => bail!("{} has no entry; see `capscache list`", Escaped::new(&emulator)),
            Err(error) => bad.push(error),
        }
    }
    let mut text = Text::new();
    for error in &bad {
        let (file, why) = unusable(error);
        text.line(format_args!("damaged: {}: {why}", Escaped::new(file)));
    }
    let bad = bad.len();
    let entries = output::count(good + bad, "entry", "entries");
    text.line(format_args!("{entries}: {good} good, {bad} damaged"));
    output::print(&text)?;
    if bad == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    session.tell(format_args!("damaged entries are made anew by `capscache warm`"));
    Ok(ExitCode::from(output::NO))
}
