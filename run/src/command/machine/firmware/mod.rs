//! Firmware: in flash, or as a BIOS.

mod loader;
mod matching;
mod nodes;
mod select;

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use loader::Kind;

/// Adds firmware in flash.
pub(in crate::command) fn add_flash(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    match select::select(cx)? {
        Some(loader) if loader.kind == Some(Kind::Flash) => nodes::add(cx, &loader, args),
        _ => Ok(()),
    }
}

/// Adds the flash to the options of the machine.
pub(super) fn add_machine(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let Some(loader) = select::select(cx)? else { return Ok(()) };
    if loader.kind == Some(Kind::Flash) {
        list.set("pflash0", nodes::CODE);
        if let Some(node) = nodes::variables(cx, &loader)? {
            list.set("pflash1", node);
        }
    }
    Ok(())
}

/// Returns true if the firmware needs the system management mode.
pub(super) fn needs_smm(cx: &Context<'_>) -> Result<bool, Error> {
    Ok(select::select(cx)?.is_some_and(|loader| loader.needs_smm))
}

/// Adds firmware that is loaded as a BIOS.
pub(in crate::command) fn add_loader(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let Some(loader) = select::select(cx)? else { return Ok(()) };
    match (loader.kind, loader.path) {
        (Some(Kind::Rom), Some(path)) => args.option("-bios", path),
        (Some(Kind::Flash), _) if loader.is_secure == Some(true) => {
            args.option("-global", "driver=cfi.pflash01,property=secure,value=on");
        }
        _ => {}
    }
    Ok(())
}
