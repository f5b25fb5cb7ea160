//! `verify`: checks entries for damage.

use std::process::ExitCode;

use anyhow::{Result, bail};
use capscache::{Escaped, Status};
use serde_json::{Value, json};

use crate::args;
use crate::entries::Entry;
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
            Ok(false) => bail!(
                "cannot verify the entry of {}: there is none; see `capscache list`",
                Escaped::new(&emulator)
            ),
            Err(error) => bad.push(error),
        }
    }
    let bad: Vec<Entry> = bad.into_iter().map(|error| Entry::from(Err(error))).collect();
    match args.format.document() {
        Some(format) => {
            let damaged: Value = bad.iter().map(Entry::as_json).collect();
            format.print(&json!({"good": good, "damaged": damaged}))?;
        }
        None => output::print(&as_text(good, &bad))?,
    }
    if bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    session.log(format_args!("run `capscache warm` to replace damaged entries"));
    Ok(ExitCode::from(output::NO))
}

fn as_text(good: usize, bad: &[Entry]) -> Text {
    let mut text = Text::new();
    for entry in bad {
        if let Status::Damaged { path, found } | Status::Unreadable { path, found } = &entry.status
        {
            text.line(format_args!("damaged: {}: {found}", Escaped::new(path)));
        }
    }
    let bad = bad.len();
    let entries = output::count(good + bad, "entry", "entries");
    text.line(format_args!("{entries}: {good} good, {bad} damaged"));
    text
}
