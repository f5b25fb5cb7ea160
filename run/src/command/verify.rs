//! Checks that the emulator has what a command line needs.

use std::collections::{HashMap, HashSet};

use capscache_devaddr::Facts;
use capscache_domain::{DomainType, Guest, Kind};
use capscache_format::{Accelerated, Accelerator, Entry, Machine, Property, Tri, Unanswered};
use serde_json::{Map, Value};

use crate::command::Command;
use crate::command::args::Args;
use crate::context::{self, Context};
use crate::error::Error;
use crate::view::{Reader, View};

/// The aliases of devices in QEMU's `qdev-monitor.c` that libvirt uses.
const ALIASES: &[(&str, &str)] =
    &[("ahci", "ich9-ahci"), ("lsi", "lsi53c895a"), ("virtio-iommu", "virtio-iommu-pci")];

/// Checks type, architecture, accelerator and machine type. Addresses depend on them, and an error of an address would hide
/// the cause.
pub(super) fn machine<B: AsRef<[u8]>>(
    guest: &Guest,
    facts: &Facts,
    entry: &Entry<B>,
) -> Result<(), Error> {
    let at = |error: &dyn Fn(View<'_>) -> Error| {
        let root = guest.to_element();
        let reader = Reader::new(&root, guest);
        Err(error(reader.root()))
    };
    if !matches!(guest.r#type, DomainType::Kvm | DomainType::Qemu | DomainType::Hvf) {
        let what = format!("{} is not supported; use kvm or qemu", guest.r#type);
        return at(&|domain| domain.unsupported("@type", &what));
    }
    if let Some(arch) = guest.os.arch.as_deref().filter(|arch| !facts.hold_for(arch)) {
        let what = format!("the architecture {arch}; it emulates {}", facts.arch());
        return at(&|domain| domain.lacks("os/type@arch", &what));
    }
    let accelerator = context::accelerator(guest);
    let accelerated = match entry.accelerator(accelerator) {
        Ok(accelerated) => accelerated,
        Err(Unanswered::Absent { .. }) => {
            let runs: Vec<&str> = entry.accelerators().map(Accelerator::name).collect();
            let what = format!(
                "the accelerator {} here; it runs under {}",
                accelerator.name(),
                runs.join(", ")
            );
            return at(&|domain| domain.lacks("@type", &what));
        }
        // Starting it gives the reason.
        Err(_) => return Ok(()),
    };
    // One that is not named has the default of the emulator.
    let Some(name) = guest.os.machine.as_deref() else { return Ok(()) };
    match accelerated.machine(name) {
        Err(Unanswered::Absent { .. }) => {
            let what =
                format!("the machine {name}; it has {}", similar_machines(accelerated, name));
            at(&|domain| domain.lacks("os/type@machine", &what))
        }
        _ => Ok(()),
    }
}

/// Returns the machines whose names start alike, or those that have aliases.
fn similar_machines(accelerated: Accelerated<'_>, name: &str) -> String {
    let board = name.rsplit_once('-').map_or(name, |(board, _)| board);
    let mut names: Vec<&str> = accelerated
        .machines()
        .map(Machine::name)
        .filter(|other| other.starts_with(board))
        .collect();
    if names.is_empty() {
        names = accelerated.machines().filter_map(Machine::alias).collect();
    }
    shorten(names)
}

fn shorten(mut names: Vec<&str>) -> String {
    const SHOWN: usize = 8;
    names.sort_unstable();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let names = names.join(", ");
    if more > 0 { format!("{names}, and {more} more") } else { names }
}

/// Checks that no alias of a user is that of two devices.
pub(super) fn aliases(cx: &Context<'_>, _: &mut Args) -> Result<(), Error> {
    let mut seen = HashSet::new();
    let has_serial = cx.of(Kind::Serial).next().is_some();
    let first = cx.of(Kind::Console).next().filter(|_| has_serial);
    for device in &cx.devices {
        // The first console may stand for a serial port.
        if first.is_some_and(|first| std::ptr::eq(first.typed, device.typed)) {
            continue;
        }
        let alias = device.view.peek("alias@name").filter(|alias| alias.starts_with("ua-"));
        if alias.is_some_and(|alias| !seen.insert(alias)) {
            return Err(device.view.invalid("alias@name", "another device has this alias"));
        }
    }
    Ok(())
}

/// Checks each device with its properties. What was not probed is not checked.
pub(super) fn devices(cx: &Context<'_>, command: &Command) -> Result<(), Error> {
    let by_alias: HashMap<&str, View<'_>> =
        cx.devices.iter().rev().map(|device| (device.alias(), device.view)).collect();
    let options = command.args.iter().zip(command.args.iter().skip(1));
    for (_, props) in options.filter(|(option, _)| *option == "-device") {
        if let Ok(Value::Object(props)) = serde_json::from_str(props) {
            let alias = props.get("id").and_then(Value::as_str).unwrap_or_default();
            device(cx, by_alias.get(alias).copied().unwrap_or(cx.domain), &props)?;
        }
    }
    Ok(())
}

fn device(cx: &Context<'_>, view: View<'_>, props: &Map<String, Value>) -> Result<(), Error> {
    /// Options of `-device` itself.
    const OPTIONS: &[&str] = &["driver", "id", "bus"];
    let text = |key| props.get(key).and_then(Value::as_str).unwrap_or_default();
    let driver = text("driver");
    let named = ALIASES.iter().find(|(alias, _)| *alias == driver);
    let driver = named.map_or(driver, |(_, name)| *name);
    if Tri::from(&cx.entry.qom_type(driver)).is_no() {
        return Err(
            view.lacks("", format!("the device {driver}; use another model, or another emulator"))
        );
    }
    let Ok(has) = cx.entry.device(driver) else { return Ok(()) };
    for key in props.keys().filter(|key| !OPTIONS.contains(&key.as_str())) {
        if has.property(key).is_err() {
            let like = |name: &&str| name.contains(key.as_str()) || key.contains(*name);
            let near: Vec<&str> = has.iter().map(Property::name).filter(like).collect();
            let near =
                if near.is_empty() { String::new() } else { format!("; it has {}", shorten(near)) };
            return Err(view.lacks("", format!("the property {key} of {driver}{near}")));
        }
    }
    Ok(())
}
