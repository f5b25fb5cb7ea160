//! `status`: is an entry valid, and if not, why?

use std::process::ExitCode;

use anyhow::Result;
use capscache::Escaped;
use serde_json::{Value, json};

use crate::args;
use crate::interface::{Reason, State, Status};
use crate::output;
use crate::session::{Session, exists, locate};
use crate::text::Text;

pub(crate) fn run(session: &Session, args: &args::Status) -> Result<ExitCode> {
    let source = session.source()?;
    let emulator = std::path::absolute(locate(&args.emulator))?;
    let status = source.status(&emulator, args.thorough)?;
    let name = Escaped::new(&emulator).to_string();
    let state = status.state;
    let code = match state {
        State::Valid => 0,
        State::Missing => {
            exists(&emulator)?;
            output::UNKNOWN
        }
        _ => output::NO,
    };
    if args.json {
        let reason = status.reason.as_ref().map(as_json);
        let status = json!({"emulator": emulator.to_string_lossy(), "state": state.name(), "reason": reason});
        output::print_json_pretty(&status)?;
    } else {
        let mut text = Text::new();
        text.line(format_args!("{name}: {}{}", state.name(), detail(&status, &name)));
        output::print(&text)?;
    }
    Ok(ExitCode::from(code))
}

/// What follows the state on its line.
fn detail(status: &Status, name: &str) -> String {
    let reason = status.reason.clone().unwrap_or_default();
    let found = reason.found;
    let path = reason.path.unwrap_or_default();
    match status.state {
        State::Valid => String::new(),
        State::Missing => format!(": nothing is known yet; `capscache warm {name}` asks"),
        State::Failed => {
            let age = reason.age.unwrap_or(0);
            let retry_in = reason.retry_in.unwrap_or(0).max(1);
            format!(
                ": {found} ({age} s ago; tried again in {retry_in} s); `capscache warm {name}` tries \
                 at once"
            )
        }
        State::Stale => {
            let input = reason.input.unwrap_or_default();
            let between = if path.is_empty() { "" } else { " " };
            let recorded = reason.recorded.unwrap_or_default();
            format!(": the {input}{between}{path} changed: recorded {recorded}, found {found}")
        }
        State::Damaged | State::Unreadable => {
            format!(": {path}: {found}; `capscache warm` makes it anew")
        }
    }
}

/// Why an entry is not valid.
pub(crate) fn as_json(why: &Reason) -> Value {
    match &why.retry_in {
        Some(retry_in) => json!({"reason": why.found, "age": why.age, "retry-in": retry_in}),
        None => json!({
            "input": why.input,
            "path": why.path,
            "recorded": why.recorded,
            "found": why.found,
        }),
    }
}
