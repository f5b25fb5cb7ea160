//! Sources of random numbers.

use capscache_domain::Kind;

use crate::command::args::Args;
use crate::command::character::chardev::{self, Chardev};
use crate::command::{address, virtio};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;

/// The period in milliseconds of a rate that names none.
const PERIOD: u32 = 1000;

/// Adds sources of random numbers.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for device in cx.of(Kind::Rng) {
        let object = format!("obj{}", device.alias());
        add_backend(cx, device, &object, args)?;
        let view = device.view;
        let interface = virtio::Interface::of(view.text("@model"));
        let mut props = virtio::device(cx, device, "virtio-rng", interface)?;
        props.set("rng", object);
        props.set("id", device.alias());
        let bytes: Option<u32> = view.number("rate@bytes")?;
        if let Some(bytes) = bytes.filter(|bytes| *bytes > 0) {
            let period: Option<u32> = view.number("rate@period")?;
            props.set("max-bytes", bytes);
            props.set("period", period.filter(|period| *period > 0).unwrap_or(PERIOD));
        }
        address::add(cx, device, &mut props)?;
        args.pci_device(device, &props);
    }
    Ok(())
}

fn add_backend<'a>(
    cx: &Context<'a>,
    device: DeviceView<'a>,
    object: &str,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    let props = match view.one_of("backend@model", &["random", "builtin", "egd"])? {
        Some("random") => {
            let path = view.text("backend").filter(|path| !path.is_empty());
            Props::object("rng-random", object).with("filename", path.unwrap_or("/dev/random"))
        }
        Some("egd") => {
            let source = view.child("backend").unwrap_or(view);
            let chardev =
                Chardev { view: source, ..Chardev::new(device, source.require("@type")?) };
            chardev::add(cx, args, &chardev)?;
            Props::object("rng-egd", object).with("chardev", chardev.id)
        }
        Some(_) => Props::object("rng-builtin", object),
        None => return Err(view.invalid("backend", "the model is missing; add it")),
    };
    args.object(&props);
    Ok(())
}
