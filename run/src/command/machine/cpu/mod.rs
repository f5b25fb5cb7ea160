//! The CPU: model, features, and what else is part of `-cpu`.

mod check;
mod compare;
mod completed;
mod default;
mod definition;
mod flags;
mod host;
mod host_model;
mod hyperv;
mod mode;
mod model;
mod names;
mod physical;
mod request;
mod x86;

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use completed::Cpu;

pub(super) use definition::compatibility;

/// Adds the CPU.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let cpu = definition::read(cx)?;
    let mut flags = List::default();
    flags::add(cx, cpu.as_ref(), &mut flags)?;
    let list = match cpu {
        Some(cpu) => model(cx, &cpu)?,
        None if flags.is_empty() => return Ok(()),
        None => List::new(name_of_none(cx)?),
    };
    let comma = if flags.is_empty() { "" } else { "," };
    args.option("-cpu", format_args!("{list}{comma}{flags}"));
    Ok(())
}

/// Returns the model with its features.
fn model(cx: &Context<'_>, cpu: &Cpu) -> Result<List, Error> {
    let mut list = List::new(&cpu.name);
    if cpu.mode.is_of_host() && cx.machine.arch == "armv7l" && cx.entry.arch() == "aarch64" {
        list.set_switch("aarch64", false);
    }
    if let Some(migratable) = cpu.migratable {
        list.set_switch("migratable", migratable);
    }
    if let Some(vendor) = cpu.vendor_id {
        list.set("vendor", vendor);
    }
    for (feature, is_on) in &cpu.features {
        match names::is_known(cx, feature) {
            true => list.set_switch(names::to_qemu(cx, feature), *is_on),
            false if *is_on => {
                let what = format!("the feature {feature} of the CPU; remove it");
                return Err(cx.domain.lacks("cpu", what));
            }
            // A feature that the emulator does not have is off.
            false => {}
        }
    }
    Ok(list)
}

/// Returns the name of the CPU model of a guest without one that has flags all the same.
fn name_of_none(cx: &Context<'_>) -> Result<&'static str, Error> {
    match cx.machine.arch.as_str() {
        "i686" => Ok("qemu32"),
        "x86_64" => Ok("qemu64"),
        _ => Err(cx.domain.invalid("", "features of the CPU need a CPU model; add <cpu>")),
    }
}
