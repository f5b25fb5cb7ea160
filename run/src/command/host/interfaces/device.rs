//! The device of a network interface in the guest.

use capscache_domain::Address;

use super::{Net, mac};
use crate::command::host::rom;
use crate::command::virtio::{self, Interface};
use crate::command::{address, boot_order};
use crate::context::Context;
use crate::error::Error;
use crate::props::{List, Props};

/// The models that libvirt has. It takes others too, but compares these without regard to case.
const MODELS: &[&str] = &[
    "unknown",
    "netfront",
    "rtl8139",
    "virtio",
    "e1000",
    "e1000e",
    "igb",
    "virtio-transitional",
    "virtio-non-transitional",
    "usb-net",
    "spapr-vlan",
    "lan9118",
    "scm91c111",
    "vlance",
    "vmxnet",
    "vmxnet2",
    "vmxnet3",
    "Am79C970A",
    "Am79C973",
    "82540EM",
    "82545EM",
    "82543GC",
];

/// Returns the properties of the device.
pub(super) fn props(cx: &Context<'_>, net: &Net<'_>) -> Result<Props, Error> {
    let mut props = start(cx, net)?;
    props.set("netdev", net.backend());
    props.set("id", net.device.alias());
    props.set("mac", mac(net.view)?);
    props.set_some("bootindex", boot_order::index(cx, net.device)?);
    props.set_some("loadparm", boot_order::loadparm(cx, net.device)?);
    address::add(cx, net.device, &mut props)?;
    rom::add(net.device, &mut props)?;
    Ok(props)
}

/// Returns the option for an interface that is part of the board.
pub(super) fn legacy(net: &Net<'_>) -> Result<List, Error> {
    let mut list = List::new("nic");
    list.set("macaddr", mac(net.view)?);
    list.set("netdev", net.backend());
    list.set("model", model(net)?);
    list.set("id", net.device.alias());
    Ok(list)
}

fn model<'a>(net: &Net<'a>) -> Result<&'a str, Error> {
    let is_other = |known: &&str| known.eq_ignore_ascii_case(net.model) && *known != net.model;
    if let Some(known) = MODELS.iter().find(|known| is_other(known)) {
        return Err(net.view.unsupported("model@type", format!("write it as {known}")));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match net.model.chars().all(is_name) && !["", "unknown"].contains(&net.model) {
        true => Ok(net.model),
        false => Err(net.view.invalid("model@type", "it is not the name of a device")),
    }
}

/// Starts the properties: the model, and what only virtio has.
fn start(cx: &Context<'_>, net: &Net<'_>) -> Result<Props, Error> {
    let model = model(net)?;
    if net.is_virtio() {
        return start_virtio(cx, net);
    }
    cx.require_device(net.view, model)?;
    if net.view.has("teaming") {
        return Err(net.view.invalid("teaming", "the model must be virtio"));
    }
    // libvirt reads these for virtio only.
    net.view.ignore(&[
        "driver@name",
        "driver@txmode",
        "driver@ioeventfd",
        "driver@event_idx",
        "driver@queues",
        "driver@rx_queue_size",
        "driver@tx_queue_size",
        "driver@rss",
        "driver@rss_hash_report",
    ]);
    Ok(Props::device(model))
}

fn start_virtio(cx: &Context<'_>, net: &Net<'_>) -> Result<Props, Error> {
    let view = net.view;
    let interface = Interface::of(Some(net.model));
    let mut props = virtio::device(cx, net.device, "virtio-net", interface)?;
    let tx = view.one_of("driver@txmode", &["iothread", "timer"])?;
    props.set_some("tx", tx.map(|mode| if mode == "iothread" { "bh" } else { mode }));
    for name in ["ioeventfd", "event_idx"] {
        props.set_some(name, view.switch(&format!("driver@{name}"))?);
    }
    for name in ["csum", "gso", "tso4", "tso6", "ecn", "ufo", "mrg_rxbuf"] {
        let value = view.switch(&format!("driver/host@{name}"))?;
        let has_prefix = ["tso4", "tso6", "ecn", "ufo"].contains(&name);
        props.set_some(&format!("{}{name}", if has_prefix { "host_" } else { "" }), value);
    }
    for name in ["csum", "tso4", "tso6", "ecn", "ufo"] {
        let value = view.switch(&format!("driver/guest@{name}"))?;
        props.set_some(&format!("guest_{name}"), value);
    }
    if net.queues > 1 {
        props.set("mq", true);
        // Each queue has an interrupt for each direction; one more is for control, and one for changes.
        if !matches!(net.device.address(), Some(Address::Ccw(_))) {
            props.set("vectors", 2 * u32::from(net.queues) + 2);
        }
    }
    for name in ["rx_queue_size", "tx_queue_size"] {
        let place = format!("driver@{name}");
        let size: Option<u32> = view.number(&place)?;
        if size.is_some_and(|size| size > 0 && !size.is_power_of_two()) {
            return Err(view.invalid(&place, "it must be a power of two"));
        }
        props.set_some(name, size.filter(|size| *size > 0));
    }
    for (name, key) in [("rss", "rss"), ("rss_hash_report", "hash")] {
        let place = format!("driver@{name}");
        let value = view.switch(&place)?;
        let has = |driver| cx.has_property(driver, "rss");
        if value.is_some() && !has("virtio-net-pci") && !has("virtio-net-ccw") {
            return Err(view.lacks(&place, "the property rss of virtio-net; remove it"));
        }
        props.set_some(key, value);
    }
    let mtu: Option<u32> = view.number("mtu@size")?;
    props.set_some("host_mtu", mtu.filter(|mtu| *mtu > 0));
    let teaming = view.one_of("teaming@type", &["persistent"])?;
    props.set_some("failover", teaming.map(|_| true));
    Ok(props)
}
