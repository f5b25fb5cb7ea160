//! Objects of QEMU that provide memory.

use std::path::Path;

use serde_json::Value;

use super::backing::{self, Backing, Pages, Source};
use super::cells::Cell;
use super::pinning;
use super::smp::{self, HostCpus};
use super::tuning::Tuning;
use crate::command::Setup;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// A part of memory: the whole, a NUMA cell, or a memory device.
#[derive(Clone)]
pub(super) struct Part<'a> {
    /// The id of the object.
    pub(super) id: String,
    /// The name of its file in the directory of memory.
    pub(super) file: &'a str,
    pub(super) kib: u64,
    /// The NUMA cell of the guest.
    pub(super) cell: Option<u32>,
    pub(super) share: Option<bool>,
    pub(super) discard: Option<bool>,
    pub(super) kind: Kind,
    /// Pages of a memory device; those of the guest if there are none.
    pub(super) pages: Option<Pages>,
    /// The nodes of the host that a memory device names.
    pub(super) nodes: Option<Vec<u32>>,
    /// True for the memory that a machine has without NUMA cells.
    pub(super) is_whole: bool,
}

/// The kind of a part of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Memory, also of a DIMM.
    Ram,
    /// The memory of virtio-mem.
    VirtioMem,
    /// The memory of enclaves.
    Epc,
    /// A file that is not volatile.
    Nvdimm { path: String, align_kib: Option<u64>, is_pmem: bool },
    /// A file that is not volatile, without the options of an NVDIMM.
    VirtioPmem { path: String },
}

impl<'a> Part<'a> {
    /// Creates a part without settings of its own.
    pub(super) fn new(id: String, file: &'a str, kib: u64) -> Part<'a> {
        let (cell, share, discard, pages, nodes) = Default::default();
        let kind = Kind::Ram;
        Part { id, file, kib, cell, share, discard, kind, pages, nodes, is_whole: false }
    }
}

impl Kind {
    fn path(&self) -> Option<&str> {
        match self {
            Kind::Nvdimm { path, .. } | Kind::VirtioPmem { path } => Some(path),
            _ => None,
        }
    }
}

/// Settings of all parts of memory.
pub(super) struct Settings {
    pub(super) backing: Backing,
    pub(super) tuning: Tuning,
    pub(super) cells: Vec<Cell>,
    /// True if all memory is allocated by an option of its own.
    pub(super) is_allocated: bool,
}

/// An object that provides memory.
pub(super) struct Backend {
    props: Props,
    id: String,
    /// The nodes on which it is allocated by threads of its own.
    nodes: Option<Vec<u32>>,
    /// True if the options of the guest need an object.
    pub(super) is_needed: bool,
}

impl Settings {
    /// Reads the settings.
    pub(super) fn of(cx: &Context<'_>) -> Result<Settings, Error> {
        let (backing, tuning) = (Backing::of(cx)?, Tuning::of(cx)?);
        // Without an object for the memory, an option allocates it.
        let is_allocated =
            cx.guest.numa.is_empty() && default_ram(cx).is_none() && backing.is_allocated(cx);
        Ok(Settings { backing, tuning, cells: Cell::all(cx)?, is_allocated })
    }

    /// Returns the settings of a NUMA cell.
    fn cell(&self, number: Option<u32>) -> Option<&Cell> {
        self.cells.get(usize::try_from(number?).ok()?)
    }

    /// Returns the object for a part of memory.
    pub(super) fn backend(&self, cx: &Context<'_>, part: Part<'_>) -> Result<Backend, Error> {
        let Settings { backing, tuning, .. } = self;
        let of_cell = self.cell(part.cell).and_then(|cell| cell.share);
        let share = part.share.or(of_cell).or(backing.share);
        let pages = self.pages(cx, &part)?;
        let mut props = Props::default();
        let qom_type = self.source(cx, &part, share, pages, &mut props)?;
        props.append(self.allocation(cx, &part, pages));
        props.set("size", part.kib.saturating_mul(1024));
        if let Kind::Nvdimm { align_kib, is_pmem, .. } = &part.kind {
            props.set_some("align", align_kib.map(|kib| kib.saturating_mul(1024)));
            props.set_some("pmem", is_pmem.then_some(true));
        }
        let nodes = match &part.nodes {
            Some(nodes) => Some((nodes, tuning.policy(part.cell))),
            None => tuning.of_cell(part.cell).map(|nodes| (&nodes.nodes, nodes.policy)),
        };
        if let Some((nodes, policy)) = nodes
            && let Some(policy) = policy.name()
        {
            props.set("host-nodes", nodes.clone());
            props.set("policy", policy);
        }
        let is_needed = pages.is_own
            || part.nodes.is_some()
            || tuning.has(part.cell)
            || part.kind.path().is_some()
            || share.is_some()
            || matches!(backing.source, Some(Source::File | Source::Memfd));
        let nodes = nodes.map(|(nodes, _)| nodes.clone());
        let mut all = Props::object(qom_type, &part.id);
        all.append(props);
        Ok(Backend { props: all, id: part.id, nodes, is_needed })
    }

