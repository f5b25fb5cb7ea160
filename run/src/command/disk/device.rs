//! The device of a disk in the guest.

use capscache_domain::DiskBus;
use serde_json::Value;

use crate::command::args::Args;
use crate::command::disk::facts::Disk;
use crate::command::disk::settings::Settings;
use crate::command::memory::iothreads;
use crate::command::virtio::{self, Interface};
use crate::command::{address, boot_order};
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Adds the device of a disk, which shows a node, or which a character device serves.
pub(super) fn add(
    cx: &Context<'_>,
    args: &mut Args,
    disk: &Disk<'_>,
    settings: &Settings,
    node: Option<String>,
) -> Result<(), Error> {
    let device = disk.device;
    let view = device.view;
    let mut props = front(cx, disk)?;
    match disk.bus {
        DiskBus::Ide | DiskBus::Sata | DiskBus::Scsi | DiskBus::Fdc => {
            address::add_drive(cx, device, disk.bus, &mut props)?;
        }
        _ => address::add(cx, device, &mut props)?,
    }
    let serial = serial(disk)?;
    if disk.bus == DiskBus::Scsi && !disk.is_lun() {
        // The serial number identifies the disk; otherwise its name does.
        let id = serial.map_or_else(|| format!("drive-{}", device.alias()), str::to_owned);
        props.set("device_id", id);
    }
    props.set_some("share-rw", disk.is_shared.then_some(true));
    let served = disk.is_vhost_user().then(|| format!("chr-vu-{}", device.alias()));
    props.set_some("drive", node);
    props.set_some("chardev", served);
    props.set("id", device.alias());
    add_boot(cx, disk, &mut props)?;
    add_block_sizes(disk, &mut props)?;
    props.set_some("wwn", wwn(disk)?);
    props.set_some("rotation_rate", rotation_rate(disk)?);
    add_names(disk, &mut props)?;
    props.set_some("removable", removable(disk)?);
    let write_back = settings.cache.map(|cache| cache.is_write_back).filter(|_| !disk.is_lun());
    props.set_some("write-cache", write_back.map(|on| if on { "on" } else { "off" }));
    add_geometry(disk, &mut props)?;
    // QEMU takes a space in a serial number only with a backslash.
    props.set_some("serial", serial.map(|serial| serial.replace(' ', "\\ ")));
    add_error_policies(disk, &mut props)?;
    view.ignore(&["driver@name"]);
    args.pci_device(device, &props);
    Ok(())
}

/// Returns the properties that depend on the bus.
fn front(cx: &Context<'_>, disk: &Disk<'_>) -> Result<Props, Error> {
    let view = disk.device.view;
    let driver = match disk.bus {
        DiskBus::Virtio => return virtio_block(cx, disk),
        DiskBus::Ide | DiskBus::Sata if disk.is_cdrom() => "ide-cd",
        DiskBus::Ide | DiskBus::Sata => "ide-hd",
        DiskBus::Scsi if disk.is_lun() => "scsi-block",
        DiskBus::Scsi if disk.is_cdrom() => "scsi-cd",
        DiskBus::Scsi => "scsi-hd",
        DiskBus::Usb => "usb-storage",
        DiskBus::Fdc => "floppy",
        _ => return Err(view.unsupported("target@bus", "QEMU has no disks on this bus")),
    };
    cx.require_device(view, driver)?;
    Ok(Props::device(driver))
}

fn virtio_block(cx: &Context<'_>, disk: &Disk<'_>) -> Result<Props, Error> {
    let view = disk.device.view;
    let interface = Interface::read(view)?;
    let base = if disk.is_vhost_user() { "vhost-user-blk" } else { "virtio-blk" };
    let mut props = virtio::device(cx, disk.device, base, interface)?;
    props.set_some("iothread", iothreads::of_driver(cx, view)?);
    props.set_some("ioeventfd", view.switch("driver@ioeventfd")?);
    props.set_some("event_idx", view.switch("driver@event_idx")?);
    if !disk.is_vhost_user() {
        props.set_some("scsi", scsi_commands(cx, disk)?);
    }
    let queues: Option<u32> = view.number("driver@queues")?;
    let queues = queues.filter(|queues| *queues > 0);
    props.set_some("num-queues", queues);
    let size: Option<u32> = view.number("driver@queue_size")?;
    props.set_some("queue-size", size.filter(|size| *size > 0));
    let mapping = iothreads::mapping(cx, view, queues)?;
    let drivers = ["virtio-blk-pci", "virtio-blk-ccw"];
    let can_map = drivers.iter().any(|driver| cx.has_property(driver, "iothread-vq-mapping"));
    if mapping.is_some() && !can_map {
        return Err(view.lacks("driver/iothreads", "threads for queues of disks; use one"));
    }
    props.set_some("iothread-vq-mapping", mapping);
    Ok(props)
}

/// Returns whether the disk passes commands of SCSI, if that is an option.
fn scsi_commands(cx: &Context<'_>, disk: &Disk<'_>) -> Result<Option<bool>, Error> {
    let property = ["virtio-blk-pci", "virtio-blk-ccw"]
        .iter()
        .find_map(|driver| cx.entry.device(driver).ok()?.property("scsi").ok());
    match property {
        None if disk.is_lun() => {
            Err(disk.device.view.lacks("@device", "virtio disks that pass commands of SCSI"))
        }
        None => Ok(None),
        Some(_) if disk.is_lun() => Ok(Some(true)),
        Some(property) => {
            let default = property.default_value().and_then(capscache_format::Value::as_bool);
            Ok((default != Some(false)).then_some(false))
        }
    }
}

