//! The teardown of a guest's memory in another process.

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;

/// Adds the teardown.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let features = cx.domain.child("features");
    let Some(view) = features.and_then(|features| features.child("async-teardown")) else {
        return Ok(());
    };
    let is_enabled = view.yes_no("@enabled")?.unwrap_or(true);
    if cx.has_flag("run-with.async-teardown") {
        let state = if is_enabled { "on" } else { "off" };
        args.option("-run-with", format_args!("async-teardown={state}"));
    } else if is_enabled {
        return Err(view.lacks("", "the option run-with"));
    }
    Ok(())
}