    /// Adds the options by which the memory is found, and returns the type of the object.
    fn source(
        &self,
        cx: &Context<'_>,
        part: &Part<'_>,
        share: Option<bool>,
        pages: Pages,
        props: &mut Props,
    ) -> Result<&'static str, Error> {
        let source = self.backing.source;
        let path = part.kind.path();
        if part.kind == Kind::Epc {
            return Ok("memory-backend-epc");
        }
        let qom_type = if path.is_none() && source == Some(Source::Memfd) {
            if let Some(kib) = pages.huge {
                props.set("hugetlb", true);
                props.set("hugetlbsize", kib.saturating_mul(1024));
            }
            "memory-backend-memfd"
        } else if path.is_some()
            || pages.huge.is_some()
            || share.is_some()
            || source == Some(Source::File)
        {
            let place = match (path, pages.huge) {
                (Some(path), _) => path.to_owned(),
                (None, Some(kib)) => backing::directory(cx, kib)?.display().to_string(),
                (None, None) => cx.host.memory_dir.join(part.file).display().to_string(),
            };
            props.set("mem-path", place);
            if path.is_none() {
                let of_cell = self.cell(part.cell).and_then(|cell| cell.discard);
                let discard = part.discard.or(of_cell).or(self.backing.discard);
                props.set_some("discard-data", discard);
            }
            "memory-backend-file"
        } else {
            return Ok("memory-backend-ram");
        };
        props.set_some("share", share);
        if part.is_whole && has_option(cx, "x-use-canonical-path-for-ramblock-id") {
            props.set("x-use-canonical-path-for-ramblock-id", false);
        }
        Ok(qom_type)
    }

    /// Returns the options by which memory is allocated at once.
    fn allocation(&self, cx: &Context<'_>, part: &Part<'_>, pages: Pages) -> Props {
        let mut props = Props::default();
        if part.kind == Kind::VirtioMem {
            let can = cx.has_property("virtio-mem-pci", "prealloc");
            props.set_some("prealloc", (!can && self.is_allocated).then_some(false));
            props.set_some("reserve", has_option(cx, "reserve").then_some(false));
        } else if !self.is_allocated {
            let at_once = part.kind == Kind::Epc || self.is_immediate(part, pages);
            props.set_some("prealloc", at_once.then_some(true));
            let threads = self.backing.threads.filter(|threads| *threads > 0);
            props.set_some("prealloc-threads", threads);
        }
        props
    }

    /// Returns the pages of a part.
    pub(super) fn pages(&self, cx: &Context<'_>, part: &Part<'_>) -> Result<Pages, Error> {
        match part.pages {
            Some(pages) => Ok(pages),
            None => self.backing.pages(cx, part.cell),
        }
    }

    /// Returns whether memory is allocated before the guest runs.
    pub(super) fn is_immediate(&self, part: &Part<'_>, pages: Pages) -> bool {
        let of_kind = match &part.kind {
            // Persistent memory would only wear off.
            Kind::Nvdimm { is_pmem, .. } => !is_pmem,
            Kind::VirtioPmem { .. } => false,
            _ => pages.huge.is_some(),
        };
        self.backing.immediate || of_kind
    }
}

impl Backend {
    /// Adds the object, and one for the threads that allocate its memory where these are bound to nodes.
    pub(super) fn add(mut self, cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
        let nodes = self.nodes.take().unwrap_or_default();
        let is_immediate = self.props.get("prealloc") == Some(&Value::Bool(true));
        if is_immediate && cx.has_device("thread-context") {
            let nodes = reachable(cx, nodes)?;
            if !nodes.is_empty() {
                let id = format!("tc-{}", self.id);
                args.object(&Props::object("thread-context", &id).with("node-affinity", nodes));
                args.setup(Setup::ThreadContext { id: id.clone() });
                self.props.set("prealloc-context", id);
            }
        }
        if let Some(path) = self.props.text("mem-path") {
            backing::add_directory(cx, Path::new(path), args);
        }
        args.object(&self.props);
        Ok(())
    }
}

/// Returns those of some nodes that the CPUs of the guest belong to.
fn reachable(cx: &Context<'_>, nodes: Vec<u32>) -> Result<Vec<u32>, Error> {
    let cpus = match (pinning::emulator(cx)?, smp::host_cpus(cx)?) {
        (Some(cpus), _) => cpus,
        (None, None) => return Ok(nodes),
        // libvirt takes the numbers of nodes for those of CPUs here.
        (None, Some(HostCpus::List(numbers) | HostCpus::OfNodes(numbers))) => numbers,
    };
    let mut near = Vec::new();
    for cpu in cpus {
        let what = || format!("the host has no CPU {cpu}; remove it");
        let node = (cx.host.node_of_cpu)(cpu);
        near.push(node.ok_or_else(|| cx.domain.unsupported("vcpu@cpuset", what()))?);
    }
    Ok(nodes.into_iter().filter(|node| near.contains(node)).collect())
}

/// Returns the id that the machine gives its memory, if it can be an object.
pub(super) fn default_ram<'a>(cx: &Context<'a>) -> Option<&'a str> {
    let name = cx.guest.os.machine.as_deref()?;
    cx.accelerated()?.machine(name).ok()?.default_ram_id()
}

fn has_option(cx: &Context<'_>, name: &str) -> bool {
    cx.entry.object("memory-backend-file").and_then(|object| object.property(name)).is_ok()
}
