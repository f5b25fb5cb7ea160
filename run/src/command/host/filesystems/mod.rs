//! Directories of the host.

mod mtp;
mod plan9;
mod virtiofs;

use capscache_domain::{DeviceKind, FilesystemDriver, FilesystemType, Kind};

use crate::command::args::Args;
use crate::context::{Context, DeviceView};
use crate::error::Error;

/// Adds directories of the host.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    check_targets(cx)?;
    for device in cx.of(Kind::Filesystem) {
        add_one(cx, device, args)?;
    }
    Ok(())
}

fn add_one(cx: &Context<'_>, device: DeviceView<'_>, args: &mut Args) -> Result<(), Error> {
    let view = device.view;
    match view.word("@type")? {
        None | Some(FilesystemType::Mount) => {}
        Some(_) => return Err(view.invalid("@type", "QEMU has filesystems of type mount only")),
    }
    // Formats are those of images, which other types have.
    let driver = view.word("driver@type")?;
    let is_virtiofs = driver == Some(FilesystemDriver::Virtiofs);
    if view.peek("boot@order").is_some() && !is_virtiofs {
        return Err(view.invalid("boot", "only virtiofs has a boot order"));
    }
    match driver {
        None | Some(FilesystemDriver::Path) => plan9::add(cx, device, "local", args),
        Some(FilesystemDriver::Handle) => plan9::add(cx, device, "handle", args),
        Some(FilesystemDriver::Virtiofs) => virtiofs::add(cx, device, args),
        Some(FilesystemDriver::Mtp) => mtp::add(cx, device, args),
        Some(_) => Err(view.invalid("driver@type", "QEMU has no filesystems of this driver")),
    }
}

/// Checks that no other filesystem has the target of one of virtiofs.
fn check_targets(cx: &Context<'_>) -> Result<(), Error> {
    let mut targets: Vec<(&str, bool)> = Vec::new();
    for device in cx.of(Kind::Filesystem) {
        let DeviceKind::Filesystem(filesystem) = device.kind() else { continue };
        let is_virtiofs = filesystem.driver == Some(FilesystemDriver::Virtiofs);
        let target = device.view.require("target@dir")?;
        if targets.iter().any(|(other, is_other)| *other == target && (is_virtiofs || *is_other)) {
            return Err(device.view.invalid("target@dir", "another filesystem has this target"));
        }
        targets.push((target, is_virtiofs));
    }
    Ok(())
}
