//! The accelerator.

use capscache_domain::DomainType;

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;

/// Adds the accelerator.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let r#type = cx.domain.require("@type")?;
    let mut list = match cx.guest.r#type {
        DomainType::Qemu => List::new("tcg"),
        DomainType::Kvm => List::new("kvm"),
        DomainType::Hvf => List::new("hvf"),
        _ => {
            let what = format!("QEMU does not run guests of the type {type}; use kvm or qemu");
            return Err(cx.domain.unsupported("@type", what));
        }
    };
    if cx.entry.accelerators().all(|accelerator| accelerator != cx.accelerator()) {
        return Err(cx.domain.lacks("@type", format!("the accelerator {list}")));
    }
    add_cache(cx, &mut list)?;
    add_ring(cx, &mut list)?;
    args.option("-accel", list);
    Ok(())
}

/// Adds the size of the cache of translated code.
fn add_cache(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let Some(tcg) = cx.domain.child("features").and_then(|features| features.child("tcg")) else {
        return Ok(());
    };
    let Some(kib) = tcg.kib("tb-cache")?.filter(|kib| *kib > 0) else { return Ok(()) };
    if cx.guest.r#type != DomainType::Qemu {
        return Err(tcg.invalid("tb-cache", "only guests of the type qemu have this cache"));
    }
    if kib % 1024 != 0 {
        return Err(tcg.invalid("tb-cache", "the size must be a multiple of 1 MiB"));
    }
    list.set("tb-size", kib / 1024);
    Ok(())
}

/// The sizes that a ring can have.
const RING_SIZES: std::ops::RangeInclusive<u32> = 1024..=65_536;

/// Adds the size of the ring of memory pages that were written.
fn add_ring(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let features = cx.domain.child("features");
    let ring = features.and_then(|features| features.child("kvm")?.child("dirty-ring"));
    let Some(ring) = ring else { return Ok(()) };
    ring.require("@state")?;
    if ring.switch("@state")? != Some(true) {
        ring.ignore(&["@size"]);
        return Ok(());
    }
    ring.require("@size")?;
    let size: u32 = ring.any_number("@size")?.unwrap_or_default();
    if !size.is_power_of_two() || !RING_SIZES.contains(&size) {
        return Err(ring.invalid("@size", "use a power of two from 1024 to 65536"));
    }
    if cx.guest.r#type == DomainType::Kvm {
        list.set("dirty-ring-size", size);
    }
    Ok(())
}
