//! Tap and macvtap devices of the host.

use std::path::PathBuf;
use std::sync::Arc;

use capscache_domain::{DomainType, InterfaceType};

use super::{Net, mac, port};
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::host::{Descriptor, HostIp, HostRoute, Link, Tap};
use crate::props::Props;

/// The largest number of queues of a tap device (`MAX_TAP_QUEUES` of Linux).
const MAX_QUEUES: u16 = 256;

/// Passes descriptors of the device and of vhost-net, and returns the backend.
pub(super) fn props(
    cx: &Context<'_>,
    net: &Net<'_>,
    has_device: bool,
    args: &mut Args,
) -> Result<Props, Error> {
    if net.queues > MAX_QUEUES {
        let what = format!("a device of the host has at most {MAX_QUEUES} queues");
        return Err(net.view.invalid("driver@queues", what));
    }
    let link = Arc::new(link(cx, net)?);
    let mut props = Props::default().with("type", "tap");
    if !args.has_room_for_descriptors(2 * usize::from(net.queues)) {
        let what = "the guest needs more descriptors than a process has; use fewer queues";
        return Err(net.view.invalid("", what));
    }
    let fds = (0..net.queues)
        .map(|queue| args.descriptor(Descriptor::Tap { link: Arc::clone(&link), queue }));
    add_numbers(&mut props, "fd", fds.collect());
    if let Some(path) = vhost(cx, net, has_device)? {
        let fds = (0..net.queues)
            .map(|queue| args.descriptor(Descriptor::VhostNet { path: path.clone(), queue }));
        props.set("vhost", true);
        add_numbers(&mut props, "vhostfd", fds.collect());
    }
    props.set_some("sndbuf", net.view.number::<u64>("tune/sndbuf")?);
    Ok(props)
}

/// Adds one number, or several with a key in the plural.
fn add_numbers(props: &mut Props, key: &str, numbers: Vec<i32>) {
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    let ending = if texts.len() > 1 { "s" } else { "" };
    props.set(&format!("{key}{ending}"), texts.join(":"));
}

/// Returns the device of vhost-net, if it transfers the packets: it must be there only if the guest names the driver.
fn vhost(cx: &Context<'_>, net: &Net<'_>, has_device: bool) -> Result<Option<PathBuf>, Error> {
    if !net.is_virtio() {
        // libvirt does not read them for other models.
        net.view.ignore(&["driver@name", "backend@vhost"]);
        return Ok(None);
    }
    let name = net.view.one_of("driver@name", &["qemu", "vhost"])?;
    let path = PathBuf::from(net.view.text("backend@vhost").unwrap_or("/dev/vhost-net"));
    let has_accelerator = cx.guest.r#type == DomainType::Kvm || cx.host.vhost_without_kvm;
    if !has_device || !has_accelerator || name == Some("qemu") {
        return Ok(None);
    }
    Ok((name == Some("vhost") || (cx.host.opens)(&path)).then_some(path))
}

/// Returns the device of the host.
fn link(cx: &Context<'_>, net: &Net<'_>) -> Result<Link, Error> {
    let view = net.view;
    let mut tap = tap(net)?;
    Ok(match net.r#type {
        InterfaceType::Ethernet => {
            tap.exists = view.yes_no("target@managed")? == Some(false);
            if tap.exists && tap.name.is_none() {
                return Err(view.invalid("target", "a device that is not managed needs its name"));
            }
            let path = |place| view.text(place).map(PathBuf::from);
            (tap.script, tap.down_script) = (path("script@path"), path("downscript@path"));
            (tap.addresses, tap.routes) = (addresses(net)?, routes(net)?);
            Link::Tap(tap)
        }
        InterfaceType::Bridge => {
            let bridge = view.require("source@bridge")?.to_owned();
            Link::Bridge { bridge, port: port(view)?, tap }
        }
        InterfaceType::Direct => {
            let device = view.require("source@dev")?.to_owned();
            let modes = ["vepa", "private", "bridge", "passthrough"];
            let mode = view.one_of("source@mode", &modes)?.unwrap_or("vepa").to_owned();
            Link::Macvtap { device, mode, port: port(view)?, tap }
        }
        _ => of_network(cx, net, tap)?,
    })
}

/// Returns the device that connects an interface with a network of libvirt.
fn of_network(cx: &Context<'_>, net: &Net<'_>, tap: Tap) -> Result<Link, Error> {
    let network = net.view.require("source@network")?;
    // It names the port that libvirt's daemon of networks keeps.
    net.view.ignore(&["source@portid"]);
    let port = port(net.view)?;
    match (cx.host.network)(network) {
        Some(Link::Bridge { bridge, .. }) => Ok(Link::Bridge { bridge, port, tap }),
        Some(Link::Macvtap { device, mode, .. }) => Ok(Link::Macvtap { device, mode, port, tap }),
        _ => Err(net.view.unsupported(
            "source@network",
            "networks of libvirt are not supported; use an interface of type bridge",
        )),
    }
}

fn tap(net: &Net<'_>) -> Result<Tap, Error> {
    let view = net.view;
    let name = view.text("target@dev");
    // libvirt takes such names for those that it chose in an earlier run.
    let is_chosen =
        |name: &&str| ["vnet", "macvtap", "macvlan"].iter().any(|p| name.starts_with(p));
    let is_managed = view.peek("target@managed") != Some("no");
    let frames = match net.r#type {
        InterfaceType::Bridge | InterfaceType::Network => {
            view.has("coalesce/rx");
            view.number("coalesce/rx/frames@max")?
        }
        _ => None,
    };
    let path = match net.r#type {
        InterfaceType::Direct => None,
        _ => view.text("backend@tap").map(PathBuf::from),
    };
    Ok(Tap {
        name: name.filter(|name| !(is_managed && is_chosen(name))).map(str::to_owned),
        path,
        mac: mac(view)?,
        mtu: view.number("mtu@size")?.filter(|mtu| *mtu > 0),
        coalesced_frames: frames,
        queues: net.queues,
        has_virtio_header: net.is_virtio() || ["e1000e", "vmxnet3"].contains(&net.model),
        ..Tap::default()
    })
}

fn addresses(net: &Net<'_>) -> Result<Vec<HostIp>, Error> {
    let Some(source) = net.view.child("source") else { return Ok(Vec::new()) };
    let read = |ip: crate::view::View<'_>| {
        ip.one_of("@family", &["ipv4", "ipv6"])?;
        Ok(HostIp {
            address: ip.require("@address")?.to_owned(),
            prefix: ip.number("@prefix")?,
            peer: ip.text("@peer").map(str::to_owned),
        })
    };
    source.children("ip").map(read).collect()
}

fn routes(net: &Net<'_>) -> Result<Vec<HostRoute>, Error> {
    let Some(source) = net.view.child("source") else { return Ok(Vec::new()) };
    let read = |route: crate::view::View<'_>| {
        route.one_of("@family", &["ipv4", "ipv6"])?;
        Ok(HostRoute {
            address: route.require("@address")?.to_owned(),
            prefix: route.number("@prefix")?,
            netmask: route.text("@netmask").map(str::to_owned),
            gateway: route.require("@gateway")?.to_owned(),
            metric: route.number("@metric")?,
        })
    };
    source.children("route").map(read).collect()
}
