//! USB hubs.

use capscache_domain::Kind;

use crate::command::address;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Adds USB hubs.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for device in cx.of(Kind::Hub) {
        device.view.one_of("@type", &["usb"])?;
        cx.require_device(device.view, "usb-hub")?;
        let mut props = Props::device("usb-hub").with("id", device.alias());
        address::add(cx, device, &mut props)?;
        args.device(&props);
    }
    Ok(())
}
