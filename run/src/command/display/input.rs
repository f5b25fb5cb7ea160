//! Input devices.

use capscache_devaddr::{Board, Family};
use capscache_domain::{InputBus, InputType, Kind};

use crate::command::address;
use crate::command::args::Args;
use crate::command::virtio::{self, Interface};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// Adds input devices; PS/2 ones are part of the machine.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for device in cx.of(Kind::Input) {
        add_input(cx, args, device)?;
    }
    Ok(())
}

fn add_input(cx: &Context<'_>, args: &mut Args, device: DeviceView<'_>) -> Result<(), Error> {
    let view = device.view;
    let r#type = view.word("@type")?.unwrap_or(InputType::Mouse);
    if r#type == InputType::Evdev {
        let bus = view.one_of("@bus", &["none"])?;
        if bus.is_none() && cx.machine.family == Family::S390 {
            // Its default bus is another one.
            return Err(view.invalid("", "a device of the host's is on the bus none; add it"));
        }
        args.object(&evdev(device)?);
        return Ok(());
    }
    let props = match view.word("@bus")? {
        Some(InputBus::Ps2) => return check_ps2(cx, view),
        Some(InputBus::Usb) => usb(cx, device, r#type)?,
        Some(InputBus::Virtio) => virtio(cx, device, r#type)?,
        _ => return Err(view.unsupported("@bus", "use one of ps2, usb and virtio")),
    };
    args.pci_device(device, &props);
    Ok(())
}

fn check_ps2(cx: &Context<'_>, view: View<'_>) -> Result<(), Error> {
    let has_ports = matches!(cx.machine.board, Board::Isapc | Board::I440fx | Board::Q35)
        || cx.machine.name.starts_with("xenfv");
    if cx.domain.switch("features/ps2@state")? == Some(false) {
        return Err(view.invalid("@bus", "the guest has no PS/2 ports; use another bus"));
    }
    match has_ports && cx.has_device("i8042") {
        true => Ok(()),
        false => Err(view.lacks("@bus", "PS/2 ports on this machine; use another bus")),
    }
}

fn usb(cx: &Context<'_>, device: DeviceView<'_>, r#type: InputType) -> Result<Props, Error> {
    let driver = match r#type {
        InputType::Mouse => "usb-mouse",
        InputType::Tablet => "usb-tablet",
        InputType::Keyboard => "usb-kbd",
        _ => return Err(device.view.invalid("@bus", "a device of this type cannot be on USB")),
    };
    if driver == "usb-kbd" {
        cx.require_device(device.view, driver)?;
    }
    let mut props = Props::device(driver).with("id", device.alias());
    address::add(cx, device, &mut props)?;
    Ok(props)
}

fn virtio(cx: &Context<'_>, device: DeviceView<'_>, r#type: InputType) -> Result<Props, Error> {
    let view = device.view;
    let base = match r#type {
        InputType::Mouse => "virtio-mouse",
        InputType::Tablet => "virtio-tablet",
        InputType::Keyboard => "virtio-keyboard",
        InputType::Passthrough => "virtio-input-host",
        _ => return Err(view.invalid("@bus", "a device of this type cannot be on virtio")),
    };
    view.one_of("@model", &["virtio"])?;
    let mut props = virtio::device(cx, device, base, Interface::Default)?;
    props.set("id", device.alias());
    if r#type == InputType::Passthrough {
        props.set("evdev", clean(view.require("source@evdev")?));
    }
    address::add(cx, device, &mut props)?;
    Ok(props)
}

/// The pairs of keys that move the grab of a device of the host.
const TOGGLES: &[&str] =
    &["ctrl-ctrl", "alt-alt", "shift-shift", "meta-meta", "scrolllock", "ctrl-scrolllock"];

/// Returns the object of a device of the host whose events the guest gets.
fn evdev(device: DeviceView<'_>) -> Result<Props, Error> {
    let view = device.view;
    let mut props = Props::object("input-linux", device.alias())
        .with("evdev", clean(view.require("source@dev")?))
        .with_some("repeat", view.switch("source@repeat")?);
    if view.one_of("source@grab", &["all"])?.is_some() {
        props.set("grab_all", true);
    }
    props.set_some("grab-toggle", view.one_of("source@grabToggle", TOGGLES)?);
    Ok(props)
}

/// Returns a path with single slashes and without one at the end.
pub(super) fn clean(path: &str) -> String {
    let is_uri = path
        .split_once('/')
        .is_some_and(|(start, rest)| start.ends_with(':') && rest.starts_with('/'));
    if is_uri {
        return path.to_owned();
    }
    // Two slashes at the start are kept.
    let (start, rest) = match path.strip_prefix("//") {
        Some(rest) if !rest.starts_with('/') => ("//", rest),
        _ if path.starts_with('/') => ("/", path),
        _ => ("", path),
    };
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    format!("{start}{}", parts.join("/"))
}
