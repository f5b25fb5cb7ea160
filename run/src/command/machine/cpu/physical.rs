//! Caches and physical addresses of the CPU.

use capscache_devaddr::Family;

use super::completed::Cpu;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;

/// Adds caches.
pub(super) fn add_cache(
    cx: &Context<'_>,
    cpu: Option<&Cpu<'_>>,
    list: &mut List,
) -> Result<(), Error> {
    let Some(cache) = cx.domain.child("cpu").and_then(|cpu| cpu.child("cache")) else {
        return Ok(());
    };
    if cx.machine.family != Family::X86 {
        return Err(cache.invalid("", "only x86 has caches to describe; remove the element"));
    }
    let is_of_host = cpu.is_some_and(|cpu| cpu.mode.is_of_host());
    let level: Option<u32> = cache.number("@level")?;
    cache.require("@mode")?;
    let mode = cache.one_of("@mode", &["emulate", "passthrough", "disable"])?;
    match (mode, level) {
        (Some("emulate"), Some(3)) => list.set_switch("l3-cache", true),
        (Some("passthrough"), None) if is_of_host => list.set_switch("host-cache-info", true),
        (Some("disable"), None) => {}
        _ => {
            let what = "use emulate with level 3, disable, or passthrough with the CPU of the host";
            return Err(cache.invalid("", what));
        }
    }
    if mode != Some("passthrough") && is_of_host {
        list.set_switch("host-cache-info", false);
    }
    if mode != Some("emulate") {
        list.set_switch("l3-cache", false);
    }
    Ok(())
}

/// Adds the size of physical addresses.
pub(super) fn add_address(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let Some(address) = cx.domain.child("cpu").and_then(|cpu| cpu.child("maxphysaddr")) else {
        return Ok(());
    };
    if cx.machine.family != Family::X86 {
        return Err(address.invalid("", "only x86 has a size of addresses; remove the element"));
    }
    address.require("@mode")?;
    let mode = address.one_of("@mode", &["emulate", "passthrough"])?;
    let bits: Option<u32> = address.number("@bits")?;
    let limit: Option<u32> = address.number("@limit")?;
    match (mode, bits, limit) {
        (_, _, Some(0)) => Err(address.invalid("@limit", "the limit must be positive")),
        (Some("passthrough"), None, _) => {
            list.set_switch("host-phys-bits", true);
            if let Some(limit) = limit {
                list.set("host-phys-bits-limit", limit);
            }
            Ok(())
        }
        (Some("emulate"), bits, None) => {
            match bits.filter(|bits| *bits > 0) {
                Some(bits) => list.set("phys-bits", bits),
                None => list.set_switch("host-phys-bits", false),
            }
            Ok(())
        }
        _ => {
            let what = "a size goes with the mode emulate, and a limit with passthrough";
            Err(address.invalid("", what))
        }
    }
}
