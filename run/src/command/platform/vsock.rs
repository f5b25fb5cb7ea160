//! Sockets between the host and the guest.

use capscache_domain::Kind;

use crate::command::args::Args;
use crate::command::{address, virtio};
use crate::context::Context;
use crate::error::Error;
use crate::host::Descriptor;

/// The lowest number that is not reserved.
const FIRST: u32 = 3;

/// Adds sockets between the host and the guest.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if let Some(device) = cx.only(Kind::Vsock)? {
        let view = device.view;
        let named: Option<u32> = view.number("cid@address")?;
        if named.is_some_and(|cid| cid < FIRST) {
            let what = format!("numbers below {FIRST} are reserved; use another");
            return Err(view.invalid("cid@address", what));
        }
        let is_automatic = view.yes_no("cid@auto")?.unwrap_or(named.is_none());
        // The number that an automatic one names is of an earlier run.
        let cid = named.filter(|_| !is_automatic);
        if cid.is_none() && !is_automatic {
            return Err(view.invalid("cid", "the address is missing; add it"));
        }
        let interface = virtio::Interface::of(view.text("@model"));
        let mut props = virtio::device(cx, device, "vhost-vsock", interface)?;
        let descriptor = args.descriptor(Descriptor::VhostVsock { cid });
        props.set("id", device.alias());
        props.set("guest-cid", cid.unwrap_or(cx.host.vsock_cid));
        props.set("vhostfd", descriptor.to_string());
        address::add(cx, device, &mut props)?;
        args.pci_device(device, &props);
    }
    Ok(())
}
