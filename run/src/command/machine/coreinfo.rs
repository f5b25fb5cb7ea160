//! Information for dumps.

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Adds information for dumps.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let features = cx.domain.child("features");
    let Some(view) = features.and_then(|features| features.child("vmcoreinfo")) else {
        return Ok(());
    };
    if view.switch("@state")? == Some(false) {
        return Ok(());
    }
    cx.require_device(view, "vmcoreinfo")?;
    args.device(&Props::device("vmcoreinfo"));
    Ok(())
}
