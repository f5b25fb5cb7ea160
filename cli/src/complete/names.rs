//! Names of each kind of query and of section, in an entry.

use capscache::Capabilities;
use capscache::format::NameList;

use crate::names;

/// Returns the names of a kind; of properties, devices with a dot, until `begin` has one. `None` for a kind without names,
/// or if the emulator does not report them.
pub(super) fn of(caps: &Capabilities, kind: &str, begin: &str) -> Option<Vec<String>> {
    match kind {
        "machine" | "machine-deprecated" => names::machines(caps),
        "cpu" | "cpu-model" => names::cpu_models(caps),
        "device" => names::of(caps, &NameList::Devices),
        "object" => names::of(caps, &NameList::Objects),
        "property" => properties(caps, begin),
        "type" => names::of(caps, &NameList::Types),
        "command" => names::of(caps, &NameList::Commands),
        "event" => names::of(caps, &NameList::Events),
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
    // Names of types may have a dot, names of properties too: each place may be that between them.
    let mut found = names::of(caps, &NameList::Devices)?;
    // A device that is typed with its dot has properties as candidates, not itself.
    found.retain(|name| name.len() >= begin.len());
    found.iter_mut().for_each(|name| name.push('.'));
    for (at, _) in begin.match_indices('.') {
        let owner = &begin[..at];
        // Only those that the entry has.
        let properties = names::of(caps, &NameList::Properties(owner.to_owned()));
        found.extend(properties.into_iter().flatten().map(|name| format!("{owner}.{name}")));
    }
    Some(found)
}
