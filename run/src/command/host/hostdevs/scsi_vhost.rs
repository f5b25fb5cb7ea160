//! SCSI targets of the kernel of the host.

use super::Seen;
use crate::command::address;
use crate::command::args::Args;
use crate::command::virtio::{self, Interface};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::host::Descriptor;

/// Adds a target.
pub(super) fn add(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    seen: &mut Seen,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    // It concerns devices that are bound to a driver.
    view.ignore(&["@managed"]);
    view.require("source@protocol")?;
    view.one_of("source@protocol", &["vhost"])?;
    let wwpn = view.require("source@wwpn")?;
    let digits = wwpn.strip_prefix("naa.").unwrap_or_default();
    if digits.len() != 16 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(view.invalid("source@wwpn", "it must be naa. and 16 hexadecimal digits"));
    }
    seen.add(view, format!("vhost {wwpn}"))?;
    let interface = Interface::read(view)?;
    let fd = args.descriptor(Descriptor::VhostScsi);
    let mut props = virtio::device(cx, device, "vhost-scsi", interface)?
        .with("wwpn", wwpn)
        .with("vhostfd", fd.to_string())
        .with("id", device.alias());
    address::add(cx, device, &mut props)?;
    args.device(&props);
    Ok(())
}
