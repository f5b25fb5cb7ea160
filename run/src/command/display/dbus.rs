//! Displays over D-Bus.

use capscache_domain::Kind;

use super::audio;
use super::render::own_render_node;
use crate::command::Setup;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// Adds a display over D-Bus.
pub(super) fn add(cx: &Context<'_>, args: &mut Args, view: View<'_>) -> Result<(), Error> {
    let mut list = List::new("dbus");
    let address = view.text("@address");
    match (view.yes_no("@p2p")? == Some(true), address) {
        (true, None) => list.set_switch("p2p", true),
        (true, Some(_)) => return Err(view.invalid("@address", "a p2p display has no address")),
        (false, Some(address)) => list.set("addr", address),
        (false, None) => {
            let socket = cx.host.bus_socket.clone();
            list.set("addr", format_args!("unix:path={}", socket.display()));
            args.setup(Setup::Bus { socket });
        }
    }
    if view.has("gl") {
        view.require("gl@enable")?;
    }
    let gl = view.yes_no("gl@enable")?;
    if let Some(on) = gl {
        list.set_switch("gl", on);
    }
    match view.text("gl@rendernode") {
        Some(node) => list.set("rendernode", node),
        None if gl == Some(true) => list.set("rendernode", own_render_node(cx, view)?),
        None => {}
    }
    if view.has("audio") {
        let id = audio::of(cx, view)?;
        let is_it =
            |view: View<'_>| view.peek("@id").map(|id| format!("audio{id}")).as_ref() == Some(&id);
        let backend = cx.of(Kind::Audio).find(|device| is_it(device.view));
        if backend.is_some_and(|device| device.view.peek("@type") != Some("dbus")) {
            return Err(view.invalid("audio", "the audio backend must be of type dbus"));
        }
        list.set("audiodev", id);
    }
    args.option("-display", list);
    Ok(())
}
