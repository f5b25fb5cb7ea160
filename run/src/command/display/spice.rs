//! SPICE.

use super::listen::{self, Defaults, Listen};
use super::password;
use super::render::{has_egl, own_render_node};
use super::vnc::has_parameter;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// The channels, in libvirt's order.
const CHANNELS: &[&str] =
    &["main", "display", "inputs", "cursor", "playback", "record", "smartcard", "usbredir"];

/// The security of a channel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Any,
    Secure,
    Insecure,
}

/// The connections that there are.
#[derive(Clone, Copy, Default)]
struct Connections {
    secure: bool,
    insecure: bool,
}

/// Adds SPICE.
pub(super) fn add(cx: &Context<'_>, args: &mut Args, view: View<'_>) -> Result<(), Error> {
    let host = &cx.host.spice;
    let default = mode(view, "@defaultMode")?.unwrap_or(Mode::Any);
    let channels = channels(view)?;
    let mut list = List::default();
    let connections = add_listen(cx, view, &mut list, default, &channels)?;
    if let Some(sasl) = &host.sasl {
        list.set_switch("sasl", true);
        if let Some(dir) = &sasl.dir {
            args.variable("SASL_CONF_PATH", dir.display());
        }
    }
    require_if_present(view, "mouse", "mode")?;
    if let Some(mode) = view.one_of("mouse@mode", &["server", "client"])? {
        list.set_switch("agent-mouse", mode == "client");
    }
    if !password::add(args, view, "spice", host.password.as_deref())? {
        list.set_switch("disable-ticketing", true);
    }
    if connections.secure
        && let Some(dir) = &host.tls_dir
    {
        list.set("x509-dir", dir.display());
    }
    let named = CHANNELS.iter().copied().zip(channels);
    for (name, mode) in std::iter::once(("default", default)).chain(named) {
        let (key, has) = match mode {
            Mode::Any => continue,
            Mode::Secure => ("tls-channel", connections.secure),
            Mode::Insecure => ("plaintext-channel", connections.insecure),
        };
        if !has {
            let what = format!("there is no connection for the security of the channel {name}");
            return Err(view.invalid("", what));
        }
        list.set(key, name);
    }
    add_options(cx, view, &mut list)?;
    list.set_switch("seamless-migration", true);
    args.option("-spice", list);
    if let Some(keymap) = view.text("@keymap") {
        args.option("-k", keymap);
    }
    Ok(())
}

fn mode(view: View<'_>, place: &str) -> Result<Option<Mode>, Error> {
    Ok(view.one_of(place, &["any", "secure", "insecure"])?.map(|mode| match mode {
        "secure" => Mode::Secure,
        "insecure" => Mode::Insecure,
        _ => Mode::Any,
    }))
}

/// Returns the security of each channel.
fn channels(view: View<'_>) -> Result<[Mode; CHANNELS.len()], Error> {
    let mut modes = [Mode::Any; CHANNELS.len()];
    for channel in view.children("channel") {
        let name = channel.one_of("@name", CHANNELS)?;
        let mode = mode(channel, "@mode")?;
        let at = CHANNELS.iter().position(|other| Some(*other) == name);
        match (at.and_then(|at| modes.get_mut(at)), mode) {
            (Some(found), Some(mode)) => *found = mode,
            _ => return Err(channel.invalid("", "a channel needs a name and a mode")),
        }
    }
    Ok(modes)
}

