//! The host's NUMA nodes on which memory is allocated.

use std::collections::HashMap;

use super::bitmap;
use super::sizes::Sizes;
use crate::command::setup::NodePolicy;
use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// The nodes of a part of memory, and how they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nodes {
    pub(super) policy: NodePolicy,
    pub(super) nodes: Vec<u32>,
}

/// The settings of `<numatune>`.
#[derive(Debug, Default)]
pub(super) struct Tuning {
    /// The nodes of all memory.
    pub(super) all: Option<Nodes>,
    /// The nodes by NUMA cell.
    cells: HashMap<u32, Nodes>,
}

impl Tuning {
    /// Reads the settings.
    pub(super) fn of(cx: &Context<'_>) -> Result<Tuning, Error> {
        let mut tuning = Tuning::default();
        let numatune = cx.domain.child("numatune");
        let memory = numatune.and_then(|view| view.child("memory"));
        match memory {
            Some(memory) if is_automatic(cx, memory)? => {
                let nodes = advised(cx)?;
                memory.ignore(&["@nodeset"]);
                tuning.all = Some(Nodes { policy: policy(memory)?, nodes });
            }
            Some(memory) => tuning.all = Some(nodes(cx, memory)?),
            None if has_automatic_cpus(cx)? => {
                tuning.all = Some(Nodes { policy: NodePolicy::Bind, nodes: advised(cx)? });
            }
            None => {}
        }
        let Some(view) = numatune else { return Ok(tuning) };
        let memory_is_automatic = match memory {
            Some(memory) => is_automatic(cx, memory)?,
            None => has_automatic_cpus(cx)?,
        };
        for memory in view.children("memnode") {
            let cell: Option<u32> = memory.number("@cellid")?;
            let count = cx.guest.numa.len();
            if memory_is_automatic {
                let what = "all memory has an automatic placement; remove one of them";
                return Err(memory.invalid("", what));
            }
            let is_there = |cell: &u32| usize::try_from(*cell).is_ok_and(|cell| cell < count);
            let cell = cell.filter(is_there).ok_or_else(|| {
                memory.invalid("@cellid", "it is not the number of a NUMA cell of the guest")
            })?;
            if tuning.all.as_ref().is_some_and(|all| all.policy == NodePolicy::Restrictive) {
                let what = "the mode of all memory is restrictive; remove it";
                return Err(memory.unsupported("", what));
            }
            if tuning.cells.insert(cell, nodes(cx, memory)?).is_some() {
                return Err(memory.invalid("@cellid", "another memnode has it; remove one"));
            }
        }
        Ok(tuning)
    }

    /// Returns whether a cell has nodes of its own.
    pub(super) fn has(&self, cell: Option<u32>) -> bool {
        cell.is_some_and(|cell| self.cells.contains_key(&cell))
    }

    /// Returns the nodes of a cell, or of memory without a cell.
    pub(super) fn of_cell(&self, cell: Option<u32>) -> Option<&Nodes> {
        cell.and_then(|cell| self.cells.get(&cell)).or(self.all.as_ref())
    }

    /// Returns the policy for the nodes that a memory device names.
    pub(super) fn policy(&self, cell: Option<u32>) -> NodePolicy {
        self.of_cell(cell).map_or(NodePolicy::Bind, |nodes| nodes.policy)
    }
}

/// Returns whether the CPUs run where the host is advised to run them.
pub(super) fn has_automatic_cpus(cx: &Context<'_>) -> Result<bool, Error> {
    Ok(cx.domain.one_of("vcpu@placement", &["static", "auto"])? == Some("auto"))
}

fn is_automatic(cx: &Context<'_>, memory: View<'_>) -> Result<bool, Error> {
    match memory.one_of("@placement", &["static", "auto"])? {
        Some(placement) => Ok(placement == "auto"),
        None => Ok(memory.text("@nodeset").is_none() && has_automatic_cpus(cx)?),
    }
}

/// Returns the nodes on which the host is advised to run the guest.
pub(super) fn advised(cx: &Context<'_>) -> Result<Vec<u32>, Error> {
    let mib = Sizes::of(cx)?.total / 1024;
    (cx.host.advised_nodes)(cx.guest.vcpus, mib).ok_or_else(|| {
        let what = "nothing on the host advises on it; use the placement static";
        cx.domain.unsupported("numatune/memory@placement", what)
    })
}

/// Returns the policy of a mode.
fn policy(view: View<'_>) -> Result<NodePolicy, Error> {
    // Nodes of one cell would limit the threads of its CPUs alone.
    let modes = match view.name() {
        "memory" => ["strict", "preferred", "interleave", "restrictive"].as_slice(),
        _ => &["strict", "preferred", "interleave"],
    };
    Ok(match view.one_of("@mode", modes)? {
        Some("preferred") => NodePolicy::Preferred,
        Some("interleave") => NodePolicy::Interleave,
        Some("restrictive") => NodePolicy::Restrictive,
        _ => NodePolicy::Bind,
    })
}

fn nodes(cx: &Context<'_>, view: View<'_>) -> Result<Nodes, Error> {
    let policy = policy(view)?;
    view.require("@nodeset")?;
    let nodes = list(cx, view, "@nodeset")?.unwrap_or_default();
    Ok(Nodes { policy, nodes })
}

/// Returns the nodes of the host that are listed at a place.
pub(super) fn list(
    cx: &Context<'_>,
    view: View<'_>,
    place: &str,
) -> Result<Option<Vec<u32>>, Error> {
    let Some(list) = view.text(place) else { return Ok(None) };
    let wrong = || view.invalid(place, format!("{list:?} is not a list of NUMA nodes"));
    let nodes = bitmap::parse(list).ok_or_else(wrong)?;
    match nodes.iter().find(|node| !cx.host.nodes.contains(node)) {
        Some(node) => {
            Err(view.unsupported(place, format!("the host has no NUMA node {node}; remove it")))
        }
        None => Ok(Some(nodes)),
    }
}
