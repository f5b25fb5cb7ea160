//! The backend of a network interface on the host.

use capscache_domain::InterfaceType;
use serde_json::json;

use super::{Net, link, passt, user};
use crate::command::Setup;
use crate::command::args::Args;
use crate::command::memory::shared;
use crate::command::reconnect;
use crate::context::Context;
use crate::error::Error;
use crate::host::Descriptor;
use crate::props::{List, Props};

/// Adds the backend, and what it needs.
pub(super) fn add(
    cx: &Context<'_>,
    net: &Net<'_>,
    has_device: bool,
    args: &mut Args,
) -> Result<(), Error> {
    check(net, has_device)?;
    let mut props = match net.r#type {
        InterfaceType::User if net.is_passt => passt::props(cx, net, args)?,
        InterfaceType::User => user::props(net)?,
        InterfaceType::Internal => {
            net.view.require("source@name")?;
            Props::default().with("type", "user")
        }
        InterfaceType::Ethernet
        | InterfaceType::Bridge
        | InterfaceType::Network
        | InterfaceType::Direct => link::props(cx, net, has_device, args)?,
        InterfaceType::Client
        | InterfaceType::Server
        | InterfaceType::Mcast
        | InterfaceType::Udp => socket(net)?,
        InterfaceType::Vhostuser => vhost_user(cx, net, args)?,
        InterfaceType::Vdpa => vdpa(cx, net, args)?,
        _ => {
            return Err(net.view.invalid("@type", "QEMU has no interface of this type"));
        }
    };
    props.set("id", net.backend());
    args.netdev(cx, &props);
    Ok(())
}

/// Checks what depends on the type.
fn check(net: &Net<'_>, has_device: bool) -> Result<(), Error> {
    use InterfaceType as Type;
    let view = net.view;
    let is_direct = net.r#type == Type::Direct;
    let is_tap = matches!(net.r#type, Type::Ethernet | Type::Bridge | Type::Network);
    let is_vhost = matches!(net.r#type, Type::Vhostuser | Type::Vdpa);
    if net.queues > 1 && !is_tap && !is_direct && !is_vhost {
        return Err(view.invalid("driver@queues", "an interface of this type has one queue"));
    }
    let has_mtu = is_tap || net.is_passt || net.r#type == Type::Vhostuser;
    let mtu: Option<u32> = view.number("mtu@size")?;
    if mtu.is_some_and(|mtu| mtu > 0) && !has_mtu {
        return Err(view.invalid("mtu", "an interface of this type has no MTU"));
    }
    if is_vhost && !(net.is_virtio() && has_device) {
        return Err(view.invalid("model@type", "an interface of this type must be virtio"));
    }
    if net.is_virtio() && !is_tap && !is_direct {
        // It selects the backend of tap devices.
        view.one_of("driver@name", &["qemu", "vhost"])?;
    }
    if !is_tap && !is_direct {
        // There is no device of the host that could have the name.
        view.ignore(&["target@dev"]);
    }
    Ok(())
}

/// Returns the backend of an interface that is connected by a socket.
fn socket(net: &Net<'_>) -> Result<Props, Error> {
    let source = net.view.child("source").ok_or_else(|| net.view.invalid("", "add <source>"))?;
    let address = match net.r#type {
        InterfaceType::Server => source.text("@address").unwrap_or_default(),
        _ => source.require("@address")?,
    };
    let endpoint = |address: &str, port: &str| {
        let valid = port.parse::<i32>().is_ok_and(|number| number.to_string() == port);
        match valid {
            true => Ok(format!("{address}:{port}")),
            false => Err(source.invalid("", "the port is not a number")),
        }
    };
    let remote = endpoint(address, source.require("@port")?)?;
    let props = Props::default().with("type", "socket");
    Ok(match net.r#type {
        InterfaceType::Client => props.with("connect", remote),
        InterfaceType::Server => props.with("listen", remote),
        InterfaceType::Mcast => props.with("mcast", remote),
        _ => {
            let address = source.require("local@address")?;
            let local = endpoint(address, source.require("local@port")?)?;
            props.with("udp", remote).with("localaddr", local)
        }
    })
}

/// Adds the character device of a process that implements the interface, and returns the backend.
fn vhost_user(cx: &Context<'_>, net: &Net<'_>, args: &mut Args) -> Result<Props, Error> {
    shared::require_shared(cx, net.view)?;
    let id = format!("char{}", net.device.alias());
    let mut chardev = List::new("socket");
    chardev.set("id", &id);
    let seconds;
    if net.is_passt {
        passt::start(cx, net, args)?;
        chardev.set("path", passt::socket(cx, net));
        seconds = Some(passt::RECONNECT_SECONDS);
    } else {
        let source =
            net.view.child("source").ok_or_else(|| net.view.invalid("", "add <source>"))?;
        source.one_of("@type", &["unix"])?;
        chardev.set("path", source.require("@path")?);
        let is_server = source.one_of("@mode", &["client", "server"])? == Some("server");
        if is_server {
            chardev.set_switch("server", true);
        }
        seconds = reconnect::read(source)?;
        if is_server && seconds.is_some_and(|seconds| seconds > 0) {
            return Err(source.invalid("reconnect", "a server does not reconnect"));
        }
    }
    reconnect::set(cx, seconds, &mut chardev);
    args.option("-chardev", chardev);
    let props = Props::default().with("type", "vhost-user").with("chardev", id);
    Ok(with_queues(net, props))
}

/// Passes the descriptor of a vDPA device, and returns the backend.
fn vdpa(cx: &Context<'_>, net: &Net<'_>, args: &mut Args) -> Result<Props, Error> {
    if !cx.entry.schema().has("netdev_add/arg-type/+vhost-vdpa").is_yes() {
        return Err(net.view.lacks("@type", "the backend vhost-vdpa; use another type"));
    }
    // The device reaches the memory of the guest, which must stay where it is.
    args.setup(Setup::LockedMemory);
    let path = net.view.require("source@dev")?.into();
    let opaque = format!("{}-vdpa", net.device.alias());
    let path = args.descriptor_set(Descriptor::Vdpa { path }, &opaque);
    let props = Props::default().with("type", "vhost-vdpa").with("vhostdev", path);
    Ok(with_queues(net, props))
}

fn with_queues(net: &Net<'_>, props: Props) -> Props {
    match net.queues {
        0 | 1 => props,
        queues => props.with("queues", json!(queues)),
    }
}
