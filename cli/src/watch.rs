//! `watch`: keeps entries fresh, in the foreground.

use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::{Result, bail};
use capscache_watcher::{Event, Options, Watcher};

use crate::args;
use crate::format::DocumentFormat;
use crate::output;
use crate::session::Session;
use crate::text::Text;

pub(crate) fn run(session: &Session, args: args::Watch) -> Result<ExitCode> {
    let cache = session.cache()?;
    let mut options = Options::new().search(args.search).rewarm(args.rewarm);
    if let Some(jobs) = args.jobs {
        options = options.jobs(jobs.into());
    }
    let (sender, events) = mpsc::channel();
    // Sending fails only when this process ends.
    let _watcher = Watcher::start(cache, options, move |event| drop(sender.send(event)))?;
    for event in events {
        print(&event, args.format.document())?;
    }
    bail!("cannot watch any longer: the watcher has ended; please report it")
}

fn print(event: &Event, format: Option<DocumentFormat>) -> Result<()> {
    if let Some(format) = format {
        return output::print_event(&format.event(event)?);
    }
    let mut text = Text::new();
    text.line(event);
    output::print_event(&output::styled(&text))
}
