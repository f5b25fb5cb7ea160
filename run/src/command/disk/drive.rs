//! SD cards, which QEMU takes only as drives.

use crate::command::args::Args;
use crate::command::disk::facts::Disk;
use crate::command::disk::format::Format;
use crate::command::disk::settings::Settings;
use crate::error::Error;
use crate::props::List;

/// Adds an SD card.
pub(super) fn add(
    args: &mut Args,
    disk: &Disk<'_>,
    settings: &Settings,
    is_empty: bool,
) -> Result<(), Error> {
    let view = disk.device.view;
    let mut list = List::default();
    let format = Format::of_disk(view)?;
    let path = match (disk.source_type, is_empty) {
        (_, true) => None,
        ("file", _) => view.text("source@file"),
        ("block", _) => view.text("source@dev"),
        _ => return Err(view.unsupported("@type", "an SD card of this type is not supported")),
    };
    match path {
        Some(path) => list.set("file", path),
        None => {
            return Err(view.unsupported("source", "an SD card without medium is not supported"));
        }
    }
    list.set("format", format.word());
    list.set("if", "sd");
    let index = capscache_devaddr::disk_index(disk.name);
    list.set("index", index.ok_or_else(|| view.invalid("target@dev", "it is not a name"))?);
    if disk.is_readonly {
        list.set_switch("readonly", true);
    }
    if let Some(cache) = settings.cache {
        list.set("cache", cache.mode);
    }
    if let Some(copies) = view.switch("driver@copy_on_read")? {
        list.set_switch("copy-on-read", copies);
    }
    let options = [
        ("discard", settings.discard),
        ("detect-zeroes", settings.effective_detect_zeroes()),
        ("aio", settings.io),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            list.set(name, value);
        }
    }
    view.ignore(&["driver@name"]);
    args.option("-drive", list);
    Ok(())
}
