//! Devices of the host.

mod mediated;
mod pci;
mod scsi;
mod scsi_vhost;
mod usb;

use std::collections::HashSet;

use capscache_domain::{DeviceKind, HostdevMode, HostdevType, InterfaceType, Kind};

use crate::command::args::Args;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::view::View;

/// Adds devices of the host, with those that are network interfaces before others.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut seen = Seen::default();
    for device in cx.of(Kind::Interface) {
        let is_hostdev = matches!(device.kind(), DeviceKind::Interface(interface)
            if interface.r#type == InterfaceType::Hostdev);
        if is_hostdev {
            add_interface(cx, device, &mut seen, args)?;
        }
    }
    for device in cx.of(Kind::Hostdev) {
        add_one(cx, device, &mut seen, args)?;
    }
    Ok(())
}

fn add_interface(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    seen: &mut Seen,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    // The model is that of the device itself.
    view.ignore(&["@type", "model@type"]);
    view.one_of("link@state", &["up"])?;
    match view.one_of("source/address@type", &["pci", "usb"])? {
        Some("pci") => pci::add(cx, device, seen, args),
        Some(_) => usb::add(cx, device, seen, args),
        None => Err(view.invalid("source", "add the type of its address")),
    }
}

fn add_one(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    seen: &mut Seen,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    if view.word("@mode")? == Some(HostdevMode::Capabilities) {
        return Err(view.invalid("@mode", "QEMU has no devices of mode capabilities"));
    }
    match view.word("@type")? {
        Some(HostdevType::Pci) => pci::add(cx, device, seen, args),
        Some(HostdevType::Usb) => usb::add(cx, device, seen, args),
        Some(HostdevType::Scsi) => scsi::add(cx, device, seen, args),
        Some(HostdevType::ScsiHost) => scsi_vhost::add(cx, device, seen, args),
        Some(HostdevType::Mdev) => mediated::add(cx, device, seen, args),
        _ => Err(view.unsupported("@type", "devices of this type are not supported")),
    }
}

/// Devices and names that are in use so far.
#[derive(Default)]
struct Seen {
    sources: HashSet<String>,
    has_ramfb: bool,
}

impl Seen {
    /// Adds a device of the host. A guest has each of them once.
    fn add(&mut self, view: View<'_>, source: String) -> Result<(), Error> {
        if !self.sources.insert(source) {
            return Err(view.invalid("source", "the guest has this device already"));
        }
        Ok(())
    }

    /// Returns whether a device is the display of the guest, and whether firmware draws to it too.
    fn display(&mut self, cx: &Context<'_>, view: View<'_>) -> Result<(Option<bool>, bool), Error> {
        let display = view.switch("@display")?;
        if display == Some(true) && cx.of(Kind::Graphics).next().is_none() {
            return Err(view.invalid("@display", "a display needs a device <graphics>"));
        }
        let ramfb = view.switch("@ramfb")? == Some(true);
        if ramfb && self.has_ramfb {
            return Err(view.invalid("@ramfb", "only one device can have it"));
        }
        self.has_ramfb |= ramfb;
        Ok((display, ramfb))
    }
}

/// Returns the words of QEMU for a switch.
fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
