//! Graphical consoles.

use capscache_domain::{GraphicsType, Kind};

use super::render::{has_egl, own_render_node};
use super::{dbus, spice, vnc};
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// Adds graphical consoles.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut seen = Vec::new();
    for device in cx.of(Kind::Graphics) {
        let view = device.view;
        let Some(r#type) = view.word("@type")? else {
            return Err(view.invalid("", "the type is missing; add it"));
        };
        if seen.contains(&r#type) {
            return Err(view.invalid("@type", "QEMU has one console of a type; remove it"));
        }
        seen.push(r#type);
        check(cx, view, r#type)?;
        match r#type {
            GraphicsType::Vnc => vnc::add(cx, args, view)?,
            GraphicsType::Spice => spice::add(cx, args, view)?,
            GraphicsType::Sdl => add_sdl(args, view)?,
            GraphicsType::EglHeadless => add_egl(cx, args, view)?,
            GraphicsType::Dbus => dbus::add(cx, args, view)?,
            _ => return Err(view.unsupported("@type", "consoles of this type are not supported")),
        }
    }
    Ok(())
}

/// Checks that QEMU has a type, and that it suits other consoles.
fn check(cx: &Context<'_>, view: View<'_>, r#type: GraphicsType) -> Result<(), Error> {
    let has_display = |name: &str| {
        let path = format!("query-display-options/ret-type/+{name}");
        cx.entry.schema().has(&path).is_yes()
    };
    let has = match r#type {
        GraphicsType::Vnc => cx.entry.schema().has("query-vnc").is_yes(),
        GraphicsType::Spice => cx.entry.command_line_option("spice").is_ok(),
        other => has_display(other.as_str()),
    };
    if !has {
        return Err(view.lacks("@type", format!("{type} graphics; use another type")));
    }
    let suits_egl =
        matches!(r#type, GraphicsType::EglHeadless | GraphicsType::Vnc | GraphicsType::Spice);
    match suits_egl || !has_egl(cx) {
        true => Ok(()),
        false => Err(view.invalid("@type", "only vnc and spice can be beside egl-headless")),
    }
}

fn add_sdl(args: &mut Args, view: View<'_>) -> Result<(), Error> {
    if let Some(path) = view.text("@xauth") {
        args.variable("XAUTHORITY", path);
    }
    if let Some(display) = view.text("@display") {
        args.variable("DISPLAY", display);
    }
    if view.yes_no("@fullscreen")? == Some(true) {
        args.flag("-full-screen");
    }
    let mut list = List::new("sdl");
    if view.has("gl") {
        view.require("gl@enable")?;
    }
    if let Some(on) = view.yes_no("gl@enable")? {
        list.set_switch("gl", on);
    }
    args.option("-display", list);
    Ok(())
}

fn add_egl(cx: &Context<'_>, args: &mut Args, view: View<'_>) -> Result<(), Error> {
    view.ignore(&["gl@enable"]);
    let path = "query-display-options/ret-type/+egl-headless/rendernode";
    let has_node = cx.entry.schema().has(path).is_yes();
    let node = match view.text("gl@rendernode") {
        Some(_) if !has_node => return Err(view.lacks("gl@rendernode", "the option rendernode")),
        Some(node) => Some(node.to_owned()),
        None if has_node => Some(own_render_node(cx, view)?),
        None => None,
    };
    let mut list = List::new("egl-headless");
    if let Some(node) = node {
        list.set("rendernode", node);
    }
    args.option("-display", list);
    Ok(())
}
