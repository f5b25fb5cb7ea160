//! Names of each kind of query and of section, in an entry.

use capscache::Capabilities;
use capscache::format::{FactKind, Type};

use crate::names;

/// Kinds of query that have names in an entry.
pub(super) const KINDS: [&str; 11] = [
    "machine",
    "machine-deprecated",
    "cpu",
    "cpu-model",
    "device",
    "property",
    "type",
    "command",
    "event",
    "option",
    "flag",
];

/// Returns the names of a kind; of properties, devices with a dot, until `begin` has one. `None` for a kind without names,
/// or if the emulator does not report them.
pub(super) fn of(caps: &Capabilities, kind: &str, begin: &str) -> Option<Vec<String>> {
    match kind {
        "machine" | "machine-deprecated" => names::machines(caps),
        "cpu" | "cpu-model" => names::best(caps, FactKind::CpuDefinitions),
        "device" => names::core(caps, FactKind::DeviceTypes, "name"),
        "object" => names::core(caps, FactKind::ObjectTypes, "name"),
        "property" => properties(caps, begin),
        "type" => Some(caps.types().map(Type::name).map(str::to_owned).collect()),
        "command" => Some(caps.commands().into_iter().map(str::to_owned).collect()),
        "event" => Some(caps.schema().names("event").map(str::to_owned).collect()),
        "option" => {
            Some(caps.command_line_options().map(|option| option.name().to_owned()).collect())
        }
        "flag" => {
            let release = capscache_libvirt::Release::of_this_host().unwrap_or_default();
            let flags = capscache_libvirt::flags(caps, release);
            Some(flags.names().map(str::to_owned).collect())
        }
        _ => None,
    }
}

fn properties(caps: &Capabilities, begin: &str) -> Option<Vec<String>> {
    let Some((device, _)) = begin.split_once('.') else {
        let devices = names::core(caps, FactKind::DeviceTypes, "name")?;
        return Some(devices.into_iter().map(|device| device + ".").collect());
    };
    // Only those that the entry has.
    let properties = caps.device(device).ok()?;
    Some(properties.iter().map(|property| format!("{device}.{}", property.name())).collect())
}
