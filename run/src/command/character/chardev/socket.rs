//! Character devices that are sockets.

use std::path::Path;

use super::Chardev;
use crate::command::args::Args;
use crate::command::character::tls;
use crate::command::reconnect;
use crate::context::Context;
use crate::error::Error;
use crate::host::Descriptor;
use crate::props::List;
use crate::view::View;

/// Returns the options of a socket with a path.
pub(super) fn unix(
    cx: &Context<'_>,
    args: &mut Args,
    chardev: &Chardev<'_>,
) -> Result<List, Error> {
    let view = chardev.view;
    let given = match view.text("source@path") {
        Some(path) if is_generated(cx, chardev, path)? => None,
        path => path,
    };
    let mode = view.one_of("source@mode", &["bind", "connect"])?;
    let seconds = reconnect(view)?;
    let path = match (given, &chardev.socket) {
        (Some(path), _) => path,
        (None, Some(path)) => path,
        (None, None) => return Err(view.invalid("source", "the socket has no path; add it")),
    };
    let listens = mode == Some("bind") || given.is_none();
    if listens && seconds.is_some() {
        return Err(view.invalid("source/reconnect", "a socket that listens cannot reconnect"));
    }
    let mut list = chardev.list("socket");
    match listens && chardev.passes_socket {
        true => list.set("fd", args.descriptor(Descriptor::Listen { path: path.into() })),
        false => list.set("path", path),
    }
    if listens {
        list.set_switch("server", true);
        if chardev.passes_socket {
            list.set_switch("wait", false);
        }
    }
    reconnect::set(cx, seconds, &mut list);
    Ok(list)
}

/// Returns whether a path is one that libvirt once generated: it generates such a path anew.
fn is_generated(cx: &Context<'_>, chardev: &Chardev<'_>, path: &str) -> Result<bool, Error> {
    if chardev.socket.is_none() {
        return Ok(false);
    }
    let library = cx.host.library_dir().map(|dir| dir.join("channel"));
    let bases = [
        cx.host.channel_dir.parent().map(Path::to_owned),
        library,
        Some("/etc/libvirt/qemu/channel".into()),
    ];
    let below = bases
        .iter()
        .flatten()
        .filter_map(|base| path.strip_prefix(&*base.to_string_lossy())?.strip_prefix('/'));
    let below: Vec<&str> = below.collect();
    match chardev.view.text("target@name") {
        Some(name) => Ok(below.iter().any(|rest| is_generated_name(rest, name))),
        None if below.is_empty() => Ok(false),
        None => Err(chardev.view.unsupported(
            "source@path",
            "libvirt generates such paths; leave it out, or use another directory",
        )),
    }
}

/// Returns whether the rest of a path names a guest and the channel.
fn is_generated_name(rest: &str, name: &str) -> bool {
    let Some(rest) = rest.strip_suffix(name) else { return false };
    let is_guest = |rest: &str| {
        if let Some(guest) = rest.strip_suffix('.') {
            return !guest.is_empty() && !guest.contains('/');
        }
        let Some(guest) = rest.strip_suffix('/').filter(|guest| !guest.contains('/')) else {
            return false;
        };
        let of_name = |rest: &str| rest.len() > 1 && rest.starts_with('-');
        guest.strip_prefix("domain").is_some_and(of_name) || {
            let rest = guest.trim_start_matches(|c: char| c.is_ascii_digit());
            rest.len() < guest.len() && of_name(rest)
        }
    };
    is_guest(rest) || rest.strip_prefix("target/").is_some_and(is_guest)
}

/// Returns the options of a connection over TCP.
pub(super) fn tcp(cx: &Context<'_>, args: &mut Args, chardev: &Chardev<'_>) -> Result<List, Error> {
    let view = chardev.view;
    let listens = view.one_of("source@mode", &["bind", "connect"])? == Some("bind");
    let seconds = reconnect(view)?;
    if listens && seconds.is_some() {
        return Err(view.invalid("source/reconnect", "a socket that listens cannot reconnect"));
    }
    let mut list = chardev.list("socket");
    list.set("host", view.require("source@host")?);
    list.set("port", view.require("source@service")?);
    if view.one_of("protocol@type", &["raw", "telnet"])? == Some("telnet") {
        list.set_switch("telnet", true);
    }
    if listens {
        list.set_switch("server", true);
        list.set_switch("wait", false);
    }
    reconnect::set(cx, seconds, &mut list);
    if view.yes_no("source@tls")?.unwrap_or(cx.host.character_tls.is_default) {
        let credentials = format!("obj{}_tls0", chardev.id);
        let Some(tls) = &cx.host.character_tls.tls else {
            return Err(view.unsupported("source@tls", "the host has no certificates for it"));
        };
        tls::add(
            cx,
            args,
            view,
            tls,
            tls::Ids { credentials: &credentials, user: &chardev.id },
            listens,
        )?;
        list.set("tls-creds", credentials);
    }
    Ok(list)
}

/// Returns the options of datagrams over UDP.
pub(super) fn udp(chardev: &Chardev<'_>) -> Result<List, Error> {
    let view = chardev.view;
    let (mut remote, mut local) = ((None, None), (None, None));
    for (position, source) in view.children("source").enumerate() {
        if position > 1 {
            return Err(source.invalid("", "a UDP device has at most two sources; remove it"));
        }
        let binds = source.one_of("@mode", &["bind", "connect"])? == Some("bind");
        let end = if binds { &mut local } else { &mut remote };
        let given = (source.text("@host"), source.text("@service"));
        // Of two sources of a mode the first counts.
        if *end == (None, None) {
            *end = given;
        }
    }
    let Some(port) = remote.1 else {
        return Err(view.invalid("source", "the port of the other side is missing; add service"));
    };
    let mut list = chardev.list("udp");
    list.set("host", remote.0.unwrap_or_default());
    list.set("port", port);
    list.set("localaddr", local.0.unwrap_or_default());
    list.set("localport", local.1.unwrap_or("0"));
    Ok(list)
}

/// Returns the seconds after which a connection is made again, 0 for never. libvirt refuses 0 of a character device.
fn reconnect(view: View<'_>) -> Result<Option<u32>, Error> {
    let Some(source) = view.child("source") else { return Ok(None) };
    let seconds = reconnect::read(source)?;
    let is_on = source.peek("reconnect@enabled") == Some("yes");
    match seconds {
        Some(0) | Some(2_000_001..) if is_on => {
            Err(source.invalid("reconnect@timeout", "use from 1 to 2000000 seconds"))
        }
        seconds => Ok(seconds),
    }
}
