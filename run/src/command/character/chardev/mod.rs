//! The host's side of a character device.

mod socket;

use capscache_domain::{DeviceKind, GraphicsType, Kind};

use crate::command::args::Args;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::host::Descriptor;
use crate::props::List;
use crate::view::View;

/// The host's side of a character device.
#[derive(Clone)]
pub(in crate::command) struct Chardev<'a> {
    /// The element that has `<source>`, `<log>` and `<protocol>`.
    pub(in crate::command) view: View<'a>,
    /// The type: `pty`, `unix`, …
    pub(in crate::command) r#type: &'a str,
    /// The alias of the device.
    pub(in crate::command) alias: &'a str,
    /// The id in QEMU.
    pub(in crate::command) id: String,
    /// The channel of SPICE that the type `spicevmc` stands for.
    pub(in crate::command) spicevmc: &'static str,
    /// The channel of D-Bus of a device that names none.
    pub(in crate::command) dbus: Option<&'static str>,
    /// The path of a socket that names none; QEMU listens on it.
    pub(in crate::command) socket: Option<String>,
    /// True if QEMU gets a socket on which it listens as a descriptor; it creates the socket and waits for a client
    /// otherwise.
    pub(in crate::command) passes_socket: bool,
}

impl<'a> Chardev<'a> {
    /// Creates the host's side of a device.
    pub(in crate::command) fn new(device: DeviceView<'a>, r#type: &'a str) -> Chardev<'a> {
        Chardev {
            view: device.view,
            r#type,
            alias: device.alias(),
            id: id(device),
            spicevmc: "vdagent",
            dbus: None,
            socket: None,
            passes_socket: true,
        }
    }

    /// Starts the options.
    fn list(&self, backend: &str) -> List {
        let mut list = List::new(backend);
        list.set("id", &self.id);
        list
    }
}

/// Returns the id of the host's side of a device.
pub(in crate::command) fn id(device: DeviceView<'_>) -> String {
    format!("char{}", device.alias())
}

/// Adds the host's side of a character device.
pub(in crate::command) fn add(
    cx: &Context<'_>,
    args: &mut Args,
    chardev: &Chardev<'_>,
) -> Result<(), Error> {
    let view = chardev.view;
    let mut list = match chardev.r#type {
        "null" | "vc" | "stdio" | "pty" => {
            view.ignore(&["source@path"]);
            chardev.list(chardev.r#type)
        }
        "file" => file(args, chardev)?,
        "pipe" => path(chardev, "pipe")?,
        "dev" if chardev.id.starts_with("charparallel") => path(chardev, "parallel")?,
        "dev" => path(chardev, "serial")?,
        "unix" => socket::unix(cx, args, chardev)?,
        "tcp" => socket::tcp(cx, args, chardev)?,
        "udp" => socket::udp(chardev)?,
        "spicevmc" => {
            require_spice(cx, view)?;
            view.ignore(&["source@path"]);
            let mut list = chardev.list("spicevmc");
            list.set("name", chardev.spicevmc);
            list
        }
        "spiceport" => {
            require_spice(cx, view)?;
            named(chardev, "spiceport", view.text("source@channel"))?
        }
        "dbus" => named(chardev, "dbus", view.text("source@channel").or(chardev.dbus))?,
        "qemu-vdagent" => vdagent(cx, chardev)?,
        other => {
            return Err(view.invalid("@type", format!("QEMU has no character device {other:?}")));
        }
    };
    if chardev.r#type != "tcp" {
        view.ignore(&["protocol@type"]);
    }
    add_log(args, chardev, &mut list)?;
    args.option("-chardev", list);
    Ok(())
}

fn file(args: &mut Args, chardev: &Chardev<'_>) -> Result<List, Error> {
    let path = chardev.view.require("source@path")?;
    let append = chardev.view.switch("source@append")? == Some(true);
    let descriptor = Descriptor::Output { path: path.into(), append };
    let mut list = chardev.list("file");
    list.set("path", args.character_set(descriptor, &format!("{}-source", chardev.alias)));
    list.set_switch("append", true);
    Ok(list)
}

fn path(chardev: &Chardev<'_>, backend: &str) -> Result<List, Error> {
    let mut list = chardev.list(backend);
    list.set("path", chardev.view.require("source@path")?);
    Ok(list)
}

/// Returns the options of a channel with a name.
fn named(chardev: &Chardev<'_>, backend: &str, name: Option<&str>) -> Result<List, Error> {
    let view = chardev.view;
    let is_valid = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    match name {
        Some(name) if name.chars().all(is_valid) => {
            let mut list = chardev.list(backend);
            list.set("name", name);
            Ok(list)
        }
        Some(name) => Err(view.unsupported(
            "source@channel",
            format!("{name:?} has other characters than letters, digits, '.', '-' and '_'"),
        )),
        None => Err(view.invalid("source", "the channel has no name; add the attribute channel")),
    }
}

fn vdagent(cx: &Context<'_>, chardev: &Chardev<'_>) -> Result<List, Error> {
    let view = chardev.view;
    if !cx.entry.schema().has("chardev-add/arg-type/backend/+qemu-vdagent").is_yes() {
        return Err(view.lacks("@type", "the character device qemu-vdagent"));
    }
    let mut list = chardev.list("qemu-vdagent");
    list.set("name", "vdagent");
    if view.has("source/clipboard") {
        view.require("source/clipboard@copypaste")?;
    }
    if let Some(on) = view.yes_no("source/clipboard@copypaste")? {
        list.set_switch("clipboard", on);
    }
    if view.has("source/mouse") {
        view.require("source/mouse@mode")?;
    }
    if let Some(mode) = view.one_of("source/mouse@mode", &["client", "server"])? {
        list.set_switch("mouse", mode == "client");
    }
    Ok(list)
}

/// Copies the output to a file.
fn add_log(args: &mut Args, chardev: &Chardev<'_>, list: &mut List) -> Result<(), Error> {
    let append = chardev.view.switch("log@append")? == Some(true);
    if let Some(path) = chardev.view.text("log@file") {
        let descriptor = Descriptor::Log { path: path.into(), append };
        let path = args.character_set(descriptor, &format!("{}-log", chardev.alias));
        list.set("logfile", path);
        list.set_switch("logappend", true);
    }
    Ok(())
}

fn require_spice(cx: &Context<'_>, view: View<'_>) -> Result<(), Error> {
    let is_spice = |device: DeviceView<'_>| match device.kind() {
        DeviceKind::Graphics(graphics) => graphics.r#type == GraphicsType::Spice,
        _ => false,
    };
    match cx.of(Kind::Graphics).any(is_spice) {
        true => Ok(()),
        false => Err(view.invalid("@type", "it needs SPICE; add <graphics type='spice'/>")),
    }
}
