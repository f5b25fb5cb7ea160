//! The memory of a guest, which processes of the host that serve its devices share.

use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// Checks that a device whose memory another process reads and writes can share it.
pub(in crate::command) fn require_shared(cx: &Context<'_>, view: View<'_>) -> Result<(), Error> {
    let access = cx.domain.peek("memoryBacking/access@mode");
    let cells = cx.domain.elements().filter(|child| child.name() == "cpu");
    let cells = cells.flat_map(View::elements).filter(|child| child.name() == "numa");
    let mut cells = cells.flat_map(View::elements).peekable();
    let is_shared = match cells.peek() {
        None => access == Some("shared"),
        Some(_) => cells.all(|cell| cell.peek("@memAccess").or(access) == Some("shared")),
    };
    match is_shared {
        true => Ok(()),
        false => Err(view.invalid(
            "",
            "it needs shared memory; add <memoryBacking> with <access mode='shared'/>",
        )),
    }
}
