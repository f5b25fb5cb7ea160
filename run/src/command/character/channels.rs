//! Channels between host and guest.

use std::net::Ipv4Addr;

use capscache_domain::{Address, ChannelType, Kind};
use serde_json::json;

use super::chardev::{self, Chardev};
use crate::command::address;
use crate::command::args::Args;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;

/// The name in the guest of the channel of SPICE's agent.
const SPICE: &str = "com.redhat.spice.0";

/// Adds channels.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for device in cx.of(Kind::Channel) {
        let view = device.view;
        match view.word("target@type")? {
            Some(ChannelType::Virtio) => add_virtio(cx, args, device)?,
            Some(ChannelType::Guestfwd) => add_forward(cx, args, device)?,
            _ => return Err(view.invalid("target@type", "QEMU has no such channel; use virtio")),
        }
    }
    Ok(())
}

fn add_virtio(cx: &Context<'_>, args: &mut Args, device: DeviceView<'_>) -> Result<(), Error> {
    let view = device.view;
    view.ignore(&["target@state", "target@port"]);
    let r#type = view.text("@type").unwrap_or("pty");
    let name = view.text("target@name");
    let mut chardev = Chardev::new(device, r#type);
    chardev.socket = Some(socket(cx, device, name));
    chardev::add(cx, args, &chardev)?;
    let is_spice = r#type == "spicevmc";
    if is_spice && name.is_some_and(|name| name != SPICE) {
        return Err(view.invalid("target@name", format!("a channel of SPICE is called {SPICE}")));
    }
    if !matches!(device.address(), None | Some(Address::VirtioSerial(_))) {
        return Err(view.invalid("address", "a channel has an address of type virtio-serial"));
    }
    let mut props = Props::device("virtserialport");
    address::add(cx, device, &mut props)?;
    props.set("chardev", chardev.id);
    props.set("id", device.alias());
    props.set_some("name", name.or(is_spice.then_some(SPICE)));
    args.device(&props);
    Ok(())
}

/// Returns the path of the socket of a channel that names none.
fn socket(cx: &Context<'_>, device: DeviceView<'_>, name: Option<&str>) -> String {
    let file = match (name, device.address()) {
        (Some(name), _) => name.to_owned(),
        (None, Some(Address::VirtioSerial(a))) => {
            format!("vioser-{:02}-{:02}-{:02}.sock", a.controller, a.bus, a.port)
        }
        (None, _) => "vioser-00-00-00.sock".to_owned(),
    };
    format!("{}/{file}", cx.host.channel_dir.display())
}

/// Adds a network of its own that forwards connections of the guest to the host's side.
fn add_forward(cx: &Context<'_>, args: &mut Args, device: DeviceView<'_>) -> Result<(), Error> {
    let view = device.view;
    let r#type = view.text("@type").unwrap_or("pty");
    if r#type == "spicevmc" {
        return Err(view.invalid("@type", "only channels of virtio can be of this type"));
    }
    let address: Ipv4Addr = view.require("target@address")?.parse().map_err(|_| {
        view.invalid("target@address", "it is not a valid address; use one of IPv4")
    })?;
    let port: Option<u16> = view.number("target@port")?;
    let port = port.ok_or_else(|| view.invalid("target", "the port is missing; add it"))?;
    let chardev = Chardev::new(device, r#type);
    chardev::add(cx, args, &chardev)?;
    let forward = format!("tcp:{address}:{port}-chardev:{}", chardev.id);
    let props = Props::default()
        .with("type", "user")
        .with("guestfwd", json!([{ "str": forward }]))
        .with("id", device.alias());
    args.netdev(cx, &props);
    Ok(())
}
