//! Memory of system management mode.

use super::smm;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;

/// The unit of the size.
const KIB_PER_MIB: u64 = 1024;

/// Adds memory of system management mode.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let features = cx.domain.child("features");
    let Some(view) = features.and_then(|features| features.child("smm")) else { return Ok(()) };
    if smm::own_state(cx)? != Some(true) {
        view.ignore_children("tseg");
        return Ok(());
    }
    let Some(text) = view.text("tseg") else { return Ok(()) };
    let unit = view.text("tseg@unit").unwrap_or("MiB");
    let Some(kib) = capscache_domain::kib(text, Some(unit)) else {
        return Err(view.invalid("tseg", "use a number, with a unit such as MiB"));
    };
    if !cx.machine.is_q35() || !cx.has_flag("mch.extended-tseg-mbytes") {
        return Err(view.lacks("tseg", "an option for its size on this machine; use q35"));
    }
    if kib % KIB_PER_MIB != 0 {
        return Err(view.invalid("tseg", "the size must be a multiple of 1 MiB"));
    }
    args.option("-global", format_args!("mch.extended-tseg-mbytes={}", kib / KIB_PER_MIB));
    Ok(())
}
