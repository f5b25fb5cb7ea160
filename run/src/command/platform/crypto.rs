//! Cryptographic accelerators.

use capscache_domain::Kind;

use crate::command::args::Args;
use crate::command::{address, virtio};
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Adds cryptographic accelerators.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for device in cx.of(Kind::Crypto) {
        let view = device.view;
        view.one_of("@model", &["virtio"])?;
        view.one_of("@type", &["qemu"])?;
        let backend = match view.one_of("backend@model", &["builtin", "lkcf"])? {
            Some("builtin") => "cryptodev-backend-builtin",
            Some(_) => "cryptodev-backend-lkcf",
            None => return Err(view.invalid("backend", "the model is missing; add it")),
        };
        if cx.entry.has_object(backend).is_no() {
            let what = format!("the object {backend}; use another model");
            return Err(view.lacks("backend@model", what));
        }
        let object = format!("obj{}", device.alias());
        let queues: Option<u32> = view.number("backend@queues")?;
        let mut props = Props::object(backend, &object);
        props.set_some("queues", queues.filter(|queues| *queues > 0));
        args.object(&props);
        let interface = virtio::Interface::Default;
        let mut props = virtio::device(cx, device, "virtio-crypto", interface)?;
        props.set("cryptodev", object);
        props.set("id", device.alias());
        address::add(cx, device, &mut props)?;
        args.pci_device(device, &props);
    }
    Ok(())
}
