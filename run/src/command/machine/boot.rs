//! Boot order, and kernels that QEMU loads.

use capscache_domain::Kind;

use crate::command::args::Args;
use crate::command::boot_order;
use crate::context::Context;
use crate::error::Error;
use crate::paths;
use crate::props::List;
use crate::view::View;

/// The largest timeout of the boot menu in ms, and of a reboot.
const MAX_TIMEOUT_MS: i64 = 65_535;

/// Adds boot order, and kernels that QEMU loads.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    boot_order::check(cx)?;
    let mut list = List::default();
    if let Some(os) = cx.domain.child("os") {
        add_menu(os, &mut list)?;
    }
    list.set_switch("strict", true);
    args.option("-boot", list);
    if let Some(os) = cx.domain.child("os") {
        add_kernel(cx, os, args)?;
        add_tables(os, args)?;
    }
    Ok(())
}

fn add_menu(os: View<'_>, list: &mut List) -> Result<(), Error> {
    let is_enabled = os.yes_no("bootmenu@enable")?;
    if let Some(is_enabled) = is_enabled {
        list.set_switch("menu", is_enabled);
    }
    if let Some(timeout) = timeout(os, "bios@rebootTimeout", -1)? {
        list.set("reboot-timeout", timeout);
    }
    match is_enabled {
        Some(true) => {
            if let Some(timeout) = timeout(os, "bootmenu@timeout", 0)? {
                list.set("splash-time", timeout);
            }
        }
        // A menu that is off has no timeout.
        _ => os.ignore(&["bootmenu@timeout"]),
    }
    Ok(())
}

fn timeout(os: View<'_>, place: &str, min: i64) -> Result<Option<i64>, Error> {
    let Some(text) = os.text(place) else { return Ok(None) };
    match text.parse() {
        Ok(timeout) if (min..=MAX_TIMEOUT_MS).contains(&timeout) => Ok(Some(timeout)),
        _ => Err(os.invalid(place, format!("use a number from {min} to {MAX_TIMEOUT_MS}"))),
    }
}

fn add_kernel(cx: &Context<'_>, os: View<'_>, args: &mut Args) -> Result<(), Error> {
    let text = |place| os.raw(place).filter(|text| !text.is_empty());
    let shim = text("shim");
    if let Some(kernel) = text("kernel") {
        args.option("-kernel", kernel);
    } else if shim.is_some() {
        return Err(os.invalid("shim", "a shim needs a kernel"));
    }
    if let Some(initrd) = text("initrd") {
        args.option("-initrd", initrd);
    }
    if let Some(cmdline) = text("cmdline") {
        args.option("-append", cmdline);
    }
    if let Some(shim) = shim {
        if !cx.has_flag("shim") {
            return Err(os.lacks("shim", "a shim"));
        }
        args.option("-shim", shim);
    }
    if let Some(dtb) = text("dtb") {
        args.option("-dtb", dtb);
    }
    Ok(())
}

/// Adds ACPI tables.
fn add_tables(os: View<'_>, args: &mut Args) -> Result<(), Error> {
    let mut types = Vec::new();
    for table in os.child("acpi").into_iter().flat_map(|acpi| acpi.children("table")) {
        table.require("@type")?;
        let r#type = table.one_of("@type", &["raw", "slic", "msdm"])?.unwrap_or("raw");
        if types.contains(&r#type) && r#type != "raw" {
            return Err(table.invalid("@type", "a guest has one table of this type"));
        }
        types.push(r#type);
        let mut list = List::default();
        if r#type != "raw" {
            list.set("sig", r#type.to_uppercase());
        }
        list.set("file", paths::sanitize(&table.raw("").unwrap_or_default()));
        args.option("-acpitable", list);
    }
    Ok(())
}

/// Adds the text by which the loader of s390 selects what it boots.
pub(super) fn add_loadparm(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    if let Some(parameter) = boot_order::machine_loadparm(cx)? {
        list.set("loadparm", parameter);
    }
    Ok(())
}

/// Adds the output of firmware to a serial port.
pub(super) fn add_serial(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let place = "os/bios@useserial";
    if cx.domain.yes_no(place)? != Some(true) {
        return Ok(());
    }
    if cx.machine.family != capscache_devaddr::Family::X86 {
        return Err(cx.domain.invalid(place, "only firmware of x86 writes to a serial port"));
    }
    if cx.of(Kind::Serial).next().is_none() {
        return Err(cx.domain.invalid(place, "the guest has no serial port; add one"));
    }
    list.set_switch("graphics", false);
    Ok(())
}