/// Adds the ports and the address, or the socket.
fn add_listen(
    cx: &Context<'_>,
    view: View<'_>,
    list: &mut List,
    default: Mode,
    channels: &[Mode],
) -> Result<Connections, Error> {
    let host = &cx.host.spice;
    let (mut port, mut tls_port) = (listen::port(view, "@port")?, listen::port(view, "@tlsPort")?);
    let is_open = view.yes_no("@autoport")? == Some(true) || (port == -1 && tls_port == -1);
    if is_open {
        (port, tls_port) = (0, 0);
    }
    let defaults =
        Defaults { protocol: "spice", address: &host.listen, is_socket: host.is_socket_default };
    // Without ports, it listens on nothing.
    let is_silent = port == 0 && tls_port == 0 && !is_open && is_address(view);
    let listen = listen::listen(cx, view, &defaults)?;
    let address = match listen {
        _ if is_silent => None,
        Listen::None => None,
        Listen::Socket(path) => {
            list.set_switch("unix", true);
            list.set("addr", path);
            return Ok(Connections { insecure: true, secure: false });
        }
        Listen::Address(address) => Some(address),
    };
    let Some(address) = address else {
        list.set("port", 0);
        return Ok(Connections { insecure: true, secure: false });
    };
    if tls_port > 0 && host.tls_dir.is_none() {
        return Err(view.invalid("@tlsPort", "the host has no certificates for TLS of SPICE"));
    }
    if is_open {
        let needs = |mode| default == mode || channels.contains(&mode);
        let is_any = default == Mode::Any;
        let needs_tls = needs(Mode::Secure) || (is_any && host.tls_dir.is_some());
        port = if is_any || needs(Mode::Insecure) { -1 } else { 0 };
        tls_port = if needs_tls { -1 } else { 0 };
    }
    if tls_port == -1 && host.tls_dir.is_none() {
        return Err(view.unsupported("@tlsPort", "the host has no certificates for TLS of SPICE"));
    }
    let port = if port == -1 { i32::from(host.port) } else { port };
    let tls_port = if tls_port == -1 { i32::from(host.tls_port) } else { tls_port };
    if port > 0 {
        list.set("port", port);
    }
    if tls_port > 0 {
        list.set("tls-port", tls_port);
    }
    if port > 0 || tls_port > 0 {
        list.set("addr", address);
    }
    Ok(Connections { secure: tls_port > 0, insecure: port > 0 })
}

/// Returns whether the console listens on an address, or on the default one.
fn is_address(view: View<'_>) -> bool {
    !view.has("listen") || view.text("listen@type") == Some("address")
}

fn require_if_present(view: View<'_>, child: &str, attribute: &str) -> Result<(), Error> {
    match view.child(child) {
        Some(child) => child.require(&format!("@{attribute}")).map(|_| ()),
        None => Ok(()),
    }
}

/// The options that are passed on: place and attribute, key, and words.
const OPTIONS: &[(&str, &str, &str, &[&str])] = &[
    (
        "image",
        "compression",
        "image-compression",
        &["auto_glz", "auto_lz", "quic", "glz", "lz", "off"],
    ),
    ("jpeg", "compression", "jpeg-wan-compression", &["auto", "never", "always"]),
    ("zlib", "compression", "zlib-glz-wan-compression", &["auto", "never", "always"]),
    ("playback", "compression", "playback-compression", &["on", "off"]),
    ("streaming", "mode", "streaming-video", &["filter", "all", "off"]),
];

/// Adds compression, features of the agent, and OpenGL.
fn add_options(cx: &Context<'_>, view: View<'_>, list: &mut List) -> Result<(), Error> {
    for (child, attribute, key, words) in OPTIONS {
        require_if_present(view, child, attribute)?;
        if let Some(word) = view.one_of(&format!("{child}@{attribute}"), words)? {
            list.set(key, word);
        }
    }
    require_if_present(view, "clipboard", "copypaste")?;
    if view.yes_no("clipboard@copypaste")? == Some(false) {
        list.set_switch("disable-copy-paste", true);
    }
    require_if_present(view, "filetransfer", "enable")?;
    if view.yes_no("filetransfer@enable")? == Some(false) {
        list.set_switch("disable-agent-file-xfer", true);
    }
    require_if_present(view, "gl", "enable")?;
    let node = view.text("gl@rendernode");
    if view.yes_no("gl@enable")? != Some(true) {
        return Ok(());
    }
    if !has_parameter(cx, "spice", "gl") {
        return Err(view.lacks("gl", "OpenGL of SPICE"));
    }
    if has_egl(cx) {
        return Err(view.invalid("gl", "QEMU has one display with OpenGL; remove egl-headless"));
    }
    list.set_switch("gl", true);
    let has_node = has_parameter(cx, "spice", "rendernode");
    match node {
        Some(node) if has_node => list.set("rendernode", node),
        Some(_) => return Err(view.lacks("gl@rendernode", "the option rendernode of SPICE")),
        None if has_node => list.set("rendernode", own_render_node(cx, view)?),
        None => {}
    }
    Ok(())
}
