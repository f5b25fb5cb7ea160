//! OpenGL of graphical consoles.

use capscache_domain::{GraphicsType, Kind};

use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// Returns whether the guest has a console that renders without showing anything.
pub(super) fn has_egl(cx: &Context<'_>) -> bool {
    let word = GraphicsType::EglHeadless.as_str();
    cx.of(Kind::Graphics).any(|device| device.view.peek("@type") == Some(word))
}

/// Returns the GPU of the host that renders for a console which names none.
pub(super) fn own_render_node(cx: &Context<'_>, view: View<'_>) -> Result<String, Error> {
    match &cx.host.render_node {
        Some(path) => Ok(path.to_string_lossy().into_owned()),
        None => Err(view.unsupported("gl", "the host has no GPU that renders; name one")),
    }
}
