//! The comparison of a CPU with that of the host.

use capscache_devaddr::Family;
use capscache_domain::DomainType;

use super::mode::Mode;
use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// Reads the attribute `check`; returns whether the CPU is compared with the host's.
pub(super) fn read(cx: &Context<'_>, view: View<'_>, mode: Mode) -> Result<bool, Error> {
    let default = match mode {
        Mode::Passthrough | Mode::Maximum => false,
        Mode::HostModel => true,
        Mode::Custom => cx.guest.r#type != DomainType::Qemu,
    };
    // The check that is full is one of the guest that runs.
    Ok(view.one_of("@check", &["none", "partial"])?.map_or(default, |check| check == "partial"))
}

/// Reads the attribute `match` of other architectures than x86.
pub(super) fn matching(cx: &Context<'_>, view: View<'_>) -> Result<(), Error> {
    match view.one_of("@match", &["exact", "strict", "minimum"])? {
        None | Some("exact") => Ok(()),
        Some("minimum") if cx.machine.family == Family::Ppc64 => Ok(()),
        Some("strict") if view.peek("@check") == Some("none") => Ok(()),
        Some(other) => {
            let what = format!("the match {other} is not supported; use exact");
            Err(view.unsupported("@match", what))
        }
    }
}

/// Checks that the host can run a CPU model of another architecture than x86, if the guest requires that.
pub(super) fn check(cx: &Context<'_>, view: View<'_>) -> Result<(), Error> {
    let is_checked = read(cx, view, Mode::Custom)?;
    if is_checked && cx.machine.family == Family::Ppc64 && view.has("vendor") {
        let what = "the vendor is not compared with that of the host; remove it";
        return Err(view.unsupported("vendor", what));
    }
    view.ignore(&["vendor"]);
    match cx.machine.family {
        // QEMU compares them.
        Family::S390 | Family::Arm | Family::Riscv | Family::Loongarch => Ok(()),
        _ if !is_checked => Ok(()),
        _ => {
            let what = "the comparison with the CPU of the host is not supported; set it to none";
            Err(view.unsupported("@check", what))
        }
    }
}
