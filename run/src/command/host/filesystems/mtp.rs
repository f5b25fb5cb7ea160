//! Directories as media devices on USB.

use crate::command::address;
use crate::command::args::Args;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;

/// Adds a directory.
pub(super) fn add(cx: &Context<'_>, device: DeviceView<'_>, args: &mut Args) -> Result<(), Error> {
    let view = device.view;
    cx.require_device(view, "usb-mtp")?;
    // Any other mode is invalid.
    view.one_of("@accessmode", &["passthrough"])?;
    let mut props = Props::device("usb-mtp")
        .with("id", device.alias())
        .with("rootdir", view.require("source@dir")?)
        .with("desc", view.require("target@dir")?)
        .with("readonly", view.has("readonly"));
    address::add(cx, device, &mut props)?;
    args.device(&props);
    Ok(())
}
