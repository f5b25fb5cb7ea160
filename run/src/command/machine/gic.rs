//! The interrupt controller of Arm's virtual machine.

use capscache_devaddr::{Board, Family};
use capscache_domain::DomainType;
use capscache_format::{Array, FactKind, Value};

use crate::context::Context;
use crate::error::Error;
use crate::props::List;

/// Adds the version of the interrupt controller.
pub(super) fn add(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let is_virt = (cx.machine.family, cx.machine.board) == (Family::Arm, Board::Virt);
    let gic = cx.domain.child("features").and_then(|features| features.child("gic"));
    if let Some(gic) = gic
        && !is_virt
    {
        return Err(gic.invalid("", "only Arm's virt machine has it; remove it"));
    }
    if !is_virt {
        return Ok(());
    }
    let version = gic.map(|gic| gic.one_of("@version", &["host", "2", "3"])).transpose()?.flatten();
    let version = match version {
        Some(version) => version,
        None => best(cx),
    };
    // The emulator of 32-bit machines has version 2 and no option for it.
    match (version, cx.entry.arch()) {
        (version, "aarch64") => list.set("gic-version", version),
        ("2", _) => {}
        _ => return Err(cx.domain.lacks("features/gic@version", "an option for it; use 2")),
    }
    Ok(())
}

/// Returns the best version that the emulator reports. Version 3 has no interrupts of messages where it is emulated.
fn best(cx: &Context<'_>) -> &'static str {
    let answer = cx.accelerated().and_then(|accelerated| accelerated.answer(FactKind::Gic).ok());
    let versions = answer.and_then(Value::as_array).into_iter().flat_map(Array::iter);
    let mut kernel = versions
        .filter(|_| cx.guest.r#type == DomainType::Kvm)
        .filter(|version| version.get("kernel").and_then(Value::as_bool) == Some(true));
    let has_three = kernel.any(|v| v.get("version").and_then(Value::as_u64) == Some(3));
    if has_three { "3" } else { "2" }
}
