//! The speed of memory between NUMA cells, and its caches.

use std::collections::BTreeSet;

use super::cells::{self, Cell};
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// The names of levels of caches; 0 is the memory itself.
const LEVELS: &[&str] = &["memory", "first-level", "second-level", "third-level"];

/// The latency or bandwidth from one cell to another.
struct Link {
    initiator: usize,
    target: usize,
    level: usize,
    access: &'static str,
    /// Nanoseconds of latency, or KiB/s of bandwidth.
    value: u64,
    is_latency: bool,
}

/// The options about the speed of memory.
pub(super) struct Hmat {
    links: Vec<Link>,
    caches: Vec<List>,
}

impl Hmat {
    /// Reads the links and caches of all cells.
    pub(super) fn of(cx: &Context<'_>, cells: &[Cell]) -> Result<Hmat, Error> {
        let mut levels = vec![BTreeSet::new(); cells.len()];
        let mut by_cell = Vec::new();
        for (number, view) in cells::views(cx)? {
            for cache in view.children("cache") {
                let level: usize = cache.number("@level")?.unwrap_or(0);
                let is_new = levels.get_mut(number).is_some_and(|seen| seen.insert(level));
                if level == 0 || level >= LEVELS.len() || !is_new {
                    let what = "levels are from 1 to 3, each once; change it";
                    return Err(cache.invalid("@level", what));
                }
                by_cell.push((number, cache_list(cache, number, level)?));
            }
        }
        // The caches of a cell keep their order.
        by_cell.sort_by_key(|(number, _)| *number);
        let caches = by_cell.into_iter().map(|(_, list)| list).collect();
        let numa = cx.domain.child("cpu").and_then(|cpu| cpu.child("numa"));
        let mut links: Vec<Link> = Vec::new();
        let (mut seen, mut pairs) = (BTreeSet::new(), BTreeSet::new());
        if let Some(list) = numa.and_then(|numa| numa.child("interconnects")) {
            let is_link = |view: &View<'_>| ["latency", "bandwidth"].contains(&view.name());
            for view in list.elements().filter(is_link).map(View::read) {
                let link = Link::read(view, cells, &levels)?;
                // A link has no other values, and the cells have none in the other direction.
                let is_back =
                    link.initiator != link.target && pairs.contains(&(link.target, link.initiator));
                if is_back || !seen.insert(link.key()) {
                    return Err(view.invalid("", "there is one for these cells; remove it"));
                }
                pairs.insert((link.initiator, link.target));
                links.push(link);
            }
        }
        Ok(Hmat { links, caches })
    }

    /// Returns whether there are no options.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.caches.is_empty()
    }

    /// Returns the cell from which a cell is reached fastest: itself if it has CPUs.
    pub(super) fn initiator(&self, number: usize, cell: &Cell) -> Option<usize> {
        if !cell.cpus.is_empty() {
            return Some(number);
        }
        let to = |is_latency| {
            let is = move |link: &&Link| link.target == number && link.is_latency == is_latency;
            self.links.iter().filter(is)
        };
        // Of equal ones the first.
        let by_latency = to(true).min_by_key(|link| link.value);
        let by_bandwidth = || to(false).rev().max_by_key(|link| link.value);
        by_latency.or_else(by_bandwidth).map(|link| link.initiator)
    }

    /// Adds the options, links before caches.
    pub(super) fn add(&self, args: &mut Args) {
        for link in &self.links {
            let mut list = List::new("hmat-lb");
            list.set("initiator", link.initiator);
            list.set("target", link.target);
            list.set("hierarchy", LEVELS.get(link.level).copied().unwrap_or_default());
            let kind = if link.is_latency { "latency" } else { "bandwidth" };
            list.set("data-type", format_args!("{}-{kind}", link.access));
            match link.is_latency {
                true => list.set(kind, link.value),
                false => list.set(kind, format_args!("{}K", link.value)),
            }
            args.option("-numa", list);
        }
        for cache in &self.caches {
            args.option("-numa", cache);
        }
    }
}

