//! Lists of names in an entry; `None` for one that the emulator did not report.

use capscache::Capabilities;
use capscache::format::{FactKind, Machine, NameList};

/// Returns the names in a list.
pub(crate) fn of(caps: &Capabilities, list: &NameList) -> Option<Vec<String>> {
    Some(caps.names(list).ok()?.into_iter().map(str::to_owned).collect())
}

/// Returns the names of the CPU models under the best accelerator.
pub(crate) fn cpu_models(caps: &Capabilities) -> Option<Vec<String>> {
    of(caps, &NameList::CpuModels(caps.best().ok()?.accelerator()))
}

/// Returns the names and aliases of the machine types under the best accelerator.
pub(crate) fn machines(caps: &Capabilities) -> Option<Vec<String>> {
    let best = caps.best().ok()?;
    best.answer(FactKind::Machines).ok()?;
    let names = |machine: Machine<'_>| {
        [Some(machine.name()), machine.alias()].into_iter().flatten().map(str::to_owned).collect()
    };
    Some(best.machines().flat_map::<Vec<String>, _>(names).collect())
}
