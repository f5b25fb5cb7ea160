//! Lists of names in an entry; `None` for one that the emulator did not report.

use capscache::Capabilities;
use capscache::format::{FactKind, Machine, Value};

/// Returns the names and aliases of the machine types under the best accelerator.
pub(crate) fn machines(caps: &Capabilities) -> Option<Vec<String>> {
    let best = caps.best().ok()?;
    best.answer(FactKind::Machines).ok()?;
    let names = |machine: Machine<'_>| {
        [Some(machine.name()), machine.alias()].into_iter().flatten().map(str::to_owned).collect()
    };
    Some(best.machines().flat_map::<Vec<String>, _>(names).collect())
}

/// Returns the names in a list under the best accelerator.
pub(crate) fn best(caps: &Capabilities, kind: FactKind) -> Option<Vec<String>> {
    names(caps.best().ok()?.answer(kind).ok()?, "name")
}

/// Returns the names in a list that does not depend on the accelerator, under a key of its elements.
pub(crate) fn core(caps: &Capabilities, kind: FactKind, key: &str) -> Option<Vec<String>> {
    names(caps.core(kind).ok()?, key)
}

fn names(list: Value<'_>, key: &str) -> Option<Vec<String>> {
    let name = |element: Value<'_>| Some(element.get(key)?.as_str()?.to_owned());
    Some(list.as_array()?.iter().filter_map(name).collect())
}