fn add_boot(cx: &Context<'_>, disk: &Disk<'_>, props: &mut Props) -> Result<(), Error> {
    let index = boot_order::index(cx, disk.device)?;
    let parameter = boot_order::loadparm(cx, disk.device)?;
    // The controller of floppy drives has their boot order.
    if disk.is_floppy() {
        return Ok(());
    }
    props.set_some("bootindex", index);
    props.set_some("loadparm", parameter);
    Ok(())
}

fn add_block_sizes(disk: &Disk<'_>, props: &mut Props) -> Result<(), Error> {
    for size in ["logical_block_size", "physical_block_size", "discard_granularity"] {
        let bytes: Option<u32> = disk.device.view.number(&format!("blockio@{size}"))?;
        props.set_some(size, bytes.filter(|bytes| *bytes > 0));
    }
    Ok(())
}

fn wwn(disk: &Disk<'_>) -> Result<Option<u64>, Error> {
    let view = disk.device.view;
    let Some(text) = view.text("wwn").filter(|text| !text.is_empty()) else { return Ok(None) };
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let number = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16);
    match number {
        _ if !matches!(disk.bus, DiskBus::Ide | DiskBus::Scsi) || disk.is_lun() => {
            Err(view.invalid("wwn", "only emulated disks on IDE and SCSI have a WWN"))
        }
        None => Err(view.invalid("wwn", "a WWN has 16 hexadecimal digits")),
        number => Ok(number),
    }
}

fn rotation_rate(disk: &Disk<'_>) -> Result<Option<u32>, Error> {
    let view = disk.device.view;
    let rate: Option<u32> = view.number("target@rotation_rate")?;
    let has_rate = matches!(disk.bus, DiskBus::Ide | DiskBus::Sata | DiskBus::Scsi)
        && disk.kind == capscache_domain::DiskDevice::Disk;
    match rate.filter(|rate| *rate > 0) {
        Some(_) if !has_rate => {
            Err(view.invalid("target@rotation_rate", "only disks on IDE, SATA and SCSI rotate"))
        }
        rate => Ok(rate),
    }
}

/// Adds the names of vendor and product.
fn add_names(disk: &Disk<'_>, props: &mut Props) -> Result<(), Error> {
    let view = disk.device.view;
    let name = |place, length: usize| match view.exact_text(place) {
        Some(name) if name.len() > length || !name.chars().all(|c| matches!(c, ' '..='~')) => {
            Err(view.invalid(place, format!("it has at most {length} printable characters")))
        }
        name => Ok(name),
    };
    let is_ata = matches!(disk.bus, DiskBus::Ide | DiskBus::Sata);
    if (disk.bus != DiskBus::Scsi && !is_ata) || disk.is_lun() {
        return Ok(());
    }
    if disk.bus == DiskBus::Scsi {
        props.set_some("vendor", name("vendor", 8)?);
    }
    match is_ata {
        true => props.set_some("model", name("product", 40)?),
        false => props.set_some("product", name("product", 16)?),
    }
    Ok(())
}

fn removable(disk: &Disk<'_>) -> Result<Option<bool>, Error> {
    let view = disk.device.view;
    let is_scsi_disk = disk.bus == DiskBus::Scsi && disk.kind == capscache_domain::DiskDevice::Disk;
    match (view.switch("target@removable")?, disk.bus) {
        (removable, DiskBus::Usb) => Ok(Some(removable.unwrap_or(false))),
        (removable, _) if is_scsi_disk => Ok(removable),
        (None, _) => Ok(None),
        _ => Err(view.invalid("target@removable", "only disks on USB and SCSI are removable")),
    }
}

fn add_geometry(disk: &Disk<'_>, props: &mut Props) -> Result<(), Error> {
    let view = disk.device.view;
    let mut are_set = true;
    for part in ["cyls", "heads", "secs"] {
        let number: Option<u32> = view.number(&format!("geometry@{part}"))?;
        let number = number.filter(|number| *number > 0);
        are_set &= number.is_some();
        props.set_some(part, number);
    }
    let translation = view.one_of("geometry@trans", &["none", "auto", "lba"])?;
    props.set_some("bios-chs-trans", translation);
    if are_set && matches!(disk.bus, DiskBus::Usb | DiskBus::Sd) {
        return Err(view.invalid("geometry", "a disk on this bus has none"));
    }
    if are_set && translation.is_some() && disk.bus != DiskBus::Ide {
        return Err(view.invalid("geometry@trans", "only a disk on IDE has a translation"));
    }
    Ok(())
}

fn serial<'a>(disk: &Disk<'a>) -> Result<Option<&'a str>, Error> {
    let view = disk.device.view;
    let Some(serial) = view.exact_text("serial") else { return Ok(None) };
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_ .+".contains(c);
    if !serial.chars().all(is_valid) {
        return Err(view.invalid("serial", "it has letters, digits, spaces, and any of -_.+"));
    }
    if disk.bus == DiskBus::Scsi && disk.is_lun() {
        return Err(view.invalid("serial", "a device that is passed through has its own"));
    }
    Ok(Some(serial))
}

fn add_error_policies(disk: &Disk<'_>, props: &mut Props) -> Result<(), Error> {
    let view = disk.device.view;
    let write = view.one_of("driver@error_policy", &["stop", "report", "ignore", "enospace"])?;
    let read = view.one_of("driver@rerror_policy", &["stop", "report", "ignore"])?;
    let (write, read) = match (write, read) {
        (Some("enospace"), read) => (Some("enospc"), read),
        (write, read) => (write, read.or(write)),
    };
    props.set_some("werror", write.map(Value::from));
    props.set_some("rerror", read);
    Ok(())
}
