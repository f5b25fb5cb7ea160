//! Filesystems of 9p.

use crate::command::address;
use capscache_format::CommandLineOption;

use crate::command::args::Args;
use crate::command::virtio::{self, Interface};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// Adds a directory and its device. The driver is `local`, or `handle` of old QEMU.
pub(super) fn add(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    driver: &str,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    let id = format!("fsdev-{}", device.alias());
    args.option("-fsdev", directory(cx, view, driver, &id)?);
    let interface = Interface::read(view)?;
    let mut props = virtio::device(cx, device, "virtio-9p", interface)?
        .with("id", device.alias())
        .with("fsdev", id)
        .with("mount_tag", view.require("target@dir")?);
    address::add(cx, device, &mut props)?;
    args.pci_device(device, &props);
    Ok(())
}

fn directory(cx: &Context<'_>, view: View<'_>, driver: &str, id: &str) -> Result<List, Error> {
    let mut list = List::new(driver);
    let modes = ["passthrough", "mapped", "squash"];
    let mode = view.one_of("@accessmode", &modes)?.unwrap_or("passthrough");
    let (fmode, dmode) = (permissions(view, "@fmode")?, permissions(view, "@dmode")?);
    if (fmode > 0 || dmode > 0) && mode != "mapped" {
        return Err(view.invalid("", "fmode and dmode need accessmode='mapped'"));
    }
    let multidevs = view.one_of("@multidevs", &["default", "remap", "forbid", "warn"])?;
    let multidevs = multidevs.filter(|word| *word != "default");
    if driver == "handle" {
        if mode != "passthrough" {
            return Err(view.invalid("@accessmode", "this driver has passthrough only"));
        }
        if multidevs.is_some() {
            return Err(view.unsupported("@multidevs", "this driver does not use it; remove it"));
        }
    } else {
        list.set("security_model", if mode == "squash" { "none" } else { mode });
        if let Some(multidevs) = multidevs {
            let option = cx.entry.command_line_option("fsdev").into_iter();
            let mut parameters = option.flat_map(CommandLineOption::parameters);
            if !parameters.any(|parameter| parameter.name() == "multidevs") {
                return Err(view.lacks("@multidevs", "the option multidevs of fsdev; remove it"));
            }
            list.set("multidevs", multidevs);
        }
        for (key, permissions) in [("fmode", fmode), ("dmode", dmode)] {
            if permissions > 0 {
                list.set(key, format_args!("{permissions:04o}"));
            }
        }
    }
    let policy = view.one_of("driver@wrpolicy", &["default", "immediate"])?;
    if policy == Some("immediate") {
        list.set("writeout", "immediate");
    }
    list.set("id", id);
    list.set("path", view.require("source@dir")?);
    if view.has("readonly") {
        list.push("readonly");
    }
    Ok(list)
}

/// Returns the permissions at a place; 0 if there are none.
fn permissions(view: View<'_>, place: &str) -> Result<u32, Error> {
    let Some(text) = view.text(place) else { return Ok(0) };
    match u32::from_str_radix(text, 8) {
        Ok(permissions) if permissions <= 0o777 => Ok(permissions),
        _ => Err(view.invalid(place, "it must be an octal number up to 0777")),
    }
}
