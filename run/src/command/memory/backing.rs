//! The settings of `<memoryBacking>`.

use std::path::{Path, PathBuf};

use super::bitmap;
use crate::command::Setup;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// A size of pages, and the NUMA cells whose memory has it.
struct Page {
    /// The size in KiB; 0 for the default size of huge pages.
    kib: u64,
    /// The cells; `None` for those that no other page names.
    cells: Option<Vec<u32>>,
}

/// The origin of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Anonymous,
    File,
    Memfd,
}

/// The settings of `<memoryBacking>`.
pub(super) struct Backing {
    pages: Vec<Page>,
    pub(super) source: Option<Source>,
    /// True for shared memory, false for private memory.
    pub(super) share: Option<bool>,
    pub(super) immediate: bool,
    is_on_demand: bool,
    /// The number of threads that allocate memory.
    pub(super) threads: Option<u32>,
    pub(super) discard: Option<bool>,
    pub(super) locked: bool,
}

/// The pages of a part of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pages {
    /// The size of huge pages in KiB; `None` for ordinary pages.
    pub(super) huge: Option<u64>,
    /// True if the pages are set for this part, and not for all parts.
    pub(super) is_own: bool,
}

impl Backing {
    /// Reads the settings.
    pub(super) fn of(cx: &Context<'_>) -> Result<Backing, Error> {
        let none = Backing {
            pages: Vec::new(),
            source: None,
            share: None,
            immediate: false,
            is_on_demand: false,
            threads: None,
            discard: None,
            locked: false,
        };
        let Some(view) = cx.domain.child("memoryBacking") else { return Ok(none) };
        let source = match view.one_of("source@type", &["anonymous", "file", "memfd"])? {
            Some("anonymous") => Some(Source::Anonymous),
            Some("file") => Some(Source::File),
            Some(_) => Some(Source::Memfd),
            None => None,
        };
        let allocation = view.one_of("allocation@mode", &["immediate", "ondemand"])?;
        Ok(Backing {
            pages: pages(cx, view)?,
            source,
            share: share(view, "access@mode")?,
            immediate: allocation == Some("immediate"),
            is_on_demand: allocation == Some("ondemand"),
            threads: view.number("allocation@threads")?,
            discard: view.has("discard").then_some(true),
            locked: view.has("locked"),
        })
    }

    /// Checks that the settings can be used together. Without an object for the memory, some cannot.
    pub(super) fn check(&self, cx: &Context<'_>, has_object: bool) -> Result<(), Error> {
        let invalid = |what| Err(cx.domain.invalid("memoryBacking/hugepages", what));
        if self.pages.is_empty() {
            return Ok(());
        }
        if self.is_on_demand {
            return invalid("huge pages are not allocated on demand; remove the mode");
        }
        if self.source == Some(Source::Anonymous) {
            return invalid("anonymous memory has no huge pages; remove the source");
        }
        let is_ordinary = self.first_page() == Some(cx.host.page_kib);
        let is_alone = !has_object && cx.guest.numa.is_empty() && !is_ordinary;
        if is_alone && self.share == Some(true) {
            return invalid("huge pages are not shared without NUMA cells; add one");
        }
        for (index, page) in self.pages.iter().enumerate() {
            let overlaps = |other: &Page| match (&page.cells, &other.cells) {
                (None, None) => true,
                (Some(cells), Some(others)) => cells.iter().any(|cell| others.contains(cell)),
                _ => false,
            };
            if self.pages.iter().take(index).any(overlaps) {
                return invalid("two pages are for the same NUMA cells; remove one");
            }
        }
        Ok(())
    }

    /// Returns the pages of the memory of a NUMA cell, or of memory without a cell.
    pub(super) fn pages(&self, cx: &Context<'_>, cell: Option<u32>) -> Result<Pages, Error> {
        let is_of_cell = |page: &&Page| match (&page.cells, cell) {
            (Some(cells), Some(cell)) => cells.contains(&cell),
            _ => false,
        };
        let own = self.pages.iter().find(is_of_cell);
        let general = || self.pages.iter().rfind(|page| page.cells.is_none());
        match own.or_else(general) {
            Some(page) => of_size(cx, page.kib, own.is_some()),
            None => Ok(Pages::default()),
        }
    }

