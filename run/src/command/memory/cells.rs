//! The cells of the guest's NUMA topology.

use std::collections::BTreeSet;

use super::{backing, bitmap};
use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// The greatest number of cells in QEMU (`MAX_NODES`).
const MAX_CELLS: usize = 128;
/// The greatest number of CPUs of which cells have lists.
const MAX_CPUS: u32 = 1 << 14;

/// A cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    /// The virtual CPUs, in order.
    pub(super) cpus: Vec<u32>,
    /// True for shared memory, false for private memory.
    pub(super) share: Option<bool>,
    pub(super) discard: Option<bool>,
}

impl Cell {
    /// Reads all cells, in order of their numbers.
    pub(super) fn all(cx: &Context<'_>) -> Result<Vec<Cell>, Error> {
        let invalid = |what: String| Err(cx.domain.invalid("cpu/numa", what));
        if cx.guest.numa.is_empty() {
            let has_topology = cx
                .domain
                .child("cpu")
                .is_some_and(|cpu| cpu.elements().any(|e| e.name() == "numa"));
            return match has_topology {
                true => invalid("the topology has no cells; remove it".to_owned()),
                false => Ok(Vec::new()),
            };
        }
        if cx.guest.numa.len() > MAX_CELLS {
            return invalid(format!("QEMU has at most {MAX_CELLS} cells; use fewer"));
        }
        if cx.guest.vcpus > MAX_CPUS {
            return invalid(format!("cells have at most {MAX_CPUS} CPUs; use fewer"));
        }
        let mut cells = vec![Cell::default(); cx.guest.numa.len()];
        let mut used = BTreeSet::new();
        for (number, view) in views(cx)? {
            let cell = Cell::read(view)?;
            for cpu in &cell.cpus {
                if *cpu >= cx.guest.vcpus {
                    let what = format!("the guest has no CPU {cpu}; remove it");
                    return Err(view.invalid("@cpus", what));
                }
                if !used.insert(*cpu) {
                    let what = format!("CPU {cpu} is in another cell; remove it from one");
                    return Err(view.invalid("@cpus", what));
                }
            }
            if let Some(slot) = cells.get_mut(number) {
                *slot = cell;
            }
        }
        // The first cell has the CPUs that no cell has.
        let first = cells.first_mut().filter(|_| u32::try_from(used.len()) != Ok(cx.guest.vcpus));
        if let Some(first) = first {
            let its: BTreeSet<u32> = first.cpus.iter().copied().collect();
            let is_its = |cpu: &u32| its.contains(cpu) || !used.contains(cpu);
            first.cpus = (0..cx.guest.vcpus).filter(is_its).collect();
        }
        Ok(cells)
    }

    fn read(view: View<'_>) -> Result<Cell, Error> {
        // The size is that of the typed cell.
        view.require("@memory")?;
        view.ignore(&["@id", "@unit"]);
        let cpus = match view.text("@cpus") {
            Some(list) => bitmap::parse(list)
                .ok_or_else(|| view.invalid("@cpus", format!("{list:?} is not a list of CPUs")))?,
            None => Vec::new(),
        };
        let share = backing::share(view, "@memAccess")?;
        Ok(Cell { cpus, share, discard: view.yes_no("@discard")? })
    }
}

/// Returns the elements of cells with their numbers, which follow each other from 0.
pub(super) fn views<'a>(cx: &Context<'a>) -> Result<Vec<(usize, View<'a>)>, Error> {
    let numa = cx.domain.child("cpu").and_then(|cpu| cpu.child("numa"));
    let count = cx.guest.numa.len();
    let mut seen = BTreeSet::new();
    let mut views = Vec::new();
    let elements = numa.into_iter().flat_map(|numa| numa.children("cell"));
    for (index, view) in elements.enumerate() {
        let number = view.number("@id")?.unwrap_or(index);
        if number >= count || !seen.insert(number) {
            let what = format!("the numbers of cells are those below {count}, each once");
            return Err(view.invalid("@id", what));
        }
        views.push((number, view));
    }
    Ok(views)
}
