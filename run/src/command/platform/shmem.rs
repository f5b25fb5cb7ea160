//! Memory shared between guests.

use capscache_domain::{Kind, ShmemModel};

use crate::command::address;
use crate::command::args::Args;
use crate::command::character::chardev;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::{List, Props};

/// The size in bytes of memory that names none.
const DEFAULT_BYTES: u64 = 4 << 20;
/// The smallest size in bytes.
const MIN_BYTES: u64 = 1 << 20;

/// Adds memory shared between guests.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    cx.of(Kind::Shmem).try_for_each(|device| add_device(cx, device, args))
}

fn add_device(cx: &Context<'_>, device: DeviceView<'_>, args: &mut Args) -> Result<(), Error> {
    let view = device.view;
    let name = view.require("@name")?;
    if name.contains('/') || [".", ".."].contains(&name) {
        return Err(view.invalid("@name", "it is not the name of a file; use another"));
    }
    match view.word("model@type")? {
        Some(ShmemModel::Plain) => add_plain(cx, device, name, args),
        Some(ShmemModel::Doorbell) => add_doorbell(cx, device, name, args),
        _ => {
            let what = "QEMU has no ivshmem any longer; set the model to ivshmem-plain";
            Err(view.invalid("", what))
        }
    }
}

/// Adds memory that is a file of its own.
fn add_plain(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    name: &str,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    cx.require_device(view, "ivshmem-plain")?;
    let role = view.one_of("@role", &["master", "peer"])?;
    let memory = format!("shmmem-{}", device.alias());
    let object = Props::object("memory-backend-file", &memory)
        .with("mem-path", format!("/dev/shm/{name}"))
        .with("size", size(device)?)
        .with("share", true);
    args.object(&object);
    let mut props =
        Props::device("ivshmem-plain").with("id", device.alias()).with("memdev", memory);
    props.set_some("master", role.map(|role| if role == "master" { "on" } else { "off" }));
    address::add(cx, device, &mut props)?;
    args.pci_device(device, &props);
    Ok(())
}

/// Adds memory that a server has.
fn add_doorbell(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    name: &str,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    cx.require_device(view, "ivshmem-doorbell")?;
    if !view.has("server") {
        return Err(view.invalid("", "an ivshmem-doorbell needs a server; add it"));
    }
    if view.text("size").is_some_and(|size| size != "0") {
        return Err(view.invalid("size", "the server sets the size; remove it"));
    }
    // With a server, all are peers.
    view.one_of("@role", &["master", "peer"])?;
    let path = match view.text("server@path") {
        Some(path) if path.contains("//") || path.ends_with('/') => {
            let what = "the path has empty parts; remove them";
            return Err(view.unsupported("server@path", what));
        }
        Some(path) => path.to_owned(),
        None => format!("/var/lib/libvirt/shmem-{name}-sock"),
    };
    let chardev = chardev::id(device);
    let vectors: Option<u32> = view.any_number("msi@vectors")?;
    let mut props =
        Props::device("ivshmem-doorbell").with("id", device.alias()).with("chardev", &*chardev);
    props.set_some("vectors", vectors.filter(|vectors| *vectors > 0));
    props.set("ioeventfd", view.switch("msi@ioeventfd")?.unwrap_or(true));
    address::add(cx, device, &mut props)?;
    args.pci_device(device, &props);
    let mut list = List::new("socket");
    list.set("id", chardev);
    list.set("path", path);
    args.option("-chardev", list);
    Ok(())
}

/// Returns the size in bytes, which is also the unit of a size that names none.
fn size(device: DeviceView<'_>) -> Result<u64, Error> {
    let view = device.view;
    let Some(text) = view.text("size") else { return Ok(DEFAULT_BYTES) };
    let wrong = || view.invalid("size", "it is not a power of two of at least 1 MiB; change it");
    let bytes = match view.text("size@unit") {
        None => text.parse().ok(),
        unit => capscache_domain::kib(text, unit).and_then(|kib| kib.checked_mul(1024)),
    };
    match bytes.ok_or_else(wrong)? {
        0 => Ok(DEFAULT_BYTES),
        bytes if bytes < MIN_BYTES || !bytes.is_power_of_two() => Err(wrong()),
        bytes => Ok(bytes),
    }
}
