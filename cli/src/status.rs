//! `status`: the state of an entry, and why it is not valid.

use std::process::ExitCode;

use anyhow::Result;
use capscache::{Escaped, Status};

use crate::args;
use crate::entries;
use crate::output;
use crate::session::{Session, check_exists, locate};
use crate::text::Text;

pub(crate) fn run(session: &Session, args: &args::Status) -> Result<ExitCode> {
    let source = session.source()?;
    let emulator = std::path::absolute(locate(&args.emulator))?;
    let status = source.status(&emulator, args.thorough)?;
    let code = match status {
        Status::Valid => 0,
        Status::Missing => {
            check_exists(&emulator)?;
            output::UNKNOWN
        }
        _ => output::NO,
    };
    if let Some(format) = args.format.document() {
        format.print(&entries::state(&emulator, &status))?;
    } else {
        let (name, state) = (Escaped::new(&emulator).to_string(), status.name());
        let mut text = Text::new();
        text.line(format_args!("{name}: {state}{}", detail(&status, &name)));
        output::print(&text)?;
    }
    Ok(ExitCode::from(code))
}

/// Returns the text that follows the state on its line.
fn detail(status: &Status, name: &str) -> String {
    match status {
        Status::Missing => format!(": there is no entry; run `capscache warm {name}` to create it"),
        Status::Failed { reason, age, retry_in } => {
            let (age, retry_in) = (age.as_secs(), retry_in.as_secs());
            format!(
                ": {reason} ({age} s ago; retry in {retry_in} s); run `capscache warm {name}` \
                 to retry now"
            )
        }
        Status::Stale { input, path, recorded, found } => {
            let between = if path.as_os_str().is_empty() { "" } else { " " };
            let path = Escaped::new(path);
            format!(": the {input}{between}{path} changed: recorded {recorded}, found {found}")
        }
        Status::Damaged { path, found } | Status::Unreadable { path, found } => {
            let path = Escaped::new(path);
            format!(": {path}: {found}; run `capscache warm {name}` to replace it")
        }
        _ => String::new(),
    }
}
