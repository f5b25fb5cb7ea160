//! SCSI devices of the host, and of iSCSI targets.

use capscache_domain::{DiskBus, Kind};

use super::Seen;
use crate::command::Setup;
use crate::command::args::Args;
use crate::command::disk::iscsi::{Unit, portal};
use crate::command::disk::numbers;
use crate::command::{address, boot_order, secrets};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;
use crate::secret::SecretUsage;
use crate::view::View;

/// The source of a device.
struct Source {
    /// The name that differs from those of other sources.
    name: String,
    /// The secret.
    object: Option<Props>,
    /// The node.
    props: Props,
}

/// Adds a device.
pub(super) fn add(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    seen: &mut Seen,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    // They concern devices that are bound to a driver, and those that several guests have.
    view.ignore(&["@managed"]);
    view.has("shareable");
    view.one_of("@sgio", &["filtered"])?;
    if view.yes_no("@rawio")? == Some(true) {
        args.setup(Setup::RawIo);
    }
    let node = format!("libvirt-{}-backend", number(cx, device));
    let source = read(cx, view, &node)?;
    seen.add(view, source.name)?;
    if let Some(object) = source.object {
        args.object(&object);
    }
    let is_readonly = view.has("readonly");
    let node_props = source.props.with("node-name", node.as_str()).with("read-only", is_readonly);
    args.option("-blockdev", node_props);
    cx.require_device(view, "scsi-generic")?;
    let mut props = Props::device("scsi-generic").with("drive", node).with("id", device.alias());
    props.set_some("bootindex", boot_order::index(cx, device)?);
    props.set_some("loadparm", boot_order::loadparm(cx, device)?);
    address::add_drive(cx, device, DiskBus::Scsi, &mut props)?;
    args.device(&props);
    Ok(())
}

/// Returns the number in the name of the node: those of disks come before.
fn number(cx: &Context<'_>, device: DeviceView<'_>) -> u32 {
    let scsi = cx.of(Kind::Hostdev).filter(|other| other.view.peek("@type") == Some("scsi"));
    let before = scsi.take_while(|other| !std::ptr::eq(other.typed, device.typed)).count();
    numbers::total(cx).saturating_add(u32::try_from(before).unwrap_or(u32::MAX)).saturating_add(1)
}

fn read(cx: &Context<'_>, view: View<'_>, node: &str) -> Result<Source, Error> {
    let source = view.child("source").ok_or_else(|| view.invalid("", "add <source>"))?;
    match source.one_of("@protocol", &["none", "iscsi"])? {
        Some("iscsi") => iscsi(cx, source, node),
        _ => host(cx, source),
    }
}

/// Reads a device of the host, which has a character device.
fn host(cx: &Context<'_>, source: View<'_>) -> Result<Source, Error> {
    let require = |name: &str| -> Result<u64, Error> {
        let place = format!("address@{name}");
        source.require(&place)?;
        Ok(source.any_number(&place)?.unwrap_or(0))
    };
    let adapter = source.require("adapter@name")?;
    let (bus, target, unit) = (require("bus")?, require("target")?, require("unit")?);
    let Some(path) = (cx.host.scsi_generic)(adapter, [bus, target, unit]) else {
        return Err(source.unsupported("", "the host does not have this device"));
    };
    let props = Props::device("host_device").with("filename", path.display().to_string());
    Ok(Source { name: format!("scsi {adapter} {bus} {target} {unit}"), object: None, props })
}

/// Reads a unit of an iSCSI target.
fn iscsi(cx: &Context<'_>, source: View<'_>, node: &str) -> Result<Source, Error> {
    let unit = Unit::read(source)?;
    let portal = only_portal(source)?;
    let id = format!("{node}-secret0");
    let (mut object, mut user) = (None, None);
    if let Some(auth) = source.child("auth") {
        let secret = auth.child("secret").ok_or_else(|| auth.invalid("", "add <secret>"))?;
        secret.require("@type")?;
        secret.one_of("@type", &["iscsi"])?;
        object = Some(secrets::object(cx, secret, SecretUsage::Iscsi, &id)?);
        user = Some(auth.require("@username")?);
    }
    let props = unit.node(source, &portal, user, user.map(|_| id.as_str()));
    let Unit { target, lun } = unit;
    Ok(Source { name: format!("iscsi {portal} {target} {lun}"), object, props })
}

/// Returns the address of the only host.
fn only_portal(source: View<'_>) -> Result<String, Error> {
    let mut hosts = source.children("host");
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(source.invalid("", "it must have one host"));
    };
    host.one_of("@transport", &["tcp"])?;
    let name = host.require("@name")?;
    let port: Option<u16> = host.number("@port")?;
    let Some(port) = port.filter(|port| *port > 0) else {
        // libvirt has no default one here.
        return Err(host.unsupported("", "it has no port; add one, as in port='3260'"));
    };
    Ok(portal(name, port))
}
