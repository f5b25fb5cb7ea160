//! VNC.

use super::audio;
use super::listen::{self, Defaults, Listen};
use super::password;
use crate::command::args::Args;
use crate::command::character::tls;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// The port of display 0.
const FIRST_PORT: i32 = 5900;

/// The longest password: VNC ignores what follows.
const MAX_PASSWORD: usize = 8;

/// The id of the credentials of TLS.
const CREDENTIALS: &str = "vnc-tls-creds0";

/// Adds VNC.
pub(super) fn add(cx: &Context<'_>, args: &mut Args, view: View<'_>) -> Result<(), Error> {
    let host = &cx.host.vnc;
    let audio = audio::of(cx, view)?;
    let mut list = start(cx, view)?;
    let policies = &["allow-exclusive", "force-shared", "ignore"];
    if let Some(policy) = view.one_of("@sharePolicy", policies)? {
        list.set("share", policy);
    }
    if view.text("@passwd").is_some_and(|password| password.len() > MAX_PASSWORD) {
        return Err(view.invalid("@passwd", "VNC uses at most 8 characters; use a shorter one"));
    }
    if password::add(args, view, "vnc", host.password.as_deref())? {
        list.set_switch("password", true);
    }
    if let Some(tls) = &host.tls {
        tls::add(
            cx,
            args,
            view,
            tls,
            tls::Ids { credentials: CREDENTIALS, user: CREDENTIALS },
            true,
        )?;
        list.set("tls-creds", CREDENTIALS);
    }
    if let Some(sasl) = &host.sasl {
        list.set_switch("sasl", true);
        if let Some(dir) = &sasl.dir {
            args.variable("SASL_CONF_PATH", dir.display());
        }
    }
    if let Some(on) = view.yes_no("@powerControl")? {
        if !has_parameter(cx, "vnc", "power-control") {
            return Err(view.lacks("@powerControl", "the option power-control of VNC"));
        }
        list.set_switch("power-control", on);
    }
    list.set("audiodev", audio);
    args.option("-vnc", list);
    if let Some(keymap) = view.text("@keymap") {
        args.option("-k", keymap);
    }
    Ok(())
}

/// Returns whether an option of QEMU has a parameter.
pub(super) fn has_parameter(cx: &Context<'_>, option: &str, parameter: &str) -> bool {
    let option = cx.entry.command_line_option(option);
    option.is_ok_and(|option| option.parameters().any(|p| p.name() == parameter))
}

/// Returns the options up to the address.
fn start(cx: &Context<'_>, view: View<'_>) -> Result<List, Error> {
    let host = &cx.host.vnc;
    let defaults =
        Defaults { protocol: "vnc", address: &host.listen, is_socket: host.is_socket_default };
    let port = listen::port(view, "@port")?;
    let is_open = match view.yes_no("@autoport")? {
        Some(is_open) => is_open,
        None => port == -1 || view.text("@port").is_none(),
    };
    let websocket = listen::port(view, "@websocket")?;
    view.ignore(&["@websocketGenerated"]);
    let address = match listen::listen(cx, view, &defaults)? {
        Listen::None => return Ok(List::new("none")),
        Listen::Socket(path) => {
            let mut list = List::default();
            list.set("vnc", format_args!("unix:{path}"));
            return Ok(list);
        }
        Listen::Address(address) if address.contains(':') => format!("[{address}]"),
        Listen::Address(address) => address,
    };
    let port = if is_open { i32::from(host.port) } else { port };
    if port < FIRST_PORT {
        return Err(view.invalid("@port", "use a port from 5900 to 65535"));
    }
    let mut list = List::new(&format!("{address}:{}", port - FIRST_PORT));
    match (websocket, host.websocket) {
        (0, _) => {}
        (-1, Some(port)) => list.set("websocket", port),
        (-1, None) => return Err(view.unsupported("@websocket", "name the port of WebSocket")),
        (port, _) => list.set("websocket", port),
    }
    Ok(list)
}
