//! Options that every guest has: name, UUID, monitor, sandbox.

use capscache_domain::{Guest, Kind};
use capscache_format::{Accelerator, Entry};

use crate::command::args::Args;
use crate::command::machine::passthrough;
use crate::context::Context;
use crate::error::Error;
use crate::host::Descriptor;
use crate::props::{List, Props};
use crate::uuid;
use crate::view::View;

/// Replaces the alias of a machine type by the name that it stands for.
pub(super) fn name_machine<B: AsRef<[u8]>>(guest: &mut Guest, entry: &Entry<B>) {
    let Some(name) = guest.os.machine.as_deref() else { return };
    let accelerators = [Accelerator::Kvm, Accelerator::Hvf, Accelerator::Tcg];
    let mut answered =
        accelerators.iter().filter_map(|accelerator| entry.accelerator(*accelerator).ok());
    if let Some(machine) = answered.find_map(|accelerated| accelerated.machine(name).ok()) {
        let name = machine.name().to_owned();
        guest.os.machine = Some(name);
    }
}

/// Adds what comes before the machine.
pub(super) fn start(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let domain = cx.domain;
    domain.ignore(&["@type", "@id", "title", "description"]);
    domain.ignore_children("metadata");
    // Nothing is labelled here, which is the meaning of `none`.
    for label in domain.children("seclabel") {
        if label.one_of("@type", &["none"])?.is_some() {
            label.ignore(&["@model"]);
        }
    }
    check_ids(domain)?;
    match domain.text("devices/emulator") {
        Some(emulator) => args.program(emulator),
        None => args.program(&cx.host.emulator),
    }
    args.variable("HOME", cx.host.guest_dir.display());
    for (name, value) in &cx.host.user {
        args.variable(name, value);
    }
    for (name, below) in [("DATA", ".local/share"), ("CACHE", ".cache"), ("CONFIG", ".config")] {
        args.variable(
            &format!("XDG_{name}_HOME"),
            format_args!("{}/{below}", cx.host.guest_dir.display()),
        );
    }
    let mut name = List::default();
    name.set("guest", domain.require("name")?);
    name.set_switch("debug-threads", true);
    args.option("-name", name);
    passthrough::add_overrides(cx, args)?;
    passthrough::add_deprecation(cx, args)?;
    args.flag("-S");
    let key = Props::object("secret", "masterKey0")
        .with("format", "raw")
        .with("file", format!("{}/master-key.aes", cx.host.guest_dir.display()));
    args.object(&key);
    Ok(())
}

/// Checks the maps of users and groups, which only containers have.
fn check_ids(domain: View<'_>) -> Result<(), Error> {
    let Some(maps) = domain.child("idmap") else { return Ok(()) };
    let mut roots = Vec::new();
    for kind in ["uid", "gid"] {
        let mut starts = Vec::new();
        for map in maps.children(kind) {
            for place in ["@start", "@target", "@count"] {
                map.require(place)?;
                map.number::<u32>(place)?;
            }
            starts.extend(map.number::<u32>("@start")?);
        }
        roots.push(starts.into_iter().min());
    }
    match roots.iter().all(Option::is_none) || roots.iter().all(|start| *start == Some(0)) {
        true => Ok(()),
        false => Err(maps.invalid("", "users and groups are both mapped from 0")),
    }
}

/// Adds the UUID.
pub(super) fn identity(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let uuid = uuid::format(cx.domain.require("uuid")?);
    let uuid = uuid.ok_or_else(|| cx.domain.invalid("uuid", "it is not a UUID"))?;
    args.option("-uuid", uuid);
    Ok(())
}

/// Adds the display and the monitor.
pub(super) fn monitor(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if cx.of(Kind::Graphics).next().is_none() {
        args.option("-display", "none");
    }
    args.flag("-no-user-config");
    args.flag("-nodefaults");
    let fd = args.descriptor(Descriptor::Monitor);
    args.option("-chardev", format_args!("socket,id=charmonitor,fd={fd},server=on,wait=off"));
    args.option("-mon", "chardev=charmonitor,id=monitor,mode=control");
    Ok(())
}

/// Adds the sandbox.
pub(super) fn sandbox(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if cx.has_flag("seccomp-sandbox") {
        args.option(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
    }
    Ok(())
}

/// Adds the format of messages.
pub(super) fn end(_: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    args.option("-msg", "timestamp=on");
    Ok(())
}