    /// Returns whether an option allocates memory that is not an object.
    pub(super) fn is_allocated(&self, cx: &Context<'_>) -> bool {
        let has_pages = self.first_page().is_some_and(|kib| kib != cx.host.page_kib);
        self.immediate || has_pages
    }

    /// Returns the size in KiB of the first pages that are named; 0 for the default size.
    pub(super) fn first_page(&self) -> Option<u64> {
        self.pages.first().map(|page| page.kib)
    }
}

/// Returns pages of a size in KiB, which is 0 for the default size of huge pages. Ordinary pages are not huge pages.
pub(super) fn of_size(cx: &Context<'_>, kib: u64, is_own: bool) -> Result<Pages, Error> {
    if kib == cx.host.page_kib {
        return Ok(Pages::default());
    }
    let default = cx.host.hugepages.first().map(|(kib, _)| *kib);
    let huge = if kib == 0 { default.ok_or_else(|| no_mount(cx, kib))? } else { kib };
    Ok(Pages { huge: Some(huge), is_own })
}

/// Returns the directory for huge pages of a size in KiB.
pub(super) fn directory<'a>(cx: &Context<'a>, kib: u64) -> Result<&'a Path, Error> {
    let found: Option<&(u64, PathBuf)> = cx.host.hugepages.iter().find(|(size, _)| *size == kib);
    found.map(|(_, path)| path.as_path()).ok_or_else(|| no_mount(cx, kib))
}

/// Lets a directory for huge pages be created.
pub(super) fn add_directory(cx: &Context<'_>, path: &Path, args: &mut Args) {
    if cx.host.hugepages.iter().any(|(_, found)| found == path) {
        args.setup(Setup::Directory { path: path.to_owned() });
    }
}

fn no_mount(cx: &Context<'_>, kib: u64) -> Error {
    let size = if kib == 0 { "the default size".to_owned() } else { format!("{kib} KiB") };
    cx.domain.unsupported(
        "memoryBacking/hugepages",
        format!("the host has no huge pages of {size}; mount a hugetlbfs for them"),
    )
}

/// Returns whether memory is shared.
pub(super) fn share(view: View<'_>, place: &str) -> Result<Option<bool>, Error> {
    Ok(view.one_of(place, &["shared", "private"])?.map(|mode| mode == "shared"))
}

fn pages<'a>(cx: &Context<'a>, backing: View<'a>) -> Result<Vec<Page>, Error> {
    let Some(view) = backing.child("hugepages") else { return Ok(Vec::new()) };
    let mut pages = Vec::new();
    for page in view.children("page") {
        pages.push(Page { kib: page_size(page)?, cells: cells(cx, page)? });
    }
    if pages.is_empty() {
        pages.push(Page { kib: 0, cells: None });
    }
    Ok(pages)
}

fn page_size(page: View<'_>) -> Result<u64, Error> {
    let text = page.require("@size")?;
    let size = capscache_domain::kib(text, page.text("@unit")).filter(|kib| *kib > 0);
    size.ok_or_else(|| page.invalid("@size", format!("{text:?} is not a valid size of pages")))
}

fn cells<'a>(cx: &Context<'a>, page: View<'a>) -> Result<Option<Vec<u32>>, Error> {
    let Some(list) = page.text("@nodeset") else { return Ok(None) };
    let cells = bitmap::parse(list)
        .ok_or_else(|| page.invalid("@nodeset", format!("{list:?} is not a list of NUMA cells")))?;
    let count = cx.guest.numa.len();
    if count == 0 && cells == [0] {
        return Ok(None);
    }
    let is_there = |cell: &u32| usize::try_from(*cell).is_ok_and(|cell| cell < count);
    match cells.iter().find(|cell| !is_there(cell)) {
        Some(cell) => {
            Err(page.invalid("@nodeset", format!("the guest has no NUMA cell {cell}; add it")))
        }
        None => Ok(Some(cells)),
    }
}
