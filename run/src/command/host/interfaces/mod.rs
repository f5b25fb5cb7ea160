//! Network interfaces.

mod backend;
mod device;
mod link;
mod mac;
mod passt;
mod port;
mod user;

use capscache_devaddr::Family;
use capscache_domain::{Address, DeviceKind, Interface, InterfaceType, Kind};

use crate::command::Setup;
use crate::command::args::Args;
use crate::command::virtio;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::view::View;

pub(in crate::command::host) use mac::mac;
pub(in crate::command::host) use port::port;

/// A network interface.
#[derive(Clone, Copy)]
struct Net<'a> {
    device: DeviceView<'a>,
    view: View<'a>,
    r#type: InterfaceType,
    /// The model, with libvirt's letters.
    model: &'a str,
    /// The number of queues, from 1.
    queues: u16,
    /// True if the backend is passt.
    is_passt: bool,
}

impl Net<'_> {
    /// Returns whether the model is one of virtio. Others with similar names are QEMU's, which libvirt only passes on.
    fn is_virtio(&self) -> bool {
        virtio::MODELS.contains(&self.model)
    }

    /// Returns the id of the backend.
    fn backend(&self) -> String {
        format!("host{}", self.device.alias())
    }
}

/// Adds network interfaces, other than devices of the host.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for device in cx.of(Kind::Interface) {
        let DeviceKind::Interface(interface) = device.kind() else { continue };
        if interface.r#type != InterfaceType::Hostdev {
            add_one(cx, &read(cx, device, interface)?, args)?;
        }
    }
    Ok(())
}

fn read<'a>(
    cx: &Context<'_>,
    device: DeviceView<'a>,
    interface: &'a Interface,
) -> Result<Net<'a>, Error> {
    let view = device.view;
    view.ignore(&["@type"]);
    let model = view.require("model@type")?;
    let r#type = interface.r#type;
    let mut net = Net { device, view, r#type, model, queues: 1, is_passt: false };
    if net.is_virtio() {
        let queues: Option<u32> = view.number("driver@queues")?;
        net.queues = u16::try_from(queues.unwrap_or(1).max(1)).map_err(|_| {
            view.invalid("driver@queues", "virtio has no device with so many queues")
        })?;
    }
    net.is_passt = passt::is_backend(cx, &net)?;
    Ok(net)
}

fn add_one(cx: &Context<'_>, net: &Net<'_>, args: &mut Args) -> Result<(), Error> {
    let has_device = has_device(cx, net);
    let is_built_in = ["lan9118", "smc91c111", "scm91c111"].contains(&net.model);
    if is_built_in && !has_device && cx.machine.root.is_some() {
        // libvirt puts them on PCI, where QEMU does not have them.
        return Err(net.view.unsupported("model@type", "this model is not supported; use another"));
    }
    backend::add(cx, net, has_device, args)?;
    match has_device {
        true => {
            args.pci_device(net.device, &device::props(cx, net)?);
        }
        false => args.option("-net", device::legacy(net)?),
    }
    if net.view.one_of("link@state", &["up", "down"])? == Some("down") {
        args.setup(Setup::NoLink { id: net.device.alias().to_owned() });
    }
    Ok(())
}

/// Returns whether the interface is an option `-device`. Boards of Arm have others built in.
fn has_device(cx: &Context<'_>, net: &Net<'_>) -> bool {
    // libvirt does not mean big-endian Arm here.
    let is_arm = cx.machine.family == Family::Arm && cx.machine.arch != "armv7b";
    !is_arm || matches!(net.device.address(), Some(Address::Pci(_) | Address::VirtioMmio))
}
