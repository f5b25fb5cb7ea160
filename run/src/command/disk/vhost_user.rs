//! Disks that another process serves (vhost-user).

use capscache_domain::DiskBus;

use crate::command::args::Args;
use crate::command::disk::facts::Disk;
use crate::command::disk::format::Format;
use crate::command::reconnect;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;

/// Places that a disk which another process serves cannot have.
const REFUSED: &[&str] = &[
    "driver@cache",
    "driver@io",
    "driver@discard",
    "driver@detect_zeroes",
    "driver@copy_on_read",
    "driver@error_policy",
    "driver@rerror_policy",
    "driver@ioeventfd",
    "driver@iothread",
];

/// Elements that it cannot have.
const REFUSED_ELEMENTS: &[&str] = &["serial", "geometry", "blockio", "readonly", "shareable"];

/// Adds the connection to the process.
pub(super) fn add(cx: &Context<'_>, args: &mut Args, disk: &Disk<'_>) -> Result<(), Error> {
    let view = disk.device.view;
    if disk.bus != DiskBus::Virtio {
        return Err(view.invalid("target@bus", "another process serves only disks on virtio"));
    }
    let mut attributes = REFUSED.iter().filter(|place| view.peek(place).is_some());
    let refused = attributes.next().or_else(|| {
        REFUSED_ELEMENTS.iter().find(|name| view.elements().any(|child| child.name() == **name))
    });
    if let Some(place) = refused {
        return Err(view.invalid(place, "the process that serves the disk sets it; remove it"));
    }
    if disk.is_lun() {
        return Err(view.invalid("@device", "another process serves no devices that are passed"));
    }
    view.require("source@type")?;
    view.one_of("source@type", &["unix"])?;
    // The format does not matter: the process has it.
    Format::of_disk(view)?;
    view.ignore(&["source@index"]);
    let mut list = List::new("socket");
    list.set("id", format_args!("chr-vu-{}", disk.device.alias()));
    list.set("path", view.require("source@path")?);
    if let Some(source) = view.child("source") {
        reconnect::set(cx, reconnect::read(source)?, &mut list);
    }
    args.option("-chardev", list);
    Ok(())
}
