//! The generation id.

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;
use crate::uuid;

/// Adds the generation id.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let Some(text) = cx.domain.text("genid") else { return Ok(()) };
    if text.is_empty() {
        return Err(cx.domain.unsupported("genid", "write the id: none is generated here"));
    }
    let Some(guid) = uuid::format(text) else {
        return Err(cx.domain.invalid("genid", "it is not a UUID"));
    };
    if !cx.has_device("vmgenid") {
        return Err(cx.domain.lacks("genid", "the device vmgenid"));
    }
    args.device(&Props::device("vmgenid").with("guid", guid).with("id", "vmgenid0"));
    Ok(())
}
