//! NUMA cells.

use super::backend::{Backend, Part, Settings};
use super::cells::{self, Cell};
use super::hmat::Hmat;
use super::sizes::Sizes;
use super::{bitmap, ram};
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;

/// The distance of a cell to itself.
const LOCAL: u32 = 10;
/// The distance between cells that name none.
const REMOTE: u32 = 20;
/// The distance of a cell that cannot be reached.
const UNREACHABLE: u32 = 255;

/// Adds NUMA cells.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if cx.guest.numa.is_empty() {
        return Ok(());
    }
    let settings = Settings::of(cx)?;
    let sizes = Sizes::of(cx)?;
    let hmat = Hmat::of(cx, &settings.cells)?;
    let has_cpus = |cell: &Cell| !cell.cpus.is_empty();
    let Some(first_with_cpus) = settings.cells.iter().position(has_cpus) else {
        return Err(cx.domain.invalid("cpu/numa", "no cell has CPUs; give one to a cell"));
    };
    let backends = backends(cx, &settings, &sizes, &hmat)?;
    if backends.is_none() {
        ram::add_path(cx, &settings.backing, args)?;
    }
    let mut backends = backends.into_iter().flatten();
    for (number, (cell, kib)) in settings.cells.iter().zip(&sizes.cells).enumerate() {
        let backend = backends.next();
        let has_backend = backend.is_some();
        if let Some(backend) = backend {
            backend.add(cx, args)?;
        }
        let mut list = List::new("node");
        list.set("nodeid", number);
        for range in bitmap::ranges(&cell.cpus) {
            list.set("cpus", range);
        }
        if !hmat.is_empty() {
            list.set("initiator", hmat.initiator(number, cell).unwrap_or(first_with_cpus));
        }
        match has_backend {
            true => list.set("memdev", format_args!("ram-node{number}")),
            false => list.set("mem", kib / 1024),
        }
        args.option("-numa", list);
    }
    add_distances(cx, args)?;
    hmat.add(args);
    Ok(())
}

/// Returns the objects for the memory of cells; `None` if an option of a cell is enough.
fn backends(
    cx: &Context<'_>,
    settings: &Settings,
    sizes: &Sizes,
    hmat: &Hmat,
) -> Result<Option<Vec<Backend>>, Error> {
    let mut backends = Vec::new();
    for (number, kib) in sizes.cells.iter().enumerate() {
        let id = format!("ram-node{number}");
        let mut part = Part::new(id.clone(), &id, *kib);
        part.cell = u32::try_from(number).ok();
        backends.push(settings.backend(cx, part)?);
    }
    let is_needed =
        !hmat.is_empty() || !takes_sizes(cx) || backends.iter().any(|backend| backend.is_needed);
    Ok(is_needed.then_some(backends))
}

/// Returns whether the memory of cells is allocated by an option of its own.
pub(super) fn is_allocated(cx: &Context<'_>, settings: &Settings) -> Result<bool, Error> {
    if cx.guest.numa.is_empty() || !settings.backing.is_allocated(cx) {
        return Ok(false);
    }
    let hmat = Hmat::of(cx, &settings.cells)?;
    Ok(backends(cx, settings, &Sizes::of(cx)?, &hmat)?.is_none())
}

/// Returns whether the machine takes the memory of cells as sizes.
fn takes_sizes(cx: &Context<'_>) -> bool {
    let name = cx.guest.os.machine.as_deref().unwrap_or_default();
    let machine = cx.accelerated().and_then(|accelerated| accelerated.machine(name).ok());
    machine.is_some_and(|machine| machine.numa_mem_supported().unwrap_or(true))
}

/// Adds the distances of all cells, if one of them is not the usual one.
fn add_distances(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let count = cx.guest.numa.len();
    // The distances of a cell that names any, or that is named by one; 0 for those that are not named.
    let mut distances: Vec<Option<Vec<u32>>> = vec![None; count];
    for (cell, view) in cells::views(cx)? {
        let Some(list) = view.child("distances") else { continue };
        for sibling in list.children("sibling") {
            let other: Option<usize> = sibling.number("@id")?;
            let value: Option<u32> = sibling.number("@value")?;
            let (Some(other), Some(value)) = (other.filter(|other| *other < count), value) else {
                return Err(sibling.invalid("", "it does not name a cell and a value; add them"));
            };
            let is_valid =
                (LOCAL..=UNREACHABLE).contains(&value) && (other == cell) == (value == LOCAL);
            if !is_valid {
                let what =
                    format!("use {LOCAL} for the cell itself, up to {UNREACHABLE} for others");
                return Err(sibling.invalid("@value", what));
            }
            set(&mut distances, cell, other, |_| value);
            // The distance back is the same, unless it is named.
            set(&mut distances, other, cell, |old| if old == 0 { value } else { old });
        }
    }
    let is_usual = |value: &u32| [LOCAL, REMOTE].contains(value);
    if distances.iter().flatten().flatten().all(is_usual) {
        return Ok(());
    }
    for src in 0..count {
        for dst in 0..count {
            let named = distances.get(src).and_then(Option::as_ref);
            let named = named.and_then(|named| named.get(dst)).filter(|value| **value > 0);
            let usual = if src == dst { LOCAL } else { REMOTE };
            let val = named.copied().unwrap_or(usual);
            args.option("-numa", format_args!("dist,src={src},dst={dst},val={val}"));
        }
    }
    Ok(())
}

fn set(distances: &mut [Option<Vec<u32>>], from: usize, to: usize, value: impl FnOnce(u32) -> u32) {
    let count = distances.len();
    let new = || (0..count).map(|cell| if cell == from { LOCAL } else { 0 }).collect();
    if let Some(row) = distances.get_mut(from)
        && let Some(old) = row.get_or_insert_with(new).get_mut(to)
    {
        *old = value(*old);
    }
}
