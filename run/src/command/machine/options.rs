//! The machine type and its options.

use capscache_devaddr::Family;
use capscache_domain::{DeviceKind, IommuModel, Kind};
use capscache_format::{Accelerated, Machine};

use super::{boot, cpu, features, firmware, keywrap, security, timers};
use crate::command::args::Args;
use crate::command::display::sound;
use crate::command::memory::modules;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;

/// Adds the machine type and its options.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let domain = cx.domain;
    match domain.text("os/type") {
        Some("hvm") => {}
        _ => return Err(domain.unsupported("os/type", "only the type hvm is supported")),
    }
    check_machine(cx)?;
    let mut list = List::new(&cx.machine.name);
    list.set_switch("usb", false);
    keywrap::add(cx, &mut list)?;
    features::add(cx, &mut list)?;
    add_iommu(cx, &mut list);
    add_memory(cx, &mut list)?;
    if let Some(model) = cpu::compatibility(cx) {
        list.set("max-cpu-compat", model);
    }
    boot::add_loadparm(cx, &mut list)?;
    security::add_machine(cx, &mut list)?;
    firmware::add_machine(cx, &mut list)?;
    if has_hmat(cx) {
        list.set_switch("hmat", true);
    }
    boot::add_serial(cx, &mut list)?;
    timers::add_machine(cx, &mut list)?;
    sound::add_speaker(cx, &mut list)?;
    add_acpi(cx, &mut list)?;
    args.option("-machine", list);
    Ok(())
}

fn add_iommu(cx: &Context<'_>, list: &mut List) {
    for device in cx.of(Kind::Iommu) {
        if let DeviceKind::Iommu(iommu) = device.kind()
            && iommu.model == IommuModel::Smmuv3
        {
            list.set("iommu", "smmuv3");
        }
    }
}

fn add_memory(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let dump = cx.domain.switch("memory@dumpCore")?;
    list.set_switch("dump-guest-core", dump.unwrap_or(false));
    if cx.domain.has("memoryBacking/nosharepages") {
        list.set("mem-merge", "off");
    }
    modules::add_machine(cx, list)?;
    if cx.guest.numa.is_empty()
        && let Some(id) = cx.machine_type().and_then(Machine::default_ram_id)
    {
        list.set("memory-backend", id);
    }
    Ok(())
}

/// Adds whether the machine has ACPI, if the emulator reports that it can.
fn add_acpi(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let has_acpi = cx.domain.has("features/acpi");
    match cx.machine_type().and_then(Machine::acpi) {
        Some(true) => list.set_switch("acpi", has_acpi),
        // Guests of s390 that were defined before had it without an effect.
        Some(false) if has_acpi && (cx.machine.family != Family::S390 || cx.is_new) => {
            let what = "the machine does not have ACPI; remove the element";
            return Err(cx.domain.invalid("features/acpi", what));
        }
        _ => {}
    }
    Ok(())
}

/// Returns whether the guest describes the speed of its memory.
fn has_hmat(cx: &Context<'_>) -> bool {
    let Some(numa) = cx.domain.child("cpu").and_then(|cpu| cpu.child("numa")) else { return false };
    let links = numa.child("interconnects");
    links.is_some_and(|links| links.elements().next().is_some())
        || numa.children("cell").any(|cell| cell.has("cache"))
}

/// Checks that the emulator has the machine type.
fn check_machine(cx: &Context<'_>) -> Result<(), Error> {
    let place = "os/type@machine";
    cx.domain.ignore(&["os/type@arch", place]);
    let emulated = match cx.entry.arch() {
        "ppcemb" => "ppc",
        arch => arch,
    };
    let is_emulated = match cx.machine.arch.as_str() {
        "i686" => matches!(emulated, "x86_64" | "i386" | "i686"),
        "armv6l" | "armv7l" => matches!(emulated, "aarch64" | "arm" | "armv7l"),
        "ppc64le" => emulated == "ppc64",
        arch => arch == emulated,
    };
    if !is_emulated {
        let what = format!("this is an emulator of {emulated}");
        return Err(cx.domain.invalid("os/type@arch", what));
    }
    let mut machines = cx.accelerated().into_iter().flat_map(Accelerated::machines).peekable();
    if machines.peek().is_some() && cx.machine_type().is_none() {
        let what = format!("the machine type {}", cx.machine.name);
        return Err(cx.domain.lacks(place, what));
    }
    Ok(())
}
