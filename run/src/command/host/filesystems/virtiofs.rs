//! Filesystems of virtiofs, which a daemon serves.

use std::path::PathBuf;

use capscache_domain::Address;

use crate::command::args::Args;
use crate::command::memory::shared;
use crate::command::virtio::{self, Interface};
use crate::command::{address, boot_order};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::host::Helper;
use crate::props::List;
use crate::view::View;

/// Adds the socket of the daemon, and the device.
pub(super) fn add(cx: &Context<'_>, device: DeviceView<'_>, args: &mut Args) -> Result<(), Error> {
    let view = device.view;
    shared::require_shared(cx, view)?;
    let path = match view.text("source@socket") {
        Some(path) => path.to_owned(),
        None => start_daemon(cx, device, args)?,
    };
    let id = format!("chr-vu-{}", device.alias());
    let mut chardev = List::new("socket");
    chardev.set("id", &id);
    chardev.set("path", path);
    args.option("-chardev", chardev);
    let queue_size: Option<u64> = view.number("driver@queue")?;
    let order = boot_order::index(cx, device)?;
    check_order(cx, device, order)?;
    let mut props = virtio::device(cx, device, "vhost-user-fs", Interface::Default)?;
    props.set("id", device.alias());
    props.set("chardev", id);
    props.set_some("queue-size", queue_size.filter(|size| *size > 0));
    props.set("tag", view.require("target@dir")?);
    props.set_some("bootindex", order);
    address::add(cx, device, &mut props)?;
    args.pci_device(device, &props);
    Ok(())
}

fn check_order(cx: &Context<'_>, device: DeviceView<'_>, order: Option<u32>) -> Result<(), Error> {
    if order.is_none() {
        return Ok(());
    }
    if !cx.has_property("vhost-user-fs-device", "bootindex") {
        let what = "the property bootindex of vhost-user-fs; remove it";
        return Err(device.view.lacks("boot", what));
    }
    match device.address() {
        Some(Address::Pci(_)) => Ok(()),
        _ => Err(device.view.invalid("boot", "only a filesystem on PCI has a boot order")),
    }
}

/// Adds the daemon, and returns the path of its socket.
fn start_daemon(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    args: &mut Args,
) -> Result<String, Error> {
    let view = device.view;
    // Any other mode is invalid.
    view.one_of("@accessmode", &["passthrough"])?;
    let path = format!("{}/{}-fs.sock", cx.host.guest_dir.display(), device.alias());
    let program = view.text("binary@path");
    let program: PathBuf = program.map_or_else(|| cx.host.virtiofsd.clone(), Into::into);
    let mut words = vec![format!("--socket-path={path}")];
    // That of QEMU before 8.0 is in QEMU's own directory.
    words.extend(options(view, program.ends_with("qemu/virtiofsd"))?);
    args.helper(Helper { program, args: words, socket: path.clone().into() });
    Ok(path)
}

/// Returns the options of the daemon, except for the socket.
fn options(view: View<'_>, is_old: bool) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let binary = view.child("binary");
    let locks = [switch(binary, "lock@posix")?, switch(binary, "lock@flock")?];
    match locks {
        [None, None] if !is_old => add_options(view, binary, &mut words)?,
        _ => add_old_options(view, binary, locks, &mut words)?,
    }
    if let Some(binary) = binary {
        if let Some(size) = binary.number::<u32>("thread_pool@size")? {
            words.push(format!("--thread-pool-size={size}"));
        }
        if let Some(max) = binary.number::<u64>("openfiles@max")?.filter(|max| *max > 0) {
            words.push(format!("--rlimit-nofile={max}"));
        }
    }
    for kind in ["uid", "gid"] {
        for map in view.child("idmap").into_iter().flat_map(|maps| maps.children(kind)) {
            let number = |place| -> Result<u32, Error> {
                map.require(place)?;
                Ok(map.number::<u32>(place)?.unwrap_or_default())
            };
            let (start, target, count) = (number("@start")?, number("@target")?, number("@count")?);
            words.push(format!("--{kind}-map=:{start}:{target}:{count}:"));
        }
    }
    if view.has("readonly") {
        words.push("--readonly".to_owned());
    }
    Ok(words)
}

/// Adds the options of the daemon.
fn add_options(
    view: View<'_>,
    binary: Option<View<'_>>,
    words: &mut Vec<String>,
) -> Result<(), Error> {
    words.extend(["--shared-dir".to_owned(), view.require("source@dir")?.to_owned()]);
    let Some(binary) = binary else { return Ok(()) };
    let mut add = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
    if let Some(mode) = binary.one_of("cache@mode", &["none", "always"])? {
        add("--cache", if mode == "none" { "never" } else { mode });
    }
    if let Some(mode) = binary.one_of("sandbox@mode", &["namespace", "chroot"])? {
        add("--sandbox", mode);
    }
    if binary.switch("@xattr")? == Some(true) {
        words.push("--xattr".to_owned());
    }
    Ok(())
}

/// Adds the options of the older daemon, which alone has those of locks.
fn add_old_options(
    view: View<'_>,
    binary: Option<View<'_>>,
    [posix, flock]: [Option<bool>; 2],
    words: &mut Vec<String>,
) -> Result<(), Error> {
    let mut list = List::default();
    list.set("source", view.require("source@dir")?);
    if let Some(binary) = binary {
        if let Some(mode) = binary.one_of("cache@mode", &["none", "always"])? {
            list.set("cache", mode);
        }
        if let Some(mode) = binary.one_of("sandbox@mode", &["namespace", "chroot"])? {
            list.set("sandbox", mode);
        }
    }
    let xattr = switch(binary, "@xattr")?;
    for (name, value) in [("xattr", xattr), ("flock", flock), ("posix_lock", posix)] {
        match value {
            Some(true) => list.push(name),
            Some(false) => list.push(&format!("no_{name}")),
            None => {}
        }
    }
    words.extend(["-o".to_owned(), list.to_string()]);
    Ok(())
}

fn switch(view: Option<View<'_>>, place: &str) -> Result<Option<bool>, Error> {
    view.map_or(Ok(None), |view| view.switch(place))
}

#[cfg(test)]
mod tests {
    use capscache_domain::Guest;

    use super::options;
    use crate::view::Reader;

    fn options_of(binary: &str) -> String {
        let xml = format!(
            "<domain type='kvm'><os><type>hvm</type></os><devices><filesystem type='mount'><source dir='/a,b'/><target dir='t'/>\
             <binary {binary}</binary>\
             <idmap><uid start='0' target='1000' count='1'/></idmap><readonly/>\
             </filesystem></devices></domain>"
        );
        let guest = Guest::from_xml(&xml).unwrap();
        let root = guest.to_element();
        let reader = Reader::new(&root, &guest);
        let devices = reader.root().child("devices").unwrap();
        options(devices.child("filesystem").unwrap(), false).unwrap().join(" ")
    }

    #[test]
    fn locks_need_the_options_of_the_older_daemon() {
        let binary = "xattr='on'><cache mode='none'/><thread_pool size='16'/>";
        assert_eq!(
            options_of(binary),
            "--shared-dir /a,b --cache never --xattr --thread-pool-size=16 \
             --uid-map=:0:1000:1: --readonly"
        );
        assert_eq!(
            options_of("xattr='off'><cache mode='none'/><lock posix='off' flock='on'/>"),
            "-o source=/a,,b,cache=none,no_xattr,flock,no_posix_lock \
             --uid-map=:0:1000:1: --readonly"
        );
    }
}