impl Link {
    fn read(view: View<'_>, cells: &[Cell], levels: &[BTreeSet<usize>]) -> Result<Link, Error> {
        let is_latency = view.name() == "latency";
        let cell = |place: &str| -> Result<usize, Error> {
            let number: Option<usize> = view.number(place)?;
            let number = number.filter(|number| *number < cells.len());
            number.ok_or_else(|| view.invalid(place, "it is not the number of a NUMA cell"))
        };
        let (initiator, target) = (cell("@initiator")?, cell("@target")?);
        if cells.get(initiator).is_some_and(|cell| cell.cpus.is_empty()) {
            return Err(view.invalid("@initiator", "the cell has no CPUs; name another"));
        }
        let level: usize = view.number("@cache")?.unwrap_or(0);
        if level > 0 && !levels.get(target).is_some_and(|levels| levels.contains(&level)) {
            return Err(view.invalid("@cache", "the target has no cache of this level; add it"));
        }
        let access = view.one_of("@type", &["access", "read", "write"])?;
        let access = access.ok_or_else(|| view.invalid("", "the type is missing; add it"))?;
        let text = view.require("@value")?;
        let value = match is_latency {
            true => text.parse().ok(),
            false => capscache_domain::kib(text, view.text("@unit")),
        };
        let value = value.ok_or_else(|| view.invalid("@value", "it is not a valid number"))?;
        Ok(Link { initiator, target, level, access, value, is_latency })
    }

    /// Returns all but the value.
    fn key(&self) -> (bool, usize, usize, usize, &'static str) {
        (self.is_latency, self.initiator, self.target, self.level, self.access)
    }
}

fn cache_list(view: View<'_>, number: usize, level: usize) -> Result<List, Error> {
    let required =
        |found: Option<&'static str>| found.ok_or_else(|| view.invalid("", "a part is missing"));
    let associativity = required(view.one_of("@associativity", &["none", "direct", "full"])?)?;
    let policy = required(view.one_of("@policy", &["none", "writeback", "writethrough"])?)?;
    // libvirt reads the values in these units, and no others.
    view.one_of("size@unit", &["KiB"])?;
    view.one_of("line@unit", &["B"])?;
    let size: Option<u32> = view.number("size@value")?;
    let size = size.ok_or_else(|| view.invalid("", "the size is missing; add it"))?;
    let line: Option<u32> = view.number("line@value")?;
    let line = line.ok_or_else(|| view.invalid("", "the size of lines is missing; add it"))?;
    let mut list = List::new("hmat-cache");
    list.set("node-id", number);
    list.set("size", format_args!("{size}K"));
    list.set("level", level);
    let word = |word: &'static str| match word {
        "full" => "complex",
        "writeback" => "write-back",
        "writethrough" => "write-through",
        other => other,
    };
    list.set("associativity", word(associativity));
    list.set("policy", word(policy));
    if line > 0 {
        list.set("line", line);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::{Cell, Hmat, Link};

    fn link(initiator: usize, value: u64, is_latency: bool) -> Link {
        Link { initiator, target: 2, level: 0, access: "access", value, is_latency }
    }

    #[test]
    fn a_cell_without_cpus_is_reached_from_the_nearest_cell() {
        let initiator = |links| Hmat { links, caches: Vec::new() }.initiator(2, &Cell::default());
        let by_bandwidth = || vec![link(0, 100, false), link(1, 200, false), link(0, 200, false)];
        assert_eq!(initiator(by_bandwidth()), Some(1));
        let mut by_latency = by_bandwidth();
        by_latency.extend([link(0, 7, true), link(1, 7, true), link(1, 8, true)]);
        assert_eq!(initiator(by_latency), Some(0));
        assert_eq!(initiator(Vec::new()), None);
    }
}
