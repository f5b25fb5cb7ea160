//! The balloon.

use capscache_domain::{DeviceKind, Kind, MemballoonModel};

use crate::command::args::Args;
use crate::command::{Setup, address, virtio};
use crate::context::Context;
use crate::error::Error;

/// Adds the balloon.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if let Some(device) = cx.only(Kind::Memballoon)? {
        let view = device.view;
        let model = view.text("@model");
        let autodeflate = view.switch("@autodeflate")?;
        let reporting = view.switch("@freePageReporting")?;
        let period: Option<u32> = view.any_number("stats@period")?;
        match device.kind() {
            DeviceKind::Memballoon(balloon) if balloon.model == MemballoonModel::None => {
                let _ = device.alias();
                return Ok(());
            }
            DeviceKind::Memballoon(balloon) if balloon.model == MemballoonModel::Xen => {
                return Err(view.unsupported("@model", "QEMU has no balloon of Xen; use virtio"));
            }
            _ => {}
        }
        let mut props = virtio::device(cx, device, "virtio-balloon", virtio::Interface::of(model))?;
        props.set("id", device.alias());
        props.set_some("deflate-on-oom", autodeflate);
        props.set_some("free-page-reporting", reporting);
        address::add(cx, device, &mut props)?;
        args.pci_device(device, &props);
        if let Some(seconds) = period.filter(|period| *period > 0) {
            args.setup(Setup::BalloonStatistics { id: device.alias().to_owned(), seconds });
        }
    }
    Ok(())
}
