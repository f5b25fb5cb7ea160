//! The memory.

use capscache_domain::DomainType;

use super::backend::{Part, Settings, default_ram};
use super::backing;
use super::sizes::{self, Sizes};
use crate::command::Setup;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;

/// Adds the memory.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let sizes = Sizes::of(cx)?;
    add_size(cx, &sizes, args)?;
    let settings = Settings::of(cx)?;
    settings.backing.check(cx, default_ram(cx).is_some())?;
    if cx.guest.numa.is_empty() {
        match default_ram(cx) {
            Some(id) => settings.backend(cx, whole(id, sizes.initial))?.add(cx, args)?,
            None => add_path(cx, &settings.backing, args)?,
        }
    }
    let locked = settings.backing.locked;
    args.option("-overcommit", format_args!("mem-lock={}", if locked { "on" } else { "off" }));
    add_setup(cx, &settings, &sizes, args)
}

/// Adds the size, with the limits of memory devices.
fn add_size(cx: &Context<'_>, sizes: &Sizes, args: &mut Args) -> Result<(), Error> {
    let mut list = List::default();
    list.set("size", format_args!("{}k", sizes.initial));
    let slots: u32 = cx.domain.number("maxMemory@slots")?.unwrap_or(0);
    let max = cx.domain.kib("maxMemory")?.unwrap_or(0);
    let max = sizes::round_up(max, sizes::initial_step(cx));
    if slots > 0 && max == 0 {
        return Err(cx.domain.invalid("maxMemory", "slots need a size; add it"));
    }
    if slots > 0 {
        list.set("slots", slots);
    }
    if max > 0 {
        if max < sizes.total {
            let what = "it is less than the memory of the guest; raise it";
            return Err(cx.domain.invalid("maxMemory", what));
        }
        list.set("maxmem", format_args!("{max}k"));
    }
    args.option("-m", list);
    Ok(())
}

fn whole(id: &str, kib: u64) -> Part<'_> {
    Part { is_whole: true, ..Part::new(id.to_owned(), id, kib) }
}

/// Adds the options of memory that is not an object.
pub(super) fn add_path(
    cx: &Context<'_>,
    backing: &backing::Backing,
    args: &mut Args,
) -> Result<(), Error> {
    if backing.is_allocated(cx) {
        args.flag("-mem-prealloc");
    }
    let first = backing.first_page().map(|kib| backing::of_size(cx, kib, false)).transpose()?;
    if let Some(kib) = first.and_then(|pages| pages.huge) {
        let directory = backing::directory(cx, kib)?;
        backing::add_directory(cx, directory, args);
        args.option("-mem-path", directory.display());
    } else if backing.source == Some(backing::Source::File) {
        args.option("-mem-path", cx.host.memory_dir.join("ram").display());
    }
    Ok(())
}

/// Adds what is set when the process starts.
fn add_setup(
    cx: &Context<'_>,
    settings: &Settings,
    sizes: &Sizes,
    args: &mut Args,
) -> Result<(), Error> {
    // The kernel locks tables of such a guest, as for its devices.
    let is_ppc = matches!(cx.guest.os.arch.as_deref(), Some("ppc64" | "ppc64le"));
    if settings.backing.locked || (is_ppc && cx.guest.r#type == DomainType::Kvm) {
        args.setup(Setup::LockedMemory);
    }
    if let Some(all) = &settings.tuning.all {
        args.setup(Setup::MemoryNodes { policy: all.policy, nodes: all.nodes.clone() });
    }
    // A balloon that is not there takes no memory; more than all memory is all memory.
    let current = cx.domain.kib("currentMemory")?.unwrap_or(0);
    let has_balloon = cx.of(capscache_domain::Kind::Memballoon).any(|device| {
        let model = device.view.text("@model");
        model.is_some_and(|model| model != "none")
    });
    if has_balloon && current > 0 && current < sizes.total {
        args.setup(Setup::Balloon { kib: current });
    }
    Ok(())
}
